"""Searching logs for a secret while they stream by: with a carried tail, within a bound, and never with a silent gap."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, List

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

LIMIT = 256 * 1024 * 1024  # bytes of all logs of a host together; searching them takes about half a minute
CHUNK = 1024 * 1024
_TAIL = 8 * 1024  # bytes carried over: the longest spelling of a secret with line breaks and colours in between
_FRAME = 8  # bytes of the header of a piece of a container's log
_STDERR = 2  # the last of the streams that such a header names


class GapError(Exception):
    """A log was not searched to its end; the message says why."""


class Search:
    """What was found so far in the logs of a host.

    Args:
        seeker: Knows the secret.
        limit: Bytes that are searched at most.

    Attributes:
        hits: Where the secret was found, each with its encoding.
        gaps: What was not searched to its end, and why.
    """

    def __init__(self, seeker: Redactor, limit: int = LIMIT) -> None:
        self.hits: List[str] = []
        self.gaps: List[str] = []
        self._seeker = seeker
        self._limit = limit
        self._left = limit

    def read(self, name: str, pieces: Iterable[bytes]) -> None:
        """Search one log. Whatever ends it early is a gap, and what was found before stays found."""
        found: Dict[str, None] = {}
        tail = b""
        try:
            for chunk in _gathered(pieces):
                self._spend(len(chunk))
                window = tail + chunk
                found.update((hit.encoding, None) for hit in self._seeker.scan(window))
                tail = window[-_TAIL:]
        except GapError as error:
            self.gaps.append(f"{name}: {error}")
        self.hits += [f"{name}: {encoding}" for encoding in found]

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise GapError(f"the logs have more than {self._limit} bytes")


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces of a size that is worth a search."""
    waiting: List[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def frames(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield what a container wrote from the stream of its log, without the headers; a log of a terminal has none.

    Args:
        read: Returns at most so many bytes, none at the end.

    Raises:
        GapError: The stream breaks off, or is no log.
    """
    head = _exactly(read, _FRAME)
    if head and not _is_frame(head):
        yield head
        yield from iter(lambda: read(CHUNK), b"")
        return
    while head:
        if not _is_frame(head):
            raise GapError("the container's log cannot be read to its end")
        left = struct.unpack(">I", head[4:])[0]
        while left:
            piece = read(min(left, CHUNK))
            if not piece:
                raise GapError("the container's log breaks off")
            left -= len(piece)
            yield piece
        head = _exactly(read, _FRAME)


def _is_frame(head: bytes) -> bool:
    return len(head) == _FRAME and head[0] <= _STDERR and head[1:4] == b"\0\0\0"


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    raw = b""
    while len(raw) < size:
        piece = read(size - len(raw))
        if not piece:
            break
        raw += piece
    return raw
