"""What was asked and answered, in order, with a place of its own for each reader."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_ENTRIES = 10_000  # the oldest go first


@dataclass(frozen=True)
class Entry:
    """One request and its answer; credentials are masked.

    Attributes:
        seq: Number of the entry, from 1, without gaps.
        at: Seconds since the epoch.
        method: Of the request.
        path: Decoded path.
        query: Query, masked.
        headers: Headers in order, masked.
        body: JSON body, masked; the number of bytes when it was no JSON; None without one.
        status: Of the answer; 0 when the connection was broken on purpose.
        route: Pattern of the route that answered; `script`, `catch-all`, `redirect` or `none`.
        unexpected: Whether this was a 501 that nobody had announced.
        complaint: Why the answer breaks its own contract, empty when it does not.
    """

    seq: int
    at: float
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: Any
    status: int
    route: str
    unexpected: bool
    complaint: str


@dataclass
class Journal:
    """The entries of one run."""

    _entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=MAX_ENTRIES))
    _cursors: dict[str, int] = field(default_factory=dict)
    _last: int = 0

    @property
    def cursor(self) -> int:
        """Number of the newest entry, 0 before the first."""
        return self._last

    def write(self, **parts: Any) -> Entry:
        """Add an entry."""
        self._last += 1
        entry = Entry(seq=self._last, **parts)
        self._entries.append(entry)
        return entry

    def after(self, cursor: int) -> list[Entry]:
        """Give the entries after a cursor."""
        return [entry for entry in self._entries if entry.seq > cursor]

    def read(self, replay: str) -> list[Entry]:
        """Give what is new for a replay since it last read. Its first reading gives everything from its mark, or from the start."""
        found = self.after(self._cursors.get(replay, 0))
        self._cursors[replay] = self._last
        return found

    def mark(self, replay: str) -> int:
        """Let a replay begin here: what happened before is not its business."""
        self._cursors[replay] = self._last
        return self._last


def document(entries: list[Entry], cursor: int) -> dict[str, Any]:
    """Give entries as readers get them."""
    return {
        "cursor": cursor,
        "entries": [asdict(entry) for entry in entries],
        "unexpected": sum(entry.unexpected for entry in entries),
        "complaints": sum(bool(entry.complaint) for entry in entries),
    }
