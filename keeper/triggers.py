"""What puts a machine back without being asked: the sweep that its own init starts, and the restore that the sweep sets off.

The units are static (see `install`): a lease makes none, so no reload of the init leaves a window in which nobody watches.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable, Optional, Protocol, Sequence

from keeper.errors import FAILED, UNFIT, KeeperError
from keeper.ports import Clock, Executor, poll

SWEEP, RESTORE, BOOT, LOCK = "benchkeeper-sweep", "benchkeeper-restore", "benchkeeper-boot", "benchkeeper-lease@"
STAMP = "/run/benchkeeper/sweep.json"
SWEPT_BY = "BENCHKEEPER_SWEPT_BY"  # set by the init's own unit or table: a sweep by hand proves nothing
RESTORE_LIMIT = 3600.0  # seconds that somebody who asks for a restore waits for the unit that does it
_LOCK_LIMIT = 20.0
_TICKING = ("waiting", "running")  # what systemd says of a timer that will start its unit again


class Triggers(Protocol):
    """The machine's own init, as far as it is needed to come back without a controller."""

    def alive(self, since: float) -> str:
        """Wait until a sweep that the init started looked after ``since`` (CLOCK_BOOTTIME); return what it is that lives.

        Raises:
            KeeperError: unfit, when none did.
        """

    def stamp(self) -> None:
        """Say that a sweep looked just now. One that was started by hand says nothing."""

    def start(self) -> None:
        """Set the machine's restore off, without waiting for it."""

    def restore(self, work: Callable[[], object]) -> None:
        """Have everything put back that is due, in a unit that outlives who asks, and wait for its end.

        Args:
            work: What that unit does, for where there is none.
        """

    def lock(self, resource: str, *, on: bool, wait: bool = True) -> None:
        """Start or stop what holds the product's own lock for a lease; at a boot without waiting for it."""


def read_stamp(path: str = STAMP) -> float:
    """Return when (CLOCK_BOOTTIME) the init's sweep looked last; 0 when it never did."""
    try:
        return float(json.loads(Path(path).read_text(encoding="ascii"))["boottime"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


class InitTriggers:
    """What systemd and cron have in common: the stamp, and the wait for it."""

    kind = ""
    late = 0.0  # seconds after which a sweep that did not come will not come

    def __init__(self, executor: Executor, clock: Clock, program: Sequence[str], stamp: str = STAMP) -> None:
        self._executor = executor
        self._clock = clock
        self._program = list(program)
        self._stamp = stamp

    def alive(self, since: float) -> str:
        """Wait for a sweep, see Triggers."""
        if not poll(self._clock, since + self.late, lambda: read_stamp(self._stamp) > since):
            raise KeeperError(
                UNFIT,
                f"nothing was changed: the sweep of this machine's keeper did not look within {self.late:g} s, "
                f"so nothing would put it back; see: {self.kind}",
            )
        return self.kind

    def stamp(self) -> None:
        """Say that a sweep looked, see Triggers."""
        if os.environ.get(SWEPT_BY):
            place = Path(self._stamp)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            temporary = place.with_name(f".{place.name}")
            temporary.write_text(json.dumps({"boottime": self._clock.boottime(), "pid": os.getpid()}), encoding="ascii")
            temporary.replace(place)


class SystemdTriggers(InitTriggers):
    """Static units of systemd."""

    kind = f"{SWEEP}.timer and {BOOT}.service"
    late = 15.0

    def alive(self, since: float) -> str:
        """Let the init start the sweep that its timer would start within a second, and see that this timer will start the next.

        See Triggers.
        """
        timer = self._executor.run(["systemctl", "show", "-p", "SubState", "--value", "--", f"{SWEEP}.timer"], 15.0)
        if timer.out.strip() not in _TICKING:
            raise KeeperError(
                UNFIT,
                f"nothing was changed: the timer of this machine's sweep does not run ({timer.out.strip() or 'unknown'}), "
                f"so nothing would put it back; see: {self.kind}",
            )
        self._executor.run(["systemctl", "start", "--no-block", f"{SWEEP}.service"], 15.0)
        return super().alive(since)

    def start(self) -> None:
        """Start the restore, see Triggers."""
        self._executor.run(["systemctl", "start", "--no-block", f"{RESTORE}.service"], 15.0)

    def restore(self, work: Callable[[], object]) -> None:
        """Run the restore, see Triggers."""
        if self._executor.run(["systemctl", "start", f"{RESTORE}.service"], RESTORE_LIMIT).rc != 0:
            work()  # no such unit, or it failed: whoever asks does it, and says why when it fails again

    def lock(self, resource: str, *, on: bool, wait: bool = True) -> None:
        """Start or stop the holder of the lock, see Triggers."""
        words = ["start" if on else "stop", *([] if wait else ["--no-block"]), f"{LOCK}{resource}.service"]
        done = self._executor.run(["systemctl", *words], _LOCK_LIMIT)
        if on and done.rc != 0:
            raise KeeperError(FAILED, f"{LOCK}{resource}.service did not start: {done.err.strip()[-300:]}")


class CronTriggers(InitTriggers):
    """Without systemd: a line of cron every minute, and one at boot."""

    kind = "/etc/cron.d/benchkeeper"
    late = 75.0

    def start(self) -> None:
        """Start the restore in a session of its own, see Triggers."""
        self._executor.spawn([*self._program, "restore-due"])

    def restore(self, work: Callable[[], object]) -> None:
        """Run the restore here: without units there is nothing that would outlive us better than the next minute's sweep."""
        work()

    def lock(self, resource: str, *, on: bool, wait: bool = True) -> None:  # noqa: ARG002 - it is never waited for
        """Start the holder of the lock in a session of its own; it ends itself when the lease does."""
        if on:
            self._executor.spawn([*self._program, "lock-hold", resource])


def best_triggers(executor: Executor, clock: Clock, program: Sequence[str], root: Optional[str] = None) -> Triggers:
    """Return the triggers of this machine's init."""
    systemd = Path(f"{root or ''}/run/systemd/system").is_dir()
    return (SystemdTriggers if systemd else CronTriggers)(executor, clock, program)
