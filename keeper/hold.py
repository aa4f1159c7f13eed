"""The keeper's end of the hold: a connection whose end says that the controller is gone.

Lines of JSON in, lines of JSON out. In: first ``{"fence": {...}}``, then ``{"renew": true}``, ``{"bye": true}`` (given back),
``{"detach": seconds}`` (kept on purpose). The end of the input without one of the last two is a cut. This program never
restores: it writes the cut down, and the sweep judges. Its own death is a cut as well. As long as it stands it answers the
guarded calls of its resource, see `served`.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _lease

from keeper.core import TTL_LIMIT, Fence, Keeper, fence_of, iso, number
from keeper.errors import BUSY, FENCE, USAGE, KeeperError
from keeper.ports import start_time
from keeper.served import Served, load, place_of

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease

LOOK_EVERY = 1.0  # seconds between two looks whether the lease is still the caller's
LINE_LIMIT = 64 * 1024
RENEW_WAIT = 5.0  # seconds for the machine's lock; the controller takes a longer silence for a dead connection


@dataclass
class Hold:
    """One connection: whose it is, and its number; an older one's end says nothing."""

    keeper: Keeper
    fence: Fence
    generation: int

    def _mine(self) -> Lease:
        """Return the lease if this is still its hold. The host lock must be held. Raises KeeperError(fence)."""
        lease = self.keeper.check_fence(self.fence)
        if (lease.hold or {}).get("generation") != self.generation:
            raise KeeperError(FENCE, "another connection of the same run holds it now")
        return lease

    def renew(self) -> Dict[str, Any]:
        """Give the lease its whole time again; while the machine is busy with something long, the next renewal will do."""
        try:
            with self.keeper.store.host_lock(RENEW_WAIT):
                lease = self.keeper.renew(self._mine())
        except KeeperError as error:
            if error.kind != BUSY:
                raise
            return {"renewed": None}
        return {"renewed": iso(lease.deadline.wall) if lease.deadline else None}

    def leave(self, ttl: Optional[float]) -> Dict[str, Any]:
        """Let go on purpose: the lease goes on by its time alone, kept when ``ttl`` (seconds) says for how long."""
        with self.keeper.store.host_lock():
            lease = self._mine()
            if ttl is None:
                lease = self.keeper.store.save(lease.next(hold=None))
            else:
                lease = self.keeper.store.save(lease.next(hold=None, keep=True, ttl=ttl, deadline=self.keeper.deadline(ttl)))
        return {"left": iso(lease.deadline.wall) if lease.deadline else None}

    def cut(self) -> None:
        """Write down that the connection ended; a newer connection's lease is not touched."""
        with self.keeper.store.host_lock():
            lease = self.keeper.lease(self.fence.resource)
            hold = lease.hold or {}
            if lease.state == _lease.HELD and lease.token == self.fence.token and hold.get("generation") == self.generation:
                self.keeper.store.save(lease.next(hold={**hold, "lost_at": self.keeper.clock.boottime()}))

    def over(self) -> str:
        """Return what became of the lease when it is not this run's any more, else nothing."""
        lease = self.keeper.lease(self.fence.resource)
        if lease.state == _lease.HELD and lease.token == self.fence.token:
            return ""
        return lease.state


def begin(keeper: Keeper, request: Mapping[str, Any]) -> Hold:
    """Take the hold of a lease: ``{fence}``. Raises KeeperError."""
    fence = fence_of(request)
    pid = os.getpid()
    with keeper.store.host_lock():
        lease = keeper.check_fence(fence)
        generation = int((lease.hold or {}).get("generation") or 0) + 1
        hold = {"generation": generation, "pid": pid, "started": start_time(pid), "lost_at": None}
        keeper.store.save(lease.next(hold=hold, deadline=keeper.deadline(lease.ttl)))
    return Hold(keeper, fence, generation)


class _Lines:
    """Lines of a pipe, without ever waiting longer than asked."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._number = stream.fileno()
        self._waiting = b""
        self.ended = False

    def next(self, seconds: float, others: Sequence[int] = ()) -> Optional[Mapping[str, Any]]:
        """Return the next line, None when none came in time, others are ready or the input ended. Raises KeeperError(usage)."""
        if b"\n" not in self._waiting:
            ready, _, _ = select.select([self._number, *others], [], [], seconds)
            if self._number in ready:
                chunk = os.read(self._number, LINE_LIMIT)
                self.ended = not chunk
                self._waiting += chunk
        line, found, rest = self._waiting.partition(b"\n")
        if not found:
            if len(self._waiting) > LINE_LIMIT:
                raise KeeperError(USAGE, "a line is too long")
            return None
        self._waiting = rest
        try:
            document = json.loads(line)
        except ValueError as error:
            raise KeeperError(USAGE, "a line is not JSON") from error
        if not isinstance(document, Mapping):
            raise KeeperError(USAGE, "a line is a JSON object")
        return document


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, sort_keys=True) + "\n")
    sys.stdout.flush()


def main(keeper: Keeper, stream: IO[bytes]) -> int:
    """Hold a lease until its end, a line that says so, or the end of the input; return the exit code."""
    lines = _Lines(stream)
    try:
        first: Optional[Mapping[str, Any]] = None
        while first is None and not lines.ended:
            first = lines.next(60.0)
        hold = begin(keeper, first or {})
    except KeeperError as error:
        _say(error.document())
        return error.exit_code

    def stop(_number: int, _frame: Any) -> None:
        lines.ended = True

    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    served = Served(place_of(hold.fence.resource), functools.partial(_answer, keeper))
    try:
        _say({"held": hold.generation})
        load()
        return _serve(hold, lines, served)
    except KeeperError as error:
        _say(error.document())
        return error.exit_code
    except OSError:  # who should read the answer is gone
        hold.cut()
        return 0
    finally:
        served.close()


def _answer(keeper: Keeper, verb: str, request: Mapping[str, Any]) -> Tuple[int, Mapping[str, Any]]:
    from keeper.verbs import call  # noqa: PLC0415 - loaded when it is known that there is a hold

    return call(keeper, verb, request)


def _serve(hold: Hold, lines: _Lines, served: Served) -> int:
    while not lines.ended:
        asked = lines.next(LOOK_EVERY, served.descriptors())
        served.answer_all()
        if asked is None:
            state = "" if lines.ended else hold.over()
            if state:
                _say({"over": state})
                return 0
        elif "bye" in asked:
            _say(hold.leave(None))
            return 0
        elif "detach" in asked:
            _say(hold.leave(number(asked, "detach", 0.0, 1.0, TTL_LIMIT)))
            return 0
        elif "renew" in asked:
            _say(hold.renew())
        else:
            raise KeeperError(USAGE, "a line is one of renew, bye, detach")
    hold.cut()
    return 0
