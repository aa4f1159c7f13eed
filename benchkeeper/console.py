"""Plain progress lines for set-up work: elapsed seconds, phase, what is happening. Errors for people, on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

from contextlib import contextmanager, suppress

# `./bench` says when it began if making the environment took time; whatever we start counts from its own beginning.
_started = time.monotonic() - max(0.0, time.time() - float(os.environ.pop("BENCHKEEPER_STARTED", time.time())))
_lock = threading.Lock()
timings: dict[str, float] = {}
"""Seconds each finished phase took, in the order they finished."""


def say(phase: str, text: str) -> None:
    """Print one progress line; safe from threads. A terminal that is gone, or full, stops nothing."""
    with _lock, suppress(OSError):
        print(f"{time.monotonic() - _started:4.0f}s  {phase:<8} {text}", file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print an error for a person, who may be gone."""
    with _lock, suppress(OSError):
        print(f"bench: {text}", file=sys.stderr, flush=True)


@contextmanager
def phase(name: str, text: str, every: float = 10.0) -> Iterator[None]:
    """Announce a piece of work, remind of it every `every` seconds while it lasts, and note how long it took."""
    begun = time.monotonic()
    done = threading.Event()
    say(name, text)

    def remind() -> None:
        while not done.wait(every):
            say(name, f"still: {text} ({time.monotonic() - begun:.0f} s)")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
        timings[f"{name}: {text}"] = time.monotonic() - begun
    say(name, f"done: {text} ({time.monotonic() - begun:.1f} s)")
