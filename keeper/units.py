"""Units: how a guarded command runs so that it can be found, waited for and stopped whatever happened to its client."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Protocol, Sequence

from keeper.errors import FAILED, KeeperError
from keeper.ports import Clock, Executor, alive_with, poll

STOP_GRACE = 10.0  # seconds between TERM and KILL, as keeper.md's engine bound
STOP_BOUND = STOP_GRACE + 15.0
_CGROUP_ROOTS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
MARK = "BENCHKEEPER_UNIT"


def unit_name(resource: str, token: int, seq: str) -> str:
    """Return the name of the unit of one guarded command."""
    return f"bk-{resource}-{token}-{seq}.service"


def is_unit_of(resource: str, unit: str) -> bool:
    """Whether a unit is one of a resource's guarded commands (``bk-miner-1-2-3`` is none of ``miner``)."""
    return re.fullmatch(rf"bk-{re.escape(resource)}-\d+-u?\d+\.service", unit) is not None


class Units(Protocol):
    """Where guarded commands run."""

    def start(self, unit: str, spec: str, timeout: float) -> None:
        """Start the program described by a file in a unit of its own. Raises KeeperError(failed)."""

    def alive(self, unit: str) -> bool:
        """Whether anything of the unit still runs."""

    def stop(self, resource: str) -> List[str]:
        """Stop every unit of a resource and wait until nothing of them runs; return their names.

        Raises:
            KeeperError: failed, when something survives.
        """


class SystemdUnits:
    """Transient services of systemd."""

    def __init__(self, executor: Executor, clock: Clock, program: Sequence[str]) -> None:
        self._executor = executor
        self._clock = clock
        self._program = list(program)

    def start(self, unit: str, spec: str, timeout: float) -> None:
        """Start a unit, see Units."""
        done = self._executor.run(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit={unit}",
                "--property=Type=exec",
                "--property=KillMode=control-group",
                f"--property=TimeoutStopSec={STOP_GRACE:g}",
                # A backstop: the program keeps its own time limit and says so in its result.
                f"--property=RuntimeMaxSec={timeout + 2 * STOP_GRACE:g}",
                f"--setenv={MARK}={unit}",
                "--",
                *self._program,
                "unit-run",
                spec,
            ],
            30.0,
        )
        if done.rc != 0:
            raise KeeperError(FAILED, f"unit {unit} did not start: {done.err.strip()[-300:]}")

    def _show(self, unit: str) -> Dict[str, str]:
        done = self._executor.run(["systemctl", "show", "-p", "ActiveState,ControlGroup", "--", unit], 15.0)
        return dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)

    def alive(self, unit: str) -> bool:
        """Whether it runs, see Units."""
        found = self._show(unit)
        if found.get("ActiveState") in ("active", "activating", "deactivating", "reloading"):
            return True
        return bool(_processes(found.get("ControlGroup", "")))

    def _of(self, resource: str) -> List[str]:
        done = self._executor.run(
            ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", f"bk-{resource}-*"], 15.0
        )
        names = [line.split(None, 1)[0] for line in done.out.splitlines() if line.strip()]
        return [name for name in names if is_unit_of(resource, name)]

    def stop(self, resource: str) -> List[str]:
        """Stop all units of a resource, see Units."""
        units = self._of(resource)
        groups = {unit: self._show(unit).get("ControlGroup", "") for unit in units}
        if units:
            self._executor.run(["systemctl", "stop", "--", *units], STOP_BOUND)
        deadline = self._clock.boottime() + STOP_BOUND

        def empty() -> bool:
            return not any(_processes(group) for group in groups.values()) and not any(
                self.alive(unit) for unit in self._of(resource)
            )

        if not poll(self._clock, deadline, empty):
            left = sorted({pid for group in groups.values() for pid in _processes(group)})
            raise KeeperError(FAILED, f"commands of {resource} still run after {STOP_BOUND:g} s: processes {left}")
        return units


def _processes(group: str) -> List[int]:
    """Return the processes of a control group and those below it, in whichever hierarchy systemd uses."""
    if not group or group == "/":
        return []
    found: List[int] = []
    for root in _CGROUP_ROOTS:
        base = root + group
        for path, _folders, names in os.walk(base):
            if "cgroup.procs" in names:
                with contextlib.suppress(OSError, ValueError):
                    raw = Path(path, "cgroup.procs").read_text(encoding="ascii")
                    found.extend(int(line) for line in raw.split())
    return found


class SessionUnits:
    """Without systemd: a session per command, found again by an environment entry that its children inherit."""

    def __init__(self, executor: Executor, clock: Clock, program: Sequence[str]) -> None:
        self._executor = executor
        self._clock = clock
        self._program = list(program)

    def start(self, unit: str, spec: str, timeout: float) -> None:  # noqa: ARG002 - the program keeps its time itself
        """Start a unit, see Units."""
        self._executor.spawn(["/usr/bin/env", f"{MARK}={unit}", *self._program, "unit-run", spec])

    @staticmethod
    def _alive(unit: str) -> List[int]:
        return alive_with(f"{MARK}={unit}".encode())

    def alive(self, unit: str) -> bool:
        """Whether it runs, see Units."""
        return bool(self._alive(unit))

    def _of(self, resource: str) -> Dict[int, str]:
        found: Dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    for line in (entry / "environ").read_bytes().split(b"\0"):
                        key, _, value = line.decode("utf-8", "replace").partition("=")
                        if key == MARK and is_unit_of(resource, value):
                            found[int(entry.name)] = value
        found.pop(os.getpid(), None)
        return found

    def stop(self, resource: str) -> List[str]:
        """Stop all units of a resource, see Units."""
        units = sorted(set(self._of(resource).values()))
        for number, grace in ((signal.SIGTERM, STOP_GRACE), (signal.SIGKILL, STOP_BOUND - STOP_GRACE)):
            for pid in self._of(resource):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if poll(self._clock, self._clock.boottime() + grace, lambda: not self._of(resource)):
                return units
        raise KeeperError(FAILED, f"commands of {resource} still run: processes {sorted(self._of(resource))}")


def best_units(executor: Executor, clock: Clock, program: Sequence[str]) -> Units:
    """Return the kind of units that this machine has."""
    if Path("/run/systemd/system").is_dir():
        return SystemdUnits(executor, clock, program)
    return SessionUnits(executor, clock, program)


class Services(Protocol):
    """The machine's own services."""

    def look(self, unit: str) -> Mapping[str, Optional[str]]:
        """Return ``{load, active, enabled}`` of a unit."""

    def act(self, verb: str, unit: str) -> None:
        """Run one verb (start, stop, restart, reload, enable, disable) on a unit. Raises KeeperError(failed)."""


class SystemdServices:
    """Services through systemctl."""

    TIMEOUT = 120.0

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def look(self, unit: str) -> Mapping[str, Optional[str]]:
        """Return the state of a unit, see Services."""
        done = self._executor.run(["systemctl", "show", "-p", "LoadState,ActiveState,UnitFileState", "--", unit], 15.0)
        rows = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
        return {
            "load": rows.get("LoadState"),
            "active": rows.get("ActiveState"),
            "enabled": rows.get("UnitFileState"),
        }

    def act(self, verb: str, unit: str) -> None:
        """Run one verb on a unit, see Services."""
        done = self._executor.run(["systemctl", verb, "--", unit], self.TIMEOUT)
        if done.rc != 0:
            raise KeeperError(FAILED, f"systemctl {verb} {unit}: {done.err.strip()[-300:]}")
