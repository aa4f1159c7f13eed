"""Play the recording against the builtin, exchange by exchange."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from tenant_bench import Bench, bench, running
from tenant_preconditions import ALSO_NEEDED, BEFORE, CASES, NO_ROUTE, NOT_PLAYED, OURS, Stage

from benchkeeper.conform import compare, recording, wire
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from benchkeeper.conform.recording import Case


@dataclass
class Outcome:
    """What a play of one case found; no differences: equal."""

    case: Case
    differences: list[str] = field(default_factory=list)
    answer: wire.Answer | None = None


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


async def play_http(case: Case, stage: Stage, symbols: Symbols) -> Outcome:
    """Play an ordinary exchange."""
    answer = await _send(case, stage.now.port, symbols)
    await stage.now.tenant.provisioning.settle()
    found = [*compare.answered(case, answer, symbols), *compare.upstreams(case, stage.bench.saw, symbols, OURS)]
    return Outcome(case, found, answer)


async def _heartbeat(stage: Stage, symbols: Symbols) -> None:
    """Send the heartbeat that the streams' notes speak of."""
    body = {"workspace_id": "33333333-3333-4333-8333-333333333333", "active_tasks": 0, "uptime_seconds": 9}
    headers = (("Host", "127.0.0.1:18080"), ("Authorization", "Bearer <token:6>"), ("Content-Type", "application/json"))
    request = recording.Request("POST", "/registry/heartbeat", headers, json.dumps(body), "1.1", {})
    answer = await wire.exchange(stage.now.port, "POST", wire.encode(request, symbols))
    assert answer.status == 200, answer


async def play_stream(case: Case, stage: Stage, symbols: Symbols) -> Outcome:
    """Play an exchange whose answer goes on: look at its head and at the first event after a heartbeat."""
    headers = list(case.request.headers)
    raw = wire.encode(case.request, symbols, behind_edge(headers) if case.via == "edge" else headers)
    async with asyncio.timeout(5), wire.opened(stage.now.port) as (reader, writer):
        writer.write(raw)
        status, got = await wire.read_head(reader)
        # What is meant for nginx ends there.
        answer = wire.Answer(status, [one for one in got if case.via != "edge" or not one[0].lower().startswith("x-accel-")], b"")
        found = compare.headers(case, answer, symbols)
        found += [] if status == case.response["status"] else [f"status: {case.response['status']} is {status}"]
        if status != case.response["status"]:
            return Outcome(case, found, answer)
        await _listening(stage)
        await _heartbeat(stage, symbols)
        if case.response["body_kind"] == "ws-first-text-frame":
            found += symbols.differences(case.response["body"], json.loads(await wire.first_frame(reader)), "frame")
        else:
            wanted = json.loads(case.response["body"].removeprefix("data: "))
            found += symbols.differences(wanted, await wire.first_data(reader), "data")
        return Outcome(case, found, answer)


async def _listening(stage: Stage) -> None:
    while not stage.now.tenant.hub.listeners:  # noqa: ASYNC110 - the hub has no event for this, and no use for one
        await asyncio.sleep(0)


async def play_keys(case: Case, stage: Stage, _symbols: Symbols) -> Outcome:
    """Compare Redis keys: names, values, and how long they live (just set, so the upper bound)."""
    prefix = case.request.raw["command"].split(" ")[1].rstrip("*")
    got = {key: value for key, value in stage.now.cache.keys.items() if key.startswith(prefix)}
    wanted = {key: (row["value"], int(row["ttl_seconds"].split(" ")[0][2:])) for key, row in case.response.items()}
    return Outcome(case, [] if got == wanted else [f"keys: {wanted} are {got}"])


def player_of(case: Case) -> Callable[[Case, Stage, Symbols], Awaitable[Outcome]]:
    """Say how a case is played."""
    if case.via == "redis":
        return play_keys
    streams = ("ws-first-text-frame", "sse-first-data-line")
    return play_stream if case.response.get("body_kind") in streams else play_http


def environment(case: Case, around: Bench, dead: int) -> dict[str, str]:
    """Give the environment of an instance, with the recording's ports replaced by today's."""
    canvas = f":{around.canvas.port}"
    given = {name: value.replace(f":{NO_ROUTE}/", f":{dead}/").replace(":3000", canvas) for name, value in case.env.items()}
    sha = {"GIT_SHA": "harness"} if case.instance == "sha" else {}
    return around.environment({**given, **sha})


async def play(cases: list[Case], symbols: Symbols, only: Container[int] | None, **difference: str) -> list[Outcome]:
    """Play the cases of one instance in order.

    Args:
        cases: All of the instance.
        symbols: The symbols.
        only: Numbers of those that matter; the others are played only where later ones need them. None: all.
        difference: Difference of the environment.

    Returns:
        Outcomes of those that were played.
    """
    outcomes: list[Outcome] = []
    async with bench() as around, contextlib.AsyncExitStack() as stack:
        async with bench() as gone:
            dead = gone.plane.port  # nothing listens there from now on
        for _env, group in groupby(cases, lambda case: case.env):
            batch = list(group)
            env = {**environment(batch[0], around, dead), **difference}
            stage = Stage(around, await stack.enter_async_context(running(env, around.clock)))
            for case in batch:
                await arrange(case, stage)
                if only is None or case.needed or case.seq in ALSO_NEEDED or case.seq in only:
                    outcomes.append(await one(case, stage, symbols))
    return outcomes


async def arrange(case: Case, stage: Stage) -> None:
    """Do what a case needs beforehand."""
    before = BEFORE.get(case.seq)
    done = before(stage) if before else None
    if done is not None:
        await done


async def one(case: Case, stage: Stage, symbols: Symbols) -> Outcome:
    """Play one case."""
    stage.bench.saw.clear()
    try:
        return await player_of(case)(case, stage, symbols)
    except (wire.BrokenAnswerError, TimeoutError, OSError) as failure:
        return Outcome(case, [f"no answer: {type(failure).__name__}: {failure}"])


async def play_stub(cases: list[Case], symbols: Symbols) -> list[Outcome]:
    """Play the stub's own cases against a fresh stub."""
    outcomes: list[Outcome] = []
    async with bench(redirect=301 if cases[0].instance == "stub125" else 307) as around:
        for case in cases:
            answer = await _send(case, around.plane.port, symbols)
            outcomes.append(Outcome(case, compare.answered(case, answer, symbols), answer))
    return outcomes


def instances() -> dict[str, list[Case]]:
    """Give the cases that are exchanges with a running server, by instance."""
    found: dict[str, list[Case]] = {}
    for case in CASES:
        if case.seq not in NOT_PLAYED and case.via != "process":
            found.setdefault(case.instance, []).append(case)
    return found


def play_all(only: Container[int] | None = None, **difference: str) -> dict[int, Outcome]:
    """Play what can be played here over HTTP; symbols hold over the whole recording."""
    symbols = Symbols()
    outcomes: dict[int, Outcome] = {}
    for name, cases in instances().items():
        if only is not None and not any(case.seq in only for case in cases):
            continue
        played = play_stub(cases, symbols) if name.startswith("stub") else play(cases, symbols, only, **difference)
        outcomes |= {outcome.case.seq: outcome for outcome in asyncio.run(played)}
    return outcomes
