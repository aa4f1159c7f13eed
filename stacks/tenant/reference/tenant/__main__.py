"""`python3 -m tenant`: the environment says everything, events go to standard error as JSON lines, SIGTERM ends it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from tenant import control, keys, postgres, server, urls
from tenant.boot import OpenStore
from tenant.settings import Settings
from tenant.store import Cache


class World:
    """The real world: PostgreSQL, Redis, HTTP."""

    async def fetch_config(self, settings: Settings) -> tuple[int, bytes]:
        """Ask the control plane for values; Unreachable."""
        async with control.client() as http:
            answer = await control.fetch_config(http, settings)
        return answer.status, answer.body

    async def open_store(self, url: str) -> OpenStore:
        """Connect to PostgreSQL."""
        return await postgres.connect(urls.database(url), Path(os.environ.get("TENANT_MIGRATIONS", "") or postgres.MIGRATIONS))

    async def open_cache(self, url: str) -> Cache:
        """Connect to Redis."""
        return await keys.connect(urls.redis(url))


def say(event: str) -> None:
    """Note an event."""
    print(json.dumps({"event": event}), file=sys.stderr, flush=True)


async def main() -> int:
    """Run until a signal comes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await server.run(dict(os.environ), World(), say, stop)


class Lines(logging.Formatter):
    """JSON lines, as the events."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line, without a traceback: its texts can hold a row or a credential."""
        return json.dumps({"log": record.name, "level": record.levelname.lower(), "text": record.getMessage()})


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    sys.exit(asyncio.run(main()))
