"""`python3 -m canvas`: PORT says where to listen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from canvas.server import serve


async def main() -> None:
    """Serve until a signal comes."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await serve("", int(os.environ.get("PORT", "3000"))):
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
