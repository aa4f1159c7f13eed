"""Processes of this computer by pid and start time: a pid alone may be another process by the time one acts on it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

POLL = 0.05  # seconds between two looks at a process that was told to end


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def descendants(pid: int) -> dict[int, int]:
    """Return ``{pid: start time}`` of everything below a process; in a process group of its own or not."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: dict[int, int] = {}
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            started = start_time(child)
            if started is not None and child not in found:
                found[child] = started
                waiting.append(child)
    return found


def alive(known: dict[int, int]) -> dict[int, int]:
    """Return those of the processes that still are who they were."""
    return {pid: started for pid, started in known.items() if start_time(pid) == started}


def send(known: dict[int, int], number: signal.Signals) -> None:
    """Send a signal to those that still are who they were."""
    for pid in alive(known):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end(known: dict[int, int], grace: float = 3.0) -> None:
    """Ask the processes to end, and kill those that have not after ``grace`` seconds."""
    send(known, signal.SIGTERM)
    for limit, number in ((grace, signal.SIGKILL), (2.0, None)):
        deadline = time.monotonic() + limit
        while alive(known) and time.monotonic() < deadline:
            time.sleep(POLL)
        if number is not None:
            send(known, number)
