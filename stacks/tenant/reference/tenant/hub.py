"""Events inside this process, for those who listen on WebSocket and event stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

BACKLOG = 256  # events kept for a slow listener; the oldest go first


@dataclass(frozen=True)
class Event:
    """Something that happened to a workspace."""

    name: str
    workspace_id: str
    payload: dict[str, Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Hub:
    """Passes each event to everybody who listens at that moment."""

    _queues: set[asyncio.Queue[Event | None]] = field(default_factory=set)

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Give a queue that fills with events; None in it means that the server goes away."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(BACKLOG)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._queues)

    def publish(self, event: Event | None) -> None:
        """Pass an event on."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
