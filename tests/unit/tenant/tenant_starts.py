"""Play the recorded starts: the server's own sequence in this process, with a database and a Redis that are there or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tenant import urls
from tenant.server import run
from tenant.store import StoreDown
from tenant_bench import Bench, MemoryParts, bench
from tenant_memory import MemoryCache, MemoryStore
from tenant_preconditions import CASES, NOT_PLAYED, script

from benchkeeper.conform import notes, starts
from benchkeeper.conform.kinds import free_port
from benchkeeper.conform.surroundings import CANVAS_PORT, CONTROL_PLANE_PORT, POSTGRES_PORT, REDIS_PORT
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Container

    from benchkeeper.conform.player import Outcome
    from benchkeeper.conform.recording import Case

# The only ports that answer, as with the recording.
PROCESS = {
    "DATABASE_URL": f"postgres://harness:harness@127.0.0.1:{POSTGRES_PORT}/molecule_boot?sslmode=disable",
    "REDIS_URL": f"redis://127.0.0.1:{REDIS_PORT}/0",
}


class ClosedPorts(MemoryParts):
    """A world where one database and one Redis listen, both without TLS. URLs are taken apart by the tenant's own code."""

    async def open_store(self, url: str) -> MemoryStore:
        where = urls.database(url)
        if where.port != POSTGRES_PORT:
            raise ConnectionRefusedError
        if where.tls:
            raise StoreDown
        return self.store

    async def open_cache(self, url: str) -> MemoryCache:
        if urlsplit(urls.redis(url)).port != REDIS_PORT:
            raise ConnectionRefusedError
        return self.cache


def process_environment(case: Case, around: Bench, port: int) -> dict[str, str]:
    """Give the environment of a start, with the recording's ports replaced by today's."""
    difference = dict(case.request.raw["env_delta"])
    if difference.get("PORT") == str(CANVAS_PORT):  # the UI listens there
        difference["PORT"] = str(around.canvas.port)
    if difference.get("CP_UPSTREAM_URL", "").endswith(f":{CONTROL_PLANE_PORT}"):
        difference["CP_UPSTREAM_URL"] = difference["CP_UPSTREAM_URL"].replace(str(CONTROL_PLANE_PORT), str(around.plane.port))
    return around.environment({**PROCESS, "PORT": str(port), **difference})


class InProcess:
    """The server's own sequence as a task: a `starts.Started`."""

    def __init__(self, env: dict[str, str], world: ClosedPorts, port: int) -> None:
        self.place = ("127.0.0.1", port)
        self._said: list[str] = []
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(run(env, world, self._said.append, self._stop, "127.0.0.1"))

    async def ready(self) -> bool:
        while not self._task.done():
            if await starts.listens(self.place):
                return True
            await asyncio.sleep(0.01)
        return False

    async def stop(self) -> int:
        self._stop.set()
        async with asyncio.timeout(10):
            return await self._task

    def events(self) -> list[str]:
        return self._said


async def play_process(case: Case, symbols: Symbols, **difference: str) -> Outcome:
    """Start the program's own sequence, look at it, end it."""
    async with bench() as around:
        needs = notes.start(case)
        script(around, needs.needs.scripts)
        port = free_port()
        world = ClosedPorts(MemoryStore(schema=needs.migrations), MemoryCache())
        started = InProcess({**process_environment(case, around, port), **difference}, world, port)
        return await starts.play(case, started, lambda: list(around.saw), symbols)


async def play_processes(only: Container[int] | None = None, **difference: str) -> list[Outcome]:
    """Play every start that matters."""
    found = [case for case in CASES if case.via == "process" and case.seq not in NOT_PLAYED and (only is None or case.seq in only)]
    symbols = Symbols()
    return [await play_process(case, symbols, **difference) for case in found]
