"""Processes of a run, found by the ownership triple in their environment: what a killed supervisor started goes on working.

A supervisor hands `environment` to the commands it starts, and never sets it for itself: whatever it starts for everybody, an
engine say, would carry it, too.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper import processes

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._owned import Ownership

NAMES = {"owner": "BENCHKEEPER_OWNER", "stack": "BENCHKEEPER_STACK", "run": "BENCHKEEPER_RUN"}


def environment(own: Ownership) -> dict[str, str]:
    """Return the variables that mark a process as a run's."""
    return {NAMES[key]: value for key, value in own.marker().items()}


def carries(raw: bytes, own: Ownership) -> bool:
    """Tell whether an environment, as the kernel shows it, holds all three."""
    return {f"{name}={value}".encode() for name, value in environment(own).items()} <= set(raw.split(b"\0"))


def find(own: Ownership, proc: str = "/proc") -> dict[int, int]:
    """Return ``{pid: start time}`` of the run's processes that this user may look at; neither this one nor those above it."""
    spared = {os.getpid(), *_above(os.getpid(), proc)}
    found: dict[int, int] = {}
    for entry in Path(proc).iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        # The start time first: if the number changes hands after it, what was read belongs to nobody that is ever signalled.
        started = processes.start_time(int(entry.name))
        with contextlib.suppress(OSError):
            if started is not None and carries((entry / "environ").read_bytes(), own):
                found[int(entry.name)] = started
    return found


def _above(pid: int, proc: str) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError, ValueError, IndexError):
        while pid > 1 and pid not in found:
            found.add(pid)
            pid = int(Path(f"{proc}/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    return found


def end(own: Ownership, grace: float = 3.0) -> int:
    """Ask the run's processes to end, and kill those that have not after ``grace`` seconds; return how many there were."""
    known = find(own)
    if known:
        processes.end(known, grace)
    return len(known)
