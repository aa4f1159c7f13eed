"""The product's own lock, held for a lease by a process of its own: a lock that a connection holds dies with the connection.

The protocol is that of the product's harness: ``flock`` on a file opened for reading, with a text for people beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _lease

from keeper.core import Keeper, check_path, iso
from keeper.errors import BUSY, USAGE, KeeperError
from keeper.ports import poll, try_flock

LOOK_EVERY = 1.0  # seconds between two looks at the lease and at the file
TAKE_LIMIT = 10.0  # seconds until the holder must have the lock
_TEXT_LIMIT = 300


def lock_of(request: Mapping[str, Any]) -> Optional[Dict[str, str]]:
    """Return the lock that a lease is to hold, ``{path, holder}``; None without one. Raises KeeperError(usage)."""
    raw = request.get("lock")
    if raw is None or raw == {}:
        return None
    if not isinstance(raw, Mapping) or not isinstance(raw.get("path"), str):
        raise KeeperError(USAGE, "lock is {path, holder}: the product's lock file, and the file that says who has it")
    path = str(raw["path"])
    holder = str(raw.get("holder") or f"{path}.holder")
    check_path(path)
    check_path(holder)
    return {"path": path, "holder": holder}


def _open(path: str) -> int:
    """Open a lock file as its protocol says: for reading, made for everybody, no link followed."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o666)
        return descriptor


def read_holder(lock: Mapping[str, str]) -> str:
    """Return what the lock's holder says of itself, in one short line; empty when it says nothing."""
    try:
        with Path(lock["holder"]).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_TEXT_LIMIT)
    except OSError:
        return ""
    return "".join(one if one.isprintable() else " " for one in text).strip()


def check_free(lock: Mapping[str, str]) -> None:
    """Refuse when somebody has the product's lock. Raises KeeperError(busy), naming who."""
    try:
        descriptor = _open(lock["path"])
    except OSError as error:
        raise KeeperError(BUSY, f"the product's lock {lock['path']} cannot be opened: {error.strerror}") from error
    try:
        if not try_flock(descriptor):
            who = read_holder(lock) or "nobody says who"
            busy = {"resource": lock["path"], "state": "locked", "holder": {}, "said": who}
            raise KeeperError(BUSY, f"the product's own lock {lock['path']} is held: {who}", busy=busy)
    finally:
        os.close(descriptor)


def ours(run_id: str) -> str:
    """Return how the text of a holder for a run begins."""
    return f"benchkeeper {run_id} "


def wait_taken(keeper: Keeper, lock: Mapping[str, str], run_id: str) -> None:
    """Wait until the holder of a lease has the lock. Raises KeeperError(busy)."""
    clock = keeper.clock
    if not poll(clock, clock.boottime() + TAKE_LIMIT, lambda: read_holder(lock).startswith(ours(run_id))):
        raise KeeperError(
            BUSY, f"the product's own lock {lock['path']} could not be taken: {read_holder(lock) or 'nobody says why'}"
        )


class Holder:
    """Holds one lock; takes it again when its file was replaced."""

    def __init__(self, lock: Mapping[str, str], text: str) -> None:
        self._lock = lock
        self._text = text
        self._descriptor: Optional[int] = None

    def keep(self) -> bool:
        """Have the lock of the file that stands there now; return whether we do."""
        if self._descriptor is not None and not self._same():
            self.drop()
        if self._descriptor is None:
            descriptor = _open(self._lock["path"])
            if not try_flock(descriptor):
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            # Who has it is for people: that it cannot be written is no reason to give it up.
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(self._lock["holder"], flags, 0o644), "w", encoding="utf-8") as file:
                    file.write(self._text)
        return True

    def _same(self) -> bool:
        assert self._descriptor is not None  # noqa: S101 - asked before
        try:
            there, here = Path(self._lock["path"]).lstat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def drop(self) -> None:
        """Give the lock back, and take our text away."""
        if self._descriptor is None:
            return
        if read_holder(self._lock) == self._text.strip():
            with contextlib.suppress(OSError):
                Path(self._lock["holder"]).unlink()
        os.close(self._descriptor)
        self._descriptor = None


def hold(keeper: Keeper, resource: str) -> int:
    """Hold the lock of a lease until the lease is free; return the exit code."""
    ended = [False]

    def stop(_number: int, _frame: Any) -> None:
        ended[0] = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    lease = keeper.lease(resource)
    if lease.state == _lease.FREE or not lease.lock:
        return 0
    text = f"{ours(lease.run_id)}pid={os.getpid()} started={iso(keeper.clock.wall())}\n"
    holder = Holder({str(key): str(value) for key, value in lease.lock.items()}, text)
    try:
        while not ended[0]:
            holder.keep()
            keeper.clock.sleep(LOOK_EVERY)
            now = keeper.lease(resource)
            if now.state == _lease.FREE or now.run_id != lease.run_id:
                return 0
    finally:
        holder.drop()
    return 0
