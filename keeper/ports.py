"""What the keeper needs of the world besides files: clocks, locks and other programs, each behind a small interface."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Iterator, List, Optional, Protocol, Sequence

from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot

from keeper.errors import BUSY, KeeperError

POLL_FIRST = 0.02
POLL_LAST = 0.4


class Clock(Protocol):
    """Time as the keeper sees it."""

    def wall(self) -> float:
        """Return seconds since the epoch; only ever shown to people."""

    def boottime(self) -> float:
        """Return seconds since boot, suspends included."""

    def boot(self) -> Boot:
        """Return the identity of this boot."""

    def sleep(self, seconds: float) -> None:
        """Wait; only ``poll`` does."""


class RealClock:
    """This machine's clocks."""

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot(self) -> Boot:
        """Return boot id and start time of PID 1."""
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return Boot(boot_id, start_time(1) or 0)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def start_time(pid: int) -> Optional[int]:
    """Return when a process started, in clock ticks since the kernel booted; None when there is no such process."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(raw.rpartition(")")[2].split()[19])  # field 22; the name in field 2 may contain anything


def poll(clock: Clock, deadline: float, ready: Callable[[], bool], first: float = POLL_FIRST, last: float = POLL_LAST) -> bool:
    """Wait until ``ready`` says yes or CLOCK_BOOTTIME reaches ``deadline``; jittered, slower as time goes by."""
    pause = first
    while not ready():
        left = deadline - clock.boottime()
        if left <= 0:
            return False
        clock.sleep(min(left, pause * random.uniform(0.7, 1.3)))  # noqa: S311 - jitter is no secret
        pause = min(pause * 1.5, max(last, first))
    return True


class Locks(Protocol):
    """Mutual exclusion between processes of this machine, gone with the process."""

    def hold(self, name: str, wait: float) -> ContextManager[None]:
        """Hold a lock for a block. Raises KeeperError(busy) after ``wait`` seconds."""

    def held(self, name: str) -> bool:
        """Whether somebody holds it now."""


def try_flock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file if nobody has it; return whether we have."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EINTR):
            return False
        raise
    return True


class FileLocks:
    """flock on files of the state directory. Close-on-exec: no child keeps a lock that its parent lost."""

    def __init__(self, root: str, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    def _open(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(f"{self._root}/{name}.lock", flags, 0o600)

    @contextlib.contextmanager
    def _held(self, name: str, wait: float) -> Iterator[None]:
        descriptor = self._open(name)
        try:
            if not poll(self._clock, self._clock.boottime() + wait, lambda: try_flock(descriptor), first=0.005):
                raise KeeperError(BUSY, f"the lock '{name}' of this machine's keeper is held for more than {wait:g} s")
            yield
        finally:
            os.close(descriptor)

    def hold(self, name: str, wait: float) -> ContextManager[None]:
        """Hold a lock, see Locks."""
        return self._held(name, wait)

    def held(self, name: str) -> bool:
        """Whether it is held, see Locks."""
        try:
            # Made by whoever takes it first: a look must leave nothing behind.
            descriptor = os.open(f"{self._root}/{name}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            return not try_flock(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Finished:
    """A program that ended: exit code (negative: signal; 124: time limit), and what it printed."""

    rc: int
    out: str
    err: str


class Executor(Protocol):
    """Short programs of the machine's own (systemctl ...), never anything of a branch."""

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        """Run a program to its end."""

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in a session of its own; return its pid."""


class RealExecutor:
    """Programs of this machine."""

    _ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}  # noqa: RUF012

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        """Run a program, see Executor."""
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._ENV,
                timeout=timeout,
                check=False,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return Finished(124, "", f"{argv[0]}: not done after {timeout:g} s")
        except OSError as error:
            return Finished(127, "", f"{argv[0]}: {error.strerror}")
        return Finished(done.returncode, done.stdout, done.stderr)

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program, see Executor."""
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._ENV,
            start_new_session=True,
            close_fds=True,
        ) as process:
            pid = process.pid
            # It outlives us on purpose: leaving the block must not wait for it.
            process.returncode = 0
        return pid


class Sessions(Protocol):
    """The connection over which this program is asked."""

    def began(self) -> Optional[float]:
        """Return when (CLOCK_BOOTTIME) it was made; None for somebody at the machine itself."""


class SshSessions:
    """SSH connections, recognised by the server's processes above this one."""

    _NAMES = ("sshd", "sshd-session", "sshd-auth", "dropbear")

    def __init__(self, proc: str = "/proc", pid: Optional[int] = None) -> None:
        self._proc = proc
        self._pid = pid or os.getpid()

    def began(self) -> Optional[float]:
        """Return when the connection was made, see Sessions.

        Of the servers above us the topmost serves the connection, the one that only listens excepted: it is nobody's child
        but init's. The processes below may be younger, one for each session that shares the connection.
        """
        chain = []
        pid = self._pid
        while pid > 1:
            try:
                raw = Path(f"{self._proc}/{pid}/stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                break
            name = raw.partition("(")[2].rpartition(")")[0]
            fields = raw.rpartition(")")[2].split()
            parent, started = int(fields[1]), int(fields[19])
            if name in self._NAMES:
                chain.append((parent, started))
            pid = parent
        served = [started for parent, started in chain if parent != 1] or [started for _parent, started in chain]
        return min(served) / os.sysconf("SC_CLK_TCK") if served else None


def alive_with(environment: bytes) -> List[int]:
    """Return the processes that carry an environment entry (``KEY=value``), ours excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if environment in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
