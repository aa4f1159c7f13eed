"""Play the recording against the builtin: what each case needs beforehand, and what cannot be played here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tenant_bench import Bench, MemoryParts, Running, bench, running
from tenant_memory import MemoryCache, MemoryStore, activity

from benchkeeper.conform import compare, recording, wire
from benchkeeper.conform.recording import Case
from benchkeeper.conform.symbols import Symbols
from tenant import urls
from tenant.server import run
from tenant.store import StoreDown

ROOT = Path(__file__).resolve().parents[3]
RECORDING = ROOT / "tests" / "golden" / "tenant" / "real-0af4012f.jsonl"
CASES = recording.load(RECORDING)

EDGE = "the answer is nginx's own, or its header table is what is tested: the harness plays it against the real edge"
SQL = "the tables and migration names of the recorded program are its own; ours are others"
DOTENV = "the recorded program looks for .env beside its own source's module file; the builtin reads none"

# Cases that are not played here, and why.
NOT_PLAYED: dict[int, str] = {
    **{case.seq: EDGE for case in CASES if case.group == "edge"},
    221: EDGE,
    714: SQL,
    755: DOTENV,
}
# What the recorded server sends along with a start, and we do not: its own script and that script's checksum.
OURS = frozenset({"MOLECULE_GH_WRAPPER_B64", "MOLECULE_GH_WRAPPER_SHA"})

PROVISION = ("POST", "/cp/workspaces/provision")
SIX = "66666666-6666-4666-8666-666666666666"
SEVEN = "66666666-6666-4666-8666-666666666667"
NO_ROUTE = 9099  # the port of the recording where nothing listens


@dataclass
class Stage:
    """What a precondition may turn: surroundings and the running tenant."""

    bench: Bench
    now: Running
    started: int = 0  # scripted starts that gave an instance

    def member(self, cookie: str, **parts: Any) -> None:
        self.bench.plane.script("GET", "/cp/auth/tenant-member", when={"Cookie": cookie}, **parts)

    def starts(self) -> None:
        """Let the next start give an instance; its number counts what the recorder scripted so far."""
        self.started += 1
        body = {"instance_id": f"mol-ws-{self.started}", "state": "running"}
        self.bench.plane.script(*PROVISION, status=201, body=body)

    def provision(self, **parts: Any) -> None:
        self.bench.plane.script(*PROVISION, **parts)


Before = Callable[[Stage], Awaitable[None] | None]


def _four_rows(stage: Stage) -> None:
    start = datetime.now(UTC) - timedelta(minutes=10)
    extra: dict[int, dict[str, Any]] = {2: {"activity_type": "task_update"}, 3: {"source_id": "33333333-3333-4333-8333-333333333333"}}
    stage.now.store.lines += [activity(n, SIX, start + timedelta(minutes=n), **extra.get(n, {})) for n in range(1, 5)]


def _many_rows(stage: Stage) -> None:
    start = datetime.now(UTC) - timedelta(days=1)
    stage.now.store.lines += [activity(1000 + n, SEVEN, start + timedelta(seconds=n)) for n in range(620)]


def _members(stage: Stage) -> None:
    # The last one fits every cookie.
    stage.member("session=good", body={"member": True, "user_id": "u1"})
    stage.member("session=nouser", body={"member": True, "user_id": ""})
    stage.member("session=notmember", body={"member": False, "user_id": "u2"})
    stage.member("session=", status=401, body={"error": "no session"})


def _turn(seconds: float) -> Before:
    def turn(stage: Stage) -> None:
        stage.bench.clock.now += seconds

    return turn


def _scripted(method: str, path: str, **parts: Any) -> Before:
    return lambda stage: stage.bench.plane.script(method, path, **parts)


def _status(**parts: Any) -> Before:
    return _scripted("GET", "/cp/workspaces/:id/status", **parts)


def _store(*, down: bool) -> Before:
    def turn(stage: Stage) -> None:
        stage.now.store.down = down

    return turn


def _cache(*, down: bool) -> Before:
    def turn(stage: Stage) -> None:
        stage.now.cache.down = down

    return turn


def _both(*steps: Before) -> Before:
    async def all_of_them(stage: Stage) -> None:
        for step in steps:
            done = step(stage)
            if done is not None:
                await done

    return all_of_them


PLANE_DOWN: Before = lambda stage: stage.bench.plane.down()  # noqa: E731
PLANE_UP: Before = lambda stage: stage.bench.plane.up()  # noqa: E731
CANVAS_DOWN: Before = lambda stage: stage.bench.canvas.down()  # noqa: E731
CANVAS_UP: Before = lambda stage: stage.bench.canvas.up()  # noqa: E731

# What the notes of the recording say, arranged before the case.
BEFORE: dict[int, Before] = {
    240: _scripted("GET", "/cp/auth/err", status=500, body={"error": "upstream"}),
    241: _scripted("GET", "/cp/auth/hangup", fault="hangup"),
    242: _scripted("GET", "/cp/auth/garbage", fault="garbage"),
    243: _scripted("GET", "/cp/auth/cors", headers={"Access-Control-Allow-Origin": "https://app.example"}, body={}),
    244: PLANE_DOWN,
    249: PLANE_UP,
    272: CANVAS_DOWN,
    276: CANVAS_UP,
    304: CANVAS_UP,
    524: _four_rows,
    536: _many_rows,
    542: Stage.starts,
    544: lambda stage: stage.provision(status=200, body={"instance_id": "mol-ws-x", "state": "running"}),
    546: lambda stage: stage.provision(status=201, body={}),
    548: lambda stage: stage.provision(status=201, body="<html></html>"),
    550: lambda stage: stage.provision(status=500, body={"error": "no capacity"}),
    552: lambda stage: stage.provision(status=500, body="<html></html>"),
    554: lambda stage: stage.provision(fault="hangup"),
    556: PLANE_DOWN,
    558: _both(PLANE_UP, Stage.starts),
    559: Stage.starts,
    562: _scripted("GET", "/cp/admin/workspaces/:id/console", body={"output": "boot ok"}),
    564: Stage.starts,
    569: Stage.starts,
    574: _status(body={"state": "running"}),
    575: _status(body={"state": "terminated"}),
    576: lambda stage: stage.bench.plane.unscript(),
    630: _members,
    644: _turn(6),
    645: PLANE_DOWN,
    690: _both(PLANE_UP, _members, _turn(31)),
    691: _cache(down=True),
    696: _both(_cache(down=False), _store(down=True)),
}


@dataclass
class Outcome:
    """What a play of one case found; no differences: equal."""

    case: Case
    differences: list[str] = field(default_factory=list)


def behind_edge(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give the headers that the edge sends on: the table of contract 3.1. Hop-by-hop ones end there, with them a WebSocket."""
    named = {name.lower(): value for name, value in headers}
    host = named["host"].rpartition(":")[0] or named["host"]
    chain = [value for name, value in headers if name.lower() == "x-forwarded-for"]
    own = {"host", "connection", "upgrade", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
    return [
        ("Host", host.lower()),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-For", ", ".join([*chain, "127.0.0.1"])),
        ("X-Forwarded-Host", host.lower()),
        ("X-Forwarded-Proto", "http"),
        *((name, value) for name, value in headers if name.lower() not in own),
    ]


async def _send(case: Case, port: int, symbols: Symbols) -> wire.Answer:
    headers = list(case.request.headers)
    raw = wire.encode(case.request, symbols, behind_edge(headers) if case.via == "edge" else headers)
    return await wire.exchange(port, case.request.method, raw)


async def play_http(case: Case, stage: Stage, symbols: Symbols) -> list[str]:
    """Play an ordinary exchange."""
    answer = await _send(case, stage.now.port, symbols)
    await stage.now.tenant.provisioning.settle()
    return [
        *compare.answered(case, answer, symbols),
        *compare.upstreams(case, stage.bench.saw, symbols, OURS),
    ]


async def _heartbeat(stage: Stage, symbols: Symbols) -> None:
    """Send the heartbeat that the streams' notes speak of."""
    body = {"workspace_id": "33333333-3333-4333-8333-333333333333", "active_tasks": 0, "uptime_seconds": 9}
    headers = (("Host", "127.0.0.1:18080"), ("Authorization", "Bearer <token:6>"), ("Content-Type", "application/json"))
    request = recording.Request("POST", "/registry/heartbeat", headers, json.dumps(body), "1.1", {})
    answer = await wire.exchange(stage.now.port, "POST", wire.encode(request, symbols))
    assert answer.status == 200, answer


async def play_stream(case: Case, stage: Stage, symbols: Symbols) -> list[str]:
    """Play an exchange whose answer goes on: look at its head and at the first event after a heartbeat."""
    headers = list(case.request.headers)
    raw = wire.encode(case.request, symbols, behind_edge(headers) if case.via == "edge" else headers)
    async with asyncio.timeout(5), wire.opened(stage.now.port) as (reader, writer):
        writer.write(raw)
        status, got = await wire.read_head(reader)
        found = compare.headers(case, wire.Answer(status, got, b""), symbols)
        found += [] if status == case.response["status"] else [f"status: {case.response['status']} is {status}"]
        if status != case.response["status"]:
            return found
        await _listening(stage)
        await _heartbeat(stage, symbols)
        if case.response["body_kind"] == "ws-first-text-frame":
            return found + symbols.differences(case.response["body"], json.loads(await wire.first_frame(reader)), "frame")
        wanted = json.loads(case.response["body"].removeprefix("data: "))
        return found + symbols.differences(wanted, await wire.first_data(reader), "data")


async def _listening(stage: Stage) -> None:
    while not stage.now.tenant.hub.listeners:
        await asyncio.sleep(0)


async def play_keys(case: Case, stage: Stage, _symbols: Symbols) -> list[str]:
    """Compare Redis keys: names, values, and how long they live (just set, so the upper bound)."""
    prefix = case.request.raw["command"].split(" ")[1].rstrip("*")
    got = {key: value for key, value in stage.now.cache.keys.items() if key.startswith(prefix)}
    wanted = {key: (row["value"], int(row["ttl_seconds"].split(" ")[0][2:])) for key, row in case.response.items()}
    return [] if got == wanted else [f"keys: {wanted} are {got}"]


def player_of(case: Case) -> Callable[[Case, Stage, Symbols], Awaitable[list[str]]]:
    """Say how a case is played."""
    if case.via == "redis":
        return play_keys
    streams = ("ws-first-text-frame", "sse-first-data-line")
    return play_stream if case.response.get("body_kind") in streams else play_http


async def play(cases: list[Case], symbols: Symbols, **difference: str) -> list[Outcome]:
    """Play the cases of one instance in order."""
    outcomes: list[Outcome] = []
    async with bench() as around, contextlib.AsyncExitStack() as stack:
        # Where nothing listens: the port of a server that is gone.
        async with bench() as gone:
            dead = gone.plane.port
        for env, group in groupby(cases, lambda case: case.env):
            given = {name: value.replace(f":{NO_ROUTE}/", f":{dead}/") for name, value in env.items()}
            given = {name: around.environment({})["CANVAS_PROXY_URL"] + value.partition(":3000")[2] if ":3000" in value else value
                     for name, value in given.items()}
            sha = {"GIT_SHA": "harness"} if cases[0].instance == "sha" else {}
            now = await stack.enter_async_context(running(around.environment({**given, **sha, **difference}), around.clock))
            stage = Stage(around, now)
            for case in group:
                outcomes.append(Outcome(case, await one(case, stage, symbols)))
    return outcomes


async def one(case: Case, stage: Stage, symbols: Symbols) -> list[str]:
    """Arrange and play one case."""
    before = BEFORE.get(case.seq)
    done = before(stage) if before else None
    if done is not None:
        await done
    stage.bench.saw.clear()
    try:
        return await player_of(case)(case, stage, symbols)
    except (wire.Broken, TimeoutError, OSError) as failure:
        return [f"no answer: {type(failure).__name__}: {failure}"]


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
        with contextlib.suppress(OSError, wire.Broken):
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


async def play_stub(cases: list[Case], symbols: Symbols) -> list[Outcome]:
    """Play the stub's own cases against a fresh stub."""
    outcomes: list[Outcome] = []
    async with bench(redirect=301 if cases[0].instance == "stub125" else 307) as around:
        for case in cases:
            answer = await _send(case, around.plane.port, symbols)
            outcomes.append(Outcome(case, compare.answered(case, answer, symbols)))
    return outcomes


def instances() -> dict[str, list[Case]]:
    """Give the cases that are exchanges with a running server, by instance."""
    found: dict[str, list[Case]] = {}
    for case in CASES:
        if case.seq not in NOT_PLAYED and case.via != "process":
            found.setdefault(case.instance, []).append(case)
    return found


def play_all(**difference: str) -> dict[int, Outcome]:
    """Play everything that can be played here over HTTP; symbols hold over the whole recording."""
    symbols = Symbols()
    outcomes: dict[int, Outcome] = {}
    for name, cases in instances().items():
        played = play_stub(cases, symbols) if name.startswith("stub") else play(cases, symbols, **difference)
        outcomes |= {outcome.case.seq: outcome for outcome in asyncio.run(played)}
    return outcomes
