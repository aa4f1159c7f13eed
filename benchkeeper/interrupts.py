"""Signals that end a run: noted when they come, acted on by whoever is at work, so that nothing is cut off in the middle."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Takes INT, TERM and HUP while a run goes on: the first one ends the run, later ones are noted."""

    def __init__(self) -> None:
        self.first = 0
        self.late = 0
        self.told: Callable[[str], None] = lambda _text: None

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if not self.first:
            self.first = number
            return
        self.late += 1
        self.told(f"!! signal {signal.Signals(number).name} noted: everything is being put back, this cannot be stopped")

    @contextlib.contextmanager
    def taken(self) -> Iterator[Signals]:
        """Take the signals for a while."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._take) for number in OURS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
