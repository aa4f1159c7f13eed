"""A run that is going to be killed, and the machines that must come back from it: started, struck, looked at, judged.

What counts is when each machine was seen restored and proven, counted from the blow (for a machine that died: from its start).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from benchkeeper import leases, processes, signals

if TYPE_CHECKING:
    from pathlib import Path

    from benchkeeper.paths import Paths

GRACE = 10.0  # seconds that a cut hold has to come back
STOP_BOUND = 12.0  # seconds that an engine call may go on after its client died
LOOK = 1.0  # seconds between two looks at a machine: each costs it a fifth of a second, which it needs to come back
LIMIT = 240.0  # seconds after which a machine that is not back is given up
BACK = ("proving", "free")


@dataclass
class Watched:
    """When one machine was seen restored and proven, in seconds from the blow; None while it was not."""

    restored: float | None = None
    proven: float | None = None
    said: str = ""


def watch(paths: Paths, hosts: tuple[str, ...], begun: float, limit: float = LIMIT) -> dict[str, Watched]:
    """Look at machines until each is proven and free, or the limit (seconds from ``begun``, monotonic) is reached."""
    found = {host: Watched() for host in hosts}

    def follow(host: str) -> None:
        one = found[host]
        pause = threading.Event()
        while time.monotonic() - begun < limit:
            states = {lease.state for lease in leases.ask(paths, host)} or {"free"}
            one.said = ", ".join(sorted(states))
            now = round(time.monotonic() - begun, 1)
            if one.restored is None and states <= set(BACK):
                one.restored = now
            if states == {"free"}:
                one.proven = now
                return
            pause.wait(LOOK)

    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        list(pool.map(follow, hosts))
    return found


def judge(found: dict[str, Watched], bound: float) -> str:
    """Return why machines did not come back as they must, empty when they did."""
    late = [f"{name} is {one.said}" for name, one in found.items() if one.proven is None]
    late += [
        f"{name} was restored after {one.restored:g} s, allowed {bound:g}"
        for name, one in found.items()
        if one.restored is not None and one.restored > bound
    ]
    return "; ".join(late)


def bound_of(healthy: float) -> float:
    """Return within how many seconds a machine must be restored, from what a healthy restore takes."""
    return round(GRACE + STOP_BOUND + 1.5 * healthy, 1)


class Run:
    """A run that is going on, with its events. Left by `with`, it is over: who is interrupted meanwhile waits until it put back."""

    def __init__(self, paths: Paths, stack: str, log: int, *words: str, **variables: str) -> None:
        self.paths = paths
        before = set(self._folders())
        self.process = signals.start(paths, stack, log, *words, **variables)
        self._before = before

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_why: object) -> None:
        """End it as a person does, if it is not over."""
        if self.process.poll() is None:
            self.send(self.everybody(), signal.SIGCONT)
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(signals.LIMIT)

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.paths.results.glob("2*") if path.is_dir())

    def folder(self) -> Path | None:
        """Return its results, once there are some."""
        return next((path for path in self._folders() if path not in self._before), None)

    def events(self) -> list[dict[str, Any]]:
        """Return what happened so far."""
        folder = self.folder()
        lines: list[dict[str, Any]] = []
        if folder is not None:
            with contextlib.suppress(OSError):
                for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError):
                        lines.append(json.loads(line))
        return lines

    def reach(self, phase: str, seconds: float = 300.0) -> bool:
        """Wait until a phase begins; False when the run ended before."""
        end = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < end and self.process.poll() is None:
            if any(one.get("event") == "phase.start" and one.get("phase") == phase for one in self.events()):
                return True
            pause.wait(LOOK)
        return False

    def kill(self, what: str) -> list[int]:
        """Kill -9 the supervisor, ansible-playbook or the whole group; return who was killed."""
        players = signals.children_of(self.process.pid)
        if what == "group":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        victims = {"supervisor": [self.process.pid], "ansible-playbook": players, "group": [self.process.pid, *players]}[what]
        self.send(victims, signal.SIGKILL)
        return victims

    def everybody(self) -> list[int]:
        """Return the supervisor and every process of its playbook."""
        return [self.process.pid, *processes.descendants(self.process.pid)]

    @staticmethod
    def send(pids: list[int], number: signal.Signals) -> None:
        """Send a signal to processes that may be gone."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def result(self) -> dict[str, Any]:
        """Return the run's result, empty without one."""
        folder = self.folder()
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(((folder or self.paths.results) / "result.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}
