"""What a kind in this process can arrange for a case of the recording, and which cases it cannot play, with the reason."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenant.store import Activity

from benchkeeper.conform import compare, notes, player, recording, wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tenant_bench import Bench, Running

    from benchkeeper.conform.recording import Case
    from benchkeeper.conform.symbols import Symbols

ROOT = Path(__file__).resolve().parents[3]
RECORDING = ROOT / "tests" / "golden" / "tenant" / "real-0af4012f.jsonl"
CASES = recording.load(RECORDING)

EDGE = "the answer is nginx's own, or its header table is what is tested: ./bench conform plays it against the real edge"
SQL = "the tables and migration names of the recorded program are its own; ours are others"
# What the recorded server sends along with a start, and we do not: its own script and that script's checksum.
OURS = frozenset({"MOLECULE_GH_WRAPPER_B64", "MOLECULE_GH_WRAPPER_SHA"})


def not_played(case: Case) -> str:
    """Say why a case cannot be played in this process; empty when it can."""
    if case.group == "edge" or (case.via == "edge" and "nginx" in str(case.response["body"])):
        return EDGE
    if case.via == "sql":
        return SQL
    return notes.start(case).needs.unknown if case.via == "process" else ""


NOT_PLAYED = {case.seq: reason for case in CASES if (reason := not_played(case))}


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


@dataclass
class Stage:
    """A tenant in this process with surroundings that can be turned: a `player.Stage`."""

    bench: Bench
    now: Running
    hosts: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = {"cp": f"127.0.0.1:{self.bench.plane.port}", "canvas": f"127.0.0.1:{self.bench.canvas.port}"}

    async def arrange(self, needs: notes.Needs) -> None:
        bench, now = self.bench, self.now
        await (bench.plane.down() if notes.CONTROL_PLANE in needs.down else bench.plane.up())
        await (bench.canvas.down() if notes.CANVAS in needs.down else bench.canvas.up())
        now.store.down, now.cache.down = notes.POSTGRES in needs.down, notes.REDIS in needs.down
        script(bench, needs.scripts)
        bench.clock.now += needs.wait

    async def insert(self, rows: Sequence[notes.Row]) -> None:
        now = datetime.now(UTC)
        for row in rows:
            parts: dict[str, Any] = {name: value for name, value in vars(row).items() if name != "age"}
            self.now.store.lines.append(Activity(**parts, created_at=now - timedelta(seconds=row.age)))

    def saw(self) -> list[compare.Saw]:
        return self.bench.saw

    def forget(self) -> None:
        self.bench.saw.clear()

    def _raw(self, case: Case, symbols: Symbols) -> bytes:
        headers = list(case.request.headers)
        return wire.encode(case.request, symbols, behind_edge(headers) if case.via == "edge" else headers)

    async def send(self, case: Case, symbols: Symbols) -> wire.Answer:
        return await wire.exchange(self.now.port, case.request.method, self._raw(case, symbols))

    @contextlib.asynccontextmanager
    async def stream(self, case: Case, symbols: Symbols) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with wire.opened(self.now.port) as (reader, writer):
            writer.write(self._raw(case, symbols))
            yield reader, writer

    def passed(self, case: Case, headers: wire.Headers) -> wire.Headers:
        # What is meant for nginx ends there.
        return [one for one in headers if case.via != "edge" or not one[0].lower().startswith("x-accel-")]

    async def settle(self, _case: Case) -> None:
        await self.now.tenant.provisioning.settle()

    async def keys(self, prefix: str) -> dict[str, tuple[str, int]]:
        return {key: value for key, value in self.now.cache.keys.items() if key.startswith(prefix)}

    async def tables(self) -> dict[str, Any]:
        raise player.UnplayableError(SQL)


def script(bench: Bench, scripts: Sequence[notes.Script]) -> None:
    """Let the stub's next answers be these."""
    bench.plane.unscript()
    for one in scripts:
        when = {"Cookie": one.cookie} if one.cookie else {}
        given = {"status": one.status, "headers": dict(one.headers), "body": one.body, "fault": one.fault, "when": when}
        bench.plane.script(one.method, one.path, **given)
