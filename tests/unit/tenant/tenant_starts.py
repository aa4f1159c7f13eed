"""Play the recorded starts: the server's own sequence in this process, with a database and a Redis that are there or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenant import urls
from tenant.server import run
from tenant.store import StoreDown
from tenant_bench import Bench, MemoryParts, bench
from tenant_memory import MemoryCache, MemoryStore
from tenant_play import Outcome
from tenant_preconditions import CASES, NOT_PLAYED

from benchkeeper.conform import compare, recording, wire
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from benchkeeper.conform.recording import Case

# What the scripted config answers of the recording were, by case.
CONFIG: dict[int, dict[str, Any]] = {
    745: {"body": {"RATE_LIMIT": "7", "MOLECULE_ORG_ID": "renamed-org"}},
    746: {"body": {"tenant_id": "x", "runtimes": [], "llm_endpoints": {}, "feature_flags": {}}},
    747: {"body": {"LONG": "x" * 5000, "": "y", "RATE_LIMIT": "8"}},
    748: {"status": 401, "body": {"error": "unknown org"}},
}
WITHOUT_MIGRATIONS = 753
DATABASE_PORT, REDIS_PORT = 15432, 16379  # the only ones that answer, as with the recording
PROCESS = {
    "DATABASE_URL": f"postgres://harness:harness@127.0.0.1:{DATABASE_PORT}/molecule_boot?sslmode=disable",
    "REDIS_URL": f"redis://127.0.0.1:{REDIS_PORT}/0",
}


class ClosedPorts(MemoryParts):
    """A world where one database and one Redis listen, both without TLS. URLs are taken apart by the tenant's own code."""

    async def open_store(self, url: str) -> MemoryStore:
        where = urls.database(url)
        if where.port != DATABASE_PORT:
            raise ConnectionRefusedError
        if where.tls:
            raise StoreDown
        return self.store

    async def open_cache(self, url: str) -> MemoryCache:
        if urlsplit(urls.redis(url)).port != REDIS_PORT:
            raise ConnectionRefusedError
        return self.cache


def free_port() -> int:
    """Give a port that nobody has at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def process_environment(case: Case, around: Bench, port: int) -> dict[str, str]:
    """Give the environment of a start, with the recording's ports replaced by today's."""
    difference = dict(case.request.raw["env_delta"])
    if difference.get("PORT") == "3000":  # the UI listens there
        difference["PORT"] = str(around.canvas.port)
    for name in ("CP_UPSTREAM_URL",):
        if difference.get(name, "").endswith(":9091"):
            difference[name] = difference[name].replace("9091", str(around.plane.port))
    return around.environment({**PROCESS, "PORT": str(port), **difference})


async def play_process(case: Case, symbols: Symbols) -> Outcome:
    """Start the program's own sequence, look at it, end it."""
    said: list[str] = []
    async with bench() as around:
        if case.seq in CONFIG:
            around.plane.script("GET", "/cp/tenants/config", **CONFIG[case.seq])
        port = free_port()
        world = ClosedPorts(MemoryStore(schema=case.seq != WITHOUT_MIGRATIONS), MemoryCache())
        stop = asyncio.Event()
        task = asyncio.create_task(run(process_environment(case, around, port), world, said.append, stop, "127.0.0.1"))
        ready = await _ready(task, port)
        asked = list(around.saw)
        found = compare.upstreams(case, asked, symbols)
        for number, probe in enumerate(case.response.get("probes", []) if ready else []):
            found += await _probe(probe, port, symbols, f"probe[{number}]")
        stop.set()
        async with asyncio.timeout(10):
            code = await task
    wanted = {"became_ready": True, **case.response}
    got = {"became_ready": ready, "exit_code": code, "events": sorted(said)}
    found += [f"{name}: {wanted[name]} is {got[name]}" for name in ("became_ready", "exit_code") if wanted[name] != got[name]]
    if sorted(wanted["events"]) != got["events"]:
        found.append(f"events: {sorted(wanted['events'])} are {got['events']}")
    return Outcome(case, found)


async def _ready(task: asyncio.Task[int], port: int) -> bool:
    request = recording.Request("GET", "/health", (("Host", "x"),), None, "1.1", {})
    while not task.done():
        with contextlib.suppress(OSError, wire.BrokenAnswerError):
            return (await wire.exchange(port, "GET", wire.encode(request, Symbols()))).status == 200
        await asyncio.sleep(0.01)
    return False


async def _probe(probe: dict[str, Any], port: int, symbols: Symbols, place: str) -> list[str]:
    headers = (("Host", f"127.0.0.1:{port}"), *probe["headers"].items())
    request = recording.Request(probe["method"], probe["path"], headers, None, "1.1", {})
    answer = await wire.exchange(port, probe["method"], wire.encode(request, symbols))
    found = [] if answer.status == probe["status"] else [f"{place}.status: {probe['status']} is {answer.status}"]
    if "body" not in probe:
        return found
    text = answer.body.decode()
    got = text if isinstance(probe["body"], str) else json.loads(text)
    return found + symbols.differences(probe["body"], got, f"{place}.body")


async def play_processes(symbols: Symbols) -> list[Outcome]:
    """Play every start."""
    return [await play_process(case, symbols) for case in CASES if case.via == "process" and case.seq not in NOT_PLAYED]
