"""The snapshot: one JSON look at a host, the same for the checks, the waits and the proof.

``{"schema", "host", "run_id", "taken_at", "seconds", "boot", "kinds", "invariant", "observed", "errors"}``. A probe
that could not look stands in ``errors`` with a short reason and nowhere else; what is not there is ``{"exists": false}``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import SOCKET, Engine
from ansible_collections.benchkeeper.core.plugins.module_utils._fingerprint import KEY_BYTES, Fingerprinter
from ansible_collections.benchkeeper.core.plugins.module_utils._probes import Context, Probe, ProbeError, Seen, Spec
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_engine import probe_compose, probe_container_file
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_exposed import probe_exposed
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_files import (
    load_json,
    probe_disk,
    probe_dotenv,
    probe_file,
    probe_json,
    probe_lock,
    probe_tree,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_host import (
    probe_command,
    probe_git,
    probe_sockets,
    probe_unit,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_net import (
    credential_files,
    probe_chain,
    probe_http,
    probe_jsonrpc,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_zmq import probe_zmq
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor, collect_secrets
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import UnreadableError
from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import SHORTEST, is_strong

SCHEMA = 1
KINDS: Dict[str, Probe] = {
    "chain": probe_chain,
    "command": probe_command,
    "compose": probe_compose,
    "container_file": probe_container_file,
    "disk": probe_disk,
    "dotenv": probe_dotenv,
    "exposed": probe_exposed,
    "file": probe_file,
    "git": probe_git,
    "http": probe_http,
    "json": probe_json,
    "jsonrpc": probe_jsonrpc,
    "lock": probe_lock,
    "sockets": probe_sockets,
    "tree": probe_tree,
    "unit": probe_unit,
    "zmq": probe_zmq,
}
_WORKERS = 8

Document = Dict[str, Any]


def new_key() -> bytes:
    """Return a fresh key for fingerprints."""
    return os.urandom(KEY_BYTES)


def known_secrets(probes: Mapping[str, Spec], more: Optional[List[str]] = None) -> List[str]:
    """Return the secrets of every file that the probes read settings or credentials from.

    Args:
        probes: Specs by name.
        more: Further settings files or JSON files.
    """
    paths = [*credential_files(probes), *(more or [])]
    paths += [str(spec["path"]) for spec in probes.values() if spec.get("kind") in ("dotenv", "json") and spec.get("path")]
    found: Set[str] = set()
    for path in dict.fromkeys(paths):
        found |= _secrets_of(path)
    return sorted(found)


def _secrets_of(path: str) -> Set[str]:
    found: Set[str] = set()
    try:
        _collect_json(load_json(path), found, strong=False)
    except (UnreadableError, FileNotFoundError):
        found.update(collect_secrets(path))
    return found


def _collect_json(node: Any, found: Set[str], *, strong: bool) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            _collect_json(value, found, strong=is_strong(str(key)))
    elif isinstance(node, list):
        for element in node:
            _collect_json(element, found, strong=strong)
    elif strong and isinstance(node, str) and len(node) >= SHORTEST:
        found.add(node)


def make_context(given: Mapping[str, Any], probes: Mapping[str, Spec]) -> Context:
    """Return the context for ``{run_id, host, key?, before?, secrets_from?: [paths], engine_socket?, root?}``.

    Without a key the fingerprints of this look can be compared with nothing but itself.
    """
    run_id, host = str(given.get("run_id") or "none"), str(given.get("host") or "localhost")
    return Context(
        run_id=run_id,
        host=host,
        fingerprints=Fingerprinter(run_id, host, given.get("key") or new_key()),
        engine=Engine(str(given.get("engine_socket") or SOCKET)),
        before=given.get("before"),
        redactor=Redactor(known_secrets(probes, list(given.get("secrets_from") or []))),
        root=str(given.get("root") or ""),
    )


def boot_identity(root: str = "") -> Dict[str, Any]:
    """Return the kernel's boot id and the start time of process 1 in clock ticks.

    Both, because a machine in a container keeps the kernel's boot id when it reboots.
    """
    identity: Dict[str, Any] = {"boot_id": None, "pid1_start": None}
    with contextlib.suppress(OSError):
        identity["boot_id"] = Path(f"{root}/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name in parentheses may itself hold blanks and parentheses; start time is field 22.
        stat = Path(f"{root}/proc/1/stat").read_text("utf-8", errors="replace")
        identity["pid1_start"] = int(stat.rpartition(")")[2].split()[19])
    return identity


def look(name: str, spec: Spec, context: Context) -> Seen:
    """Take one probe.

    Raises:
        UnreadableError: It could not look; most often a ``ProbeError``.
    """
    probe = KINDS.get(str(spec.get("kind")))
    if probe is None:
        raise ProbeError(f"unknown kind of probe {spec.get('kind')!r}")
    try:
        return probe(name, spec, context)
    except FileNotFoundError as error:
        raise ProbeError("vanished while it was looked at") from error
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # What somebody else wrote decides what we read here: one odd thing must not hide all the others.
        raise ProbeError(f"failed: {type(error).__name__}: {str(error)[:160]}") from error


def take(
    probes: Mapping[str, Spec],
    ctx: Mapping[str, Any] | Context,
    *,
    now: Callable[[], float] = time.time,
) -> Document:
    """Take every probe, all at once, and return the snapshot.

    Args:
        probes: Specs ``{kind, ...}`` by name.
        ctx: A context, or what ``make_context`` makes one of.
        now: The wall clock, seconds since the epoch.
    """
    context = ctx if isinstance(ctx, Context) else make_context(ctx, probes)
    started = time.monotonic()
    document: Document = {
        "schema": SCHEMA,
        "host": context.host,
        "run_id": context.run_id,
        "taken_at": dt.datetime.fromtimestamp(now(), dt.timezone.utc).isoformat(timespec="milliseconds"),
        "boot": boot_identity(context.root),
        "kinds": {name: spec.get("kind") for name, spec in sorted(probes.items())},
        "invariant": {},
        "observed": {},
        "errors": {},
    }
    with concurrent.futures.ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        futures = {name: pool.submit(look, name, spec, context) for name, spec in sorted(probes.items())}
        for name, future in futures.items():
            try:
                seen = future.result()
            except UnreadableError as error:
                document["errors"][name] = context.redactor.text(str(error))
                continue
            if seen.invariant is not None:
                document["invariant"][name] = seen.invariant
            if seen.observed is not None:
                document["observed"][name] = seen.observed
    document["seconds"] = round(time.monotonic() - started, 3)
    return document
