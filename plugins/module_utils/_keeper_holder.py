"""Who holds a lease from this computer, and whether that process is still there."""

from __future__ import annotations

import json
import os
import pwd
import socket
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

_START_TIME = 19  # of the fields behind the name in /proc/PID/stat; the 22nd of all


def start_time(pid: int, proc: str = "/proc") -> Optional[int]:
    """Return when a process started in clock ticks since the kernel booted, None when there is none (a zombie is none)."""
    try:
        raw = Path(f"{proc}/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return None
    fields = raw.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[_START_TIME])


def controller_id() -> str:
    """Return what this computer is recognised by: its machine id, or its boot where it has none."""
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            found = Path(path).read_text("ascii").strip()
        except OSError:
            continue
        if found:
            return found
    return socket.gethostname()


def describe(pid: int) -> Dict[str, Any]:
    """Return a process as the holder of a lease: ``{controller_id, host, user, pid, start_time}``."""
    return {
        "controller_id": controller_id(),
        "host": socket.gethostname(),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "pid": pid,
        "start_time": start_time(pid),
    }


def playbook(pid: Optional[int] = None) -> Dict[str, Any]:
    """Return who holds the leases of a playbook without a supervisor: the topmost ansible-playbook process above this one."""
    pid = pid or os.getpid()
    holder = pid
    while pid > 1:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        if b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes():
            holder = pid
        pid = int(stat[1])
    return describe(holder)


def is_gone(holder: Mapping[str, Any], *, here: Optional[str] = None, proc: str = "/proc") -> bool:
    """Whether a holder is known to be dead: it lived on this computer, and its process is not there any more.

    Of a holder on another computer, or one that is not fully named, nothing is known.
    """
    if not holder.get("controller_id") or holder["controller_id"] != (here or controller_id()):
        return False
    pid, started = holder.get("pid"), holder.get("start_time")
    if not isinstance(pid, int) or started is None:
        return False
    return str(start_time(pid, proc)) != str(started)


def states_directory(environment: Optional[Mapping[str, str]] = None) -> Path:
    """Return where the runs of this user are remembered."""
    env = os.environ if environment is None else environment
    return (
        Path(env.get("XDG_STATE_HOME") or Path(env.get("HOME") or "~").expanduser() / ".local" / "state") / "benchkeeper" / "runs"
    )


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 whole and durably: whatever ends us, the old one or the new one is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temp = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def nonce_of(run_id: str, states: str = "") -> str:
    """Return the nonce of a run of this user, empty when it is not known.

    Args:
        run_id: The run.
        states: A directory of state files, one state file, or a file with several by run id; the user's own when empty.
    """
    if not run_id or "/" in run_id:
        return ""
    place = Path(states) if states else states_directory()
    path = place / f"{run_id}.json" if place.is_dir() else place
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    if isinstance(found, Mapping) and isinstance(found.get(run_id), Mapping):
        found = {"run_id": run_id, **found[run_id]}
    if not isinstance(found, Mapping) or found.get("run_id") != run_id:
        return ""
    return str(found.get("nonce") or "")
