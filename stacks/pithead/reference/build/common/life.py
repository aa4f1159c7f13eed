"""Start and stop of a service: settings from the environment, a prompt and clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

GRACE = 0.5  # seconds between being told to stop and the end


def setting(name: str, default: str | None = None) -> str:
    """Read a setting; without a default it is required, and an empty one counts as missing."""
    value = os.environ.get(name) or default
    if value is None:
        sys.exit(f"{name} is not set")
    return value


def seconds(name: str, default: float) -> float:
    """Read a duration."""
    return float(setting(name, str(default)))


def log(message: str) -> None:
    """Write one line for `docker logs`."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}", flush=True)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a service until it ends or is told to: as process 1 a signal without a handler would be ignored."""

    async def guarded() -> None:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()

        def stop() -> None:
            task.cancel()
            # A server waits for its clients before it ends; clients of ours never leave by themselves.
            loop.call_later(GRACE, os._exit, 0)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            log("stopping")

    asyncio.run(guarded())
    # Worker threads may still sit in a socket call; nothing here needs them.
    sys.stdout.flush()
    os._exit(0)
