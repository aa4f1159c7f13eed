"""Start of the backend: settings, the HTTP port, the push port, the reconciler. Ends with 0 on SIGTERM, with 2 on bad settings."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from aiohttp import web

from spawner import api, push
from spawner.engine import Engine
from spawner.games import Games
from spawner.settings import Settings, SettingsError, read, seconds


async def serve(settings: Settings) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Engine(settings.socket) as engine:
        games = Games(settings, engine)
        runner = web.AppRunner(api.build(games, ready="never-ready" not in settings.breaks), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, *settings.http).start()
        print(f"http {settings.http[0]}:{settings.http[1]}", flush=True)
        tasks = [asyncio.create_task(games.reconcile_forever()), asyncio.create_task(_push(settings))]
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()


async def _push(settings: Settings) -> None:
    if "push-never" in settings.breaks:
        return
    if "push-late" in settings.breaks:
        await asyncio.sleep(seconds(settings.breaks["push-late"]))
    server = await asyncio.start_server(push.answer, *settings.push)
    print(f"push {settings.push[0]}:{settings.push[1]}", flush=True)
    async with server:
        await server.serve_forever()


def main() -> int:
    """Run the backend; return its exit code."""
    try:
        settings = read(os.environ)
    except SettingsError as error:
        print(f"backend: {error}", file=sys.stderr)
        return 2
    if "exit-at-once" in settings.breaks:
        print("backend: panic: planted", file=sys.stderr)
        return 3
    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
