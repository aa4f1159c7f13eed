"""A whole play: every recorded server is started, asked, and ended; those that do not depend on each other at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchkeeper.conform import compare, notes, recording, starts, wire
from benchkeeper.conform.listeners import Listener
from benchkeeper.conform.player import InstancePlay, Outcome, UnplayableError
from benchkeeper.conform.stage import OWN_TABLES, Around, Backs, DistantStage, RealStage
from benchkeeper.conform.symbols import Symbols
from benchkeeper.harness import edge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from benchkeeper.conform.kinds import Kind, Programs
    from benchkeeper.conform.listeners import Place
    from benchkeeper.conform.recording import Case
    from benchkeeper.conform.servers import Servers

STUB_GROUP = "cp-stub"
LONG = 30.0  # seconds
STARTED_AT_ONCE = 3  # servers that are played beside the long ones
SEED_BODY_LIMIT = "50m"  # the edge's of that version; recorded
SEED_NAMES = "*.localhost localhost"  # contract 3.1
OLD_COMPILER = re.compile(r"stub125$")  # the recorded stub whose router redirects with 301; recordings' README


@dataclass(frozen=True)
class Version:
    """Which version is played, and what is wrong with it on purpose."""

    defects: bool

    @property
    def tenant(self) -> dict[str, str]:
        """What a tenant of ours is told; others do not know these names."""
        return {"TENANT_PROFILE": "seed", "TENANT_DEFECTS": "all" if self.defects else ""}

    @property
    def edge(self) -> frozenset[str]:
        """What the edge does wrong: it stays the recorded mirror, so that only the tenant is another one."""
        return frozenset(edge.SEED)


@dataclass
class Play:
    """One play.

    Attributes:
        cases: The recording.
        kind: Who is played against.
        version: Which version of it.
        servers: The real servers; None where a kind has its own.
        programs: Starts our own parts.
        reference: Where these are.
        table: The edge's headers, as in the stack's `edge.yml`.
        tell: Called with each outcome.
    """

    cases: Sequence[Case]
    kind: Kind
    version: Version
    servers: Servers | None
    programs: Programs
    reference: Path
    table: object
    tell: Callable[[Outcome], None]
    symbols: Symbols = field(default_factory=Symbols)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def all(self) -> dict[int, Outcome]:
        """Play everything; outcomes by `seq`."""
        outcomes: dict[int, Outcome] = {}
        backs = await self._backs()
        beside = asyncio.Semaphore(STARTED_AT_ONCE)

        async def run(job: list[Case], gate: asyncio.Semaphore | None) -> None:
            async with gate or contextlib.nullcontext():
                for outcome in await self._job(job, backs):
                    outcomes[outcome.case.seq] = outcome

        jobs = sorted(self._jobs(), key=self._length, reverse=True)
        # The long ones begin at once and last as long as everything else together.
        gates = [None if job is jobs[0] or self._length(job) >= LONG else beside for job in jobs]
        tasks = [asyncio.create_task(run(job, gate)) for job, gate in zip(jobs, gates, strict=True)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return outcomes

    def _jobs(self) -> list[list[Case]]:
        """Cut the recording into what has to be played in order; each start of the program stands alone."""
        jobs: list[list[Case]] = []
        for cases in recording.by_instance(self.cases).values():
            jobs += [[case] for case in cases if case.via in ("process", "sql")]
            asked = [case for case in cases if case.via not in ("process", "sql")]
            jobs += [list(batch) for _env, batch in itertools.groupby(asked, lambda case: case.env)]
        return jobs

    @staticmethod
    def _length(job: list[Case]) -> float:
        instance = notes.Instance(job)
        return sum(0.1 + instance.needs(case).wait for case in job if case.via not in ("process", "sql"))

    async def _backs(self) -> Backs | None:
        if self.servers is None:
            return None
        stub = await self.programs.part("stub", self.reference, "stub", {"STUB_PROFILE": "seed"})
        canvas = await self.programs.part("canvas", self.reference, "canvas", {})
        local = self.servers.local | {self.kind.address}
        return Backs(stub, canvas, self.servers.databases, local)

    async def _job(self, job: list[Case], backs: Backs | None) -> list[Outcome]:
        if all(case.group == STUB_GROUP for case in job):
            return await self._stub(job)
        if backs is None:
            return await self._elsewhere(job)
        if job[0].via == "sql" and self.kind.facts.own_tables:
            return self._none(job, OWN_TABLES)
        if job[0].via == "process":
            return [self._told(await self._start(job[0], backs))]
        return await self._instance(job, backs)

    def _told(self, outcome: Outcome) -> Outcome:
        self.tell(outcome)
        return outcome

    async def _stub(self, job: list[Case]) -> list[Outcome]:
        """Play the stub's own cases against a stub of its own."""
        instance = job[0].instance
        redirect = "301" if OLD_COMPILER.match(instance) else "307"
        env = {"STUB_PROFILE": "seed", "STUB_REDIRECT": redirect}
        _host, port = await self.programs.part(f"stub-{next(self._numbers)}", self.reference, "stub", env)
        outcomes = []
        for case in job:
            try:
                answer = await wire.exchange(port, case.request.method, wire.encode(case.request, self.symbols))
                outcomes.append(Outcome(case, compare.answered(case, answer, self.symbols), answer))
            except (OSError, TimeoutError, wire.BrokenAnswerError) as failure:
                outcomes.append(Outcome(case, [f"no answer: {type(failure).__name__}: {failure}"]))
            self.tell(outcomes[-1])
        return outcomes

    async def _instance(self, job: list[Case], backs: Backs) -> list[Outcome]:
        """Start one recorded server, play its cases in order, end it."""
        instance = notes.Instance(job)
        more = dict(self.version.tenant)
        if instance.build:
            if not self.kind.facts.stamp:
                return self._none(job, f"a server that says {instance.build} has to be built so")
            more[self.kind.facts.stamp] = instance.build
        async with self._around(job[0].instance, backs) as around:
            label = f"{job[0].instance}-{next(self._numbers)}"
            running = await self.kind.start(label, around.addresses.environment(job[0].env, more))
            try:
                if not await running.ready():
                    tail = running.log().strip().splitlines()[-1:] or ["it said nothing"]
                    return [self._told(Outcome(case, [f"the server did not get ready: {tail[0]}"])) for case in job]
                async with self._edge(job, running.place) as place:
                    stage = RealStage(around, running, self.kind, place)
                    play = InstancePlay(instance, stage, self.symbols, self.kind.facts.unsent)
                    return [self._told(await play.play(recording.moved(case, running.place[1]))) for case in job]
            finally:
                await running.kill()

    def _none(self, job: list[Case], reason: str) -> list[Outcome]:
        return [self._told(Outcome(case, reason=reason)) for case in job]

    @contextlib.asynccontextmanager
    async def _around(self, name: str, backs: Backs) -> AsyncIterator[Around]:
        number = next(self._numbers)
        plain = re.sub(r"[^a-z0-9]", "", name.lower())[:20]
        database = await backs.databases.make(f"play_{plain}_{number}")
        around = Around(self.kind.address, backs, database, number)
        await around.up()
        try:
            yield around
        finally:
            await around.end()

    @contextlib.asynccontextmanager
    async def _edge(self, job: list[Case], tenant: Place) -> AsyncIterator[Place | None]:
        """Put an edge in front of a server that was asked through one."""
        if self.servers is None or not any(case.via == "edge" for case in job):
            yield None
            return
        relay = Listener(self.servers.gateway, tenant)
        await relay.mend()
        try:
            yield await self.servers.edge(edge_config(self.table, self.version.edge, edge_names(self.cases), relay.place))
        finally:
            await relay.cut()

    async def _start(self, case: Case, backs: Backs) -> Outcome:
        """Play one start of the program, on a database of its own."""
        wanted = notes.start(case)
        if wanted.needs.unknown:
            return Outcome(case, reason=wanted.needs.unknown)
        more = dict(self.version.tenant)
        if not wanted.migrations:
            if not self.kind.facts.migrations:
                return Outcome(case, reason="nobody can take its migrations away")
            more[self.kind.facts.migrations] = "/nonexistent/migrations"
        async with self._around("boot", backs) as around:
            await around.arrange(wanted.needs)
            env = around.addresses.environment({**case.env, **case.request.raw.get("env_delta", {})}, more)
            try:
                running = await self.kind.start(f"start-{case.seq}", env)
            except UnplayableError as failure:
                return Outcome(case, reason=str(failure))
            try:
                return await starts.play(case, running, around.saw, self.symbols, around.hosts)
            finally:
                await running.kill()

    async def _elsewhere(self, job: list[Case]) -> list[Outcome]:
        """Play what can be played against a server that is not ours: what one of the recording's base environment answers."""
        instance = notes.Instance(job)
        if job[0].via not in recording.HTTP or job[0].env or instance.build:
            return self._none(job, "it needs another server than the one that runs there, or its database, keys or process")
        running = await self.kind.start(job[0].instance, {})
        play = InstancePlay(instance, DistantStage(running.place), self.symbols, self.kind.facts.unsent)
        return [self._told(await play.play(recording.moved(case, running.place[1]))) for case in job]


def edge_names(cases: Sequence[Case]) -> list[str]:
    """Give the names that the recorded edge was told are the tenant's: `localhost`, and below it as far as they were used."""
    found = {"harness-tenant.localhost": True, "localhost": True}
    for case in cases:
        if case.via == "edge":
            places = [value for name, value in case.request.headers if name.lower() == "host"]
            places += re.findall(r"^http://([^/]+)", case.request.target)
            found |= {host: True for one in places if (host := one.lower().partition(":")[0]).endswith(".localhost")}
    return list(found)


def edge_config(table: object, breaks: frozenset[str], names: Sequence[str], tenant: str) -> str:
    """Give the recorded version's configuration of the edge, with or without what was wrong with it."""
    wanted = replace(edge.read(table, "plain", breaks), body_limit=SEED_BODY_LIMIT)
    text = edge.config(wanted, dict.fromkeys(names, tenant), "conform")
    # Where a client names nobody, nginx says the server's own name; ours has none because it is for every name.
    named = text.replace("default_server;\n", f"default_server;\n        server_name {SEED_NAMES};\n", 1)
    if named == text:
        raise ValueError("the edge's configuration has no place for the server's name")
    return named
