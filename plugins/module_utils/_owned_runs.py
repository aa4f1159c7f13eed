"""Leases of runs that own objects on an engine: written before the first object is made, forgotten when none is left.

A lease says who holds the run: a process, by controller id, pid and start time, and the boot that it lives in. Only a run whose
holder is known to be dead may be swept. Of a holder on another computer, or of a file that cannot be read, nothing is known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import Ownership, OwnershipError, triple

SCHEMA = 1
ALIVE, DEAD, KEPT, UNKNOWN = "alive", "dead", "kept", "unknown"


@dataclass(frozen=True)
class RunLease:
    """Who owns what carries a run's labels.

    Attributes:
        owner: The checkout, as ``benchkeeper.owner`` names it.
        stack: The stack.
        run: The run.
        holder: ``{controller_id, host, user, pid, start_time}``.
        boot_id: The boot that the holder lives in; a process of another boot is gone, whoever has its number now.
        engine: The engine's socket.
        roots: Directories right below which the run makes its state directories.
        kept_until: Seconds since the epoch until which the run is left as it is although its holder is gone; 0 when it is not.
        trouble: Why the file cannot be read; then nothing else is known but the name of the file.
    """

    owner: str
    stack: str
    run: str
    holder: Mapping[str, Any] = field(default_factory=dict)
    boot_id: str = ""
    engine: str = ""
    roots: Tuple[str, ...] = ()
    kept_until: float = 0.0
    trouble: str = ""

    def ownership(self) -> Ownership:
        """Return the filter for what the run made. Raises OwnershipError."""
        return triple(self.owner, self.stack, self.run)


def boot_id() -> str:
    """Return the boot of this computer, empty when it does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def where(directory: Path, run: str) -> Path:
    """Return the file of a run's lease."""
    return directory / f"{run}.json"


def write(directory: Path, lease: RunLease) -> Path:
    """Write a lease durably, mode 0600, and return its file."""
    path = where(directory, lease.run)
    document = {
        "schema": SCHEMA,
        "owner": lease.owner,
        "stack": lease.stack,
        "run": lease.run,
        "holder": dict(lease.holder),
        "boot_id": lease.boot_id,
        "engine": lease.engine,
        "roots": list(lease.roots),
        "kept_until": lease.kept_until,
    }
    _keeper_holder.write_private(path, json.dumps(document, indent=1, sort_keys=True) + "\n")
    return path


def parse(name: str, text: str) -> RunLease:
    """Return the lease that a file holds; one with ``trouble`` when it holds none.

    Args:
        name: The run that the file is named after.
        text: What is in it.
    """
    try:
        found = json.loads(text)
        lease = RunLease(
            owner=str(found["owner"]),
            stack=str(found["stack"]),
            run=str(found["run"]),
            holder=dict(found["holder"]),
            boot_id=str(found.get("boot_id") or ""),
            engine=str(found.get("engine") or ""),
            roots=tuple(str(root) for root in found.get("roots") or ()),
            kept_until=float(found.get("kept_until") or 0),
        )
        lease.ownership()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = str(error) if isinstance(error, OwnershipError) else "it is not whole"
        return RunLease("", "", name, trouble=f"its lease cannot be read: {said}")
    if found.get("schema") != SCHEMA or lease.run != name:
        return RunLease("", "", name, trouble="its lease was written by another version, or for another run")
    return lease


def read(path: Path) -> Optional[RunLease]:
    """Return the lease of a file, None when there is no such file."""
    try:
        return parse(path.stem, path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        return RunLease("", "", path.stem, trouble=f"its lease cannot be read: {getattr(error, 'strerror', None) or error}")


def names(directory: Path) -> List[str]:
    """Return the runs that have a lease in a directory, oldest first; none when there is no directory."""
    return [path.stem for path in sorted(directory.glob("*.json"))]


def state(
    lease: RunLease,
    now: float,
    boot: Optional[str] = None,
    gone: Callable[[Mapping[str, Any]], bool] = _keeper_holder.is_gone,
    here: Optional[str] = None,
) -> str:
    """Return what is known of a run: alive, dead, kept or unknown.

    Args:
        lease: Its lease.
        now: Seconds since the epoch.
        boot: The boot of this computer.
        gone: Tells whether a holder is known to be dead.
        here: This computer's controller id.
    """
    if lease.trouble or not isinstance(lease.holder.get("pid"), int) or lease.holder.get("start_time") is None:
        return UNKNOWN
    if lease.holder.get("controller_id") != (here or _keeper_holder.controller_id()):
        return UNKNOWN
    boot = boot_id() if boot is None else boot
    if not gone(lease.holder) and (not boot or not lease.boot_id or lease.boot_id == boot):
        return ALIVE
    return KEPT if lease.kept_until > now else DEAD


def told(lease: RunLease, word: str) -> Dict[str, Any]:
    """Return a run as results tell it: ``{run, stack, state, holder, why}``."""
    keys = ("user", "host", "pid")
    return {
        "run": lease.run,
        "stack": lease.stack,
        "state": word,
        "holder": {key: lease.holder[key] for key in keys if key in lease.holder},
        "why": lease.trouble,
    }
