"""Where a look gets its key and its snapshot from before: a lease's run directory on the host, a file, or memory."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Dict, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils._regular import UnreadableError, read_regular

STATE_DIR = "/var/lib/benchkeeper"
_DOCUMENT_LIMIT = 16 * 1024 * 1024
_UNSAFE = ("", ".", "..")
# Only the nonce is secret: were the whole lease, Ansible would blot out the host's name in every result.
LEASE_OPTIONS: Dict[str, Any] = {
    "resource": {"type": "str", "required": True},
    "run_id": {"type": "str", "required": True},
    "nonce": {"type": "str", "no_log": True},
    "token": {"type": "int", "no_log": False},
}


class LookingError(Exception):
    """The key, or the snapshot from before, cannot be had."""


def _read(path: str, limit: int) -> bytes:
    try:
        return read_regular(path, limit)
    except (FileNotFoundError, UnreadableError) as error:
        raise LookingError(f"{path}: {error if isinstance(error, UnreadableError) else 'missing'}") from error


def look_context(lease: Mapping[str, Any], state_dir: str = STATE_DIR) -> Dict[str, Any]:
    """Return the context for looks of a leased run: its key and its snapshot from before, both read on the host.

    Args:
        lease: ``{resource, run_id, ...}``.
        state_dir: The keeper's directory.

    Raises:
        LookingError: There is no such run here, or it cannot be read.
    """
    run_id, resource = str(lease.get("run_id") or ""), str(lease.get("resource") or "")
    if any(name in _UNSAFE or "/" in name for name in (run_id, resource)):
        raise LookingError("a lease names its run and its resource")
    directory = f"{state_dir}/runs/{run_id}/{resource}"
    before = _before(f"{directory}/before.json")
    return {
        "run_id": run_id,
        "host": str((before or {}).get("host") or resource),
        "key": _read(f"{directory}/key", 4096),
        "before": before,
    }


def _before(path: str) -> Optional[Dict[str, Any]]:
    if not os.path.lexists(path):
        return None  # leased, but not looked at yet
    try:
        stored = json.loads(_read(path, _DOCUMENT_LIMIT))
    except ValueError as error:
        raise LookingError(f"{path}: not JSON") from error
    if not isinstance(stored, dict):
        raise LookingError(f"{path}: not a snapshot")
    # The keeper keeps the snapshot together with the probes and what to prove by it.
    snapshot = stored.get("snapshot")
    if not isinstance(snapshot, dict):
        raise LookingError(f"{path}: not a snapshot")
    return snapshot


def given_context(params: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the context that a module's options ask for.

    ``lease`` wins, then ``key_file``, then ``key`` (any text of the caller's); without them a key of this look alone.

    Raises:
        LookingError: What is asked for cannot be had.
    """
    context: Dict[str, Any] = {}
    if params.get("lease"):
        context = look_context(params["lease"])
    elif params.get("key_file"):
        context["key"] = _read(str(params["key_file"]), 4096)
    elif params.get("key"):
        context["key"] = hashlib.sha256(str(params["key"]).encode("utf-8")).digest()
    for name in ("run_id", "host", "before"):
        if params.get(name):
            context[name] = params[name]
    context["secrets_from"] = list(params.get("redact") or [])
    return context
