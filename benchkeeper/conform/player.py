"""Play the cases of one recorded server against one of today, exchange by exchange."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from benchkeeper.conform import compare, notes, recording, wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchkeeper.conform.recording import Case
    from benchkeeper.conform.symbols import Symbols

LIMIT = 30.0  # seconds for one answer
FRAME_LIMIT = 10.0  # seconds for a stream's first event
BEAT = 0.5  # seconds between two heartbeats: the first may come before the server listens to itself
STREAMS = ("ws-first-text-frame", "sse-first-data-line")
TTL = re.compile(r"<=(\d+) and >(\d+)")


@dataclass
class Outcome:
    """What a play of one case found.

    Attributes:
        case: The case.
        differences: What was not as recorded; none: equal.
        answer: What was answered, None for what is no exchange.
        reason: Why it was not played; empty when it was.
    """

    case: Case
    differences: list[str] = field(default_factory=list)
    answer: wire.Answer | None = None
    reason: str = ""


class UnplayableError(Exception):
    """Something cannot be arranged here; the text is the reason."""


class Stage(Protocol):
    """One server and everything around it."""

    @property
    def hosts(self) -> Mapping[str, str]:
        """Where its upstreams are: `cp`, `canvas`; host and port."""

    async def arrange(self, needs: notes.Needs) -> None:
        """Make the surroundings such as a case needs them, and everything else whole. Raises UnplayableError."""

    async def insert(self, rows: Sequence[notes.Row]) -> None:
        """Insert lines of activity. Raises UnplayableError."""

    def saw(self) -> list[compare.Saw]:
        """What upstreams received since `forget`."""

    def forget(self) -> None:
        """Begin a case."""

    async def send(self, case: Case, symbols: Symbols) -> wire.Answer:
        """Send a request as it was recorded, directly or through the edge. Raises UnplayableError."""

    def stream(self, case: Case, symbols: Symbols) -> Any:
        """Open a connection, send a request, and give reader and writer (an asynchronous context)."""

    def passed(self, case: Case, headers: wire.Headers) -> wire.Headers:
        """Give the headers of an answer as the client sees them."""

    async def settle(self, case: Case) -> None:
        """Wait until the work behind an answer is done."""

    async def keys(self, prefix: str) -> dict[str, tuple[str, int]]:
        """Give value and remaining seconds of the keys in Redis that begin so. Raises UnplayableError."""

    async def tables(self) -> dict[str, Any]:
        """Give what the database knows of its schema. Raises UnplayableError."""


class InstancePlay:
    """Plays the cases of one instance in order.

    Args:
        instance: Its cases.
        stage: The server.
        symbols: The symbols of the recording.
        unsent: Names in the `env` of an order that only the recorded product sends.
    """

    def __init__(self, instance: notes.Instance, stage: Stage, symbols: Symbols, unsent: frozenset[str] = frozenset()) -> None:
        self._instance, self._stage, self._symbols, self._unsent = instance, stage, symbols, unsent
        self._waiting = dict(instance.rows)
        self._unsure: dict[str, int] = {}

    async def play(self, case: Case) -> Outcome:
        """Play one case. What shows the work of one that was not played cannot be judged."""
        outcome = await self._play(case)
        if outcome.reason and case.needed and (about := notes.workspace_of(case)):
            self._unsure.setdefault(about, case.seq)
        elif outcome.differences:
            told = json.dumps([case.request.target, case.request.body, case.response])
            before = [seq for about, seq in self._unsure.items() if about in told]
            if before:
                return Outcome(case, reason=f"it shows what {before[0]} does, which could not be played")
        return outcome

    async def _play(self, case: Case) -> Outcome:
        needs = self._instance.needs(case)
        if needs.unknown:
            return Outcome(case, reason=needs.unknown)
        try:
            await self._stage.arrange(needs)
            if rows := self._waiting.pop(notes.activity_of(case), None):
                await self._stage.insert(rows)
            self._stage.forget()
            return await self._one(case)
        except UnplayableError as failure:
            return Outcome(case, reason=str(failure))
        except (wire.BrokenAnswerError, TimeoutError, OSError) as failure:
            return Outcome(case, [f"no answer: {type(failure).__name__}: {failure}"])

    async def _one(self, case: Case) -> Outcome:
        if case.via == "redis":
            return await self._keys(case)
        if case.via == "sql":
            return Outcome(case, self._symbols.differences(case.response, await self._stage.tables(), "schema"))
        if case.response["body_kind"] in STREAMS:
            return await self._stream(case)
        answer = await self._stage.send(case, self._symbols)
        await self._stage.settle(case)
        found = compare.answered(case, answer, self._symbols)
        found += compare.upstreams(case, self._stage.saw(), self._symbols, self._unsent, self._stage.hosts)
        return Outcome(case, found, answer)

    async def _stream(self, case: Case) -> Outcome:
        """Look at the head of an answer that goes on, and at the first event after a heartbeat."""
        async with asyncio.timeout(LIMIT), self._stage.stream(case, self._symbols) as (reader, _writer):
            status, got = await wire.read_head(reader)
            answer = wire.Answer(status, self._stage.passed(case, got), b"")
            found = compare.headers(case, answer, self._symbols)
            if status != case.response["status"]:
                return Outcome(case, [f"status: {case.response['status']} is {status}", *found], answer)
            beat = self.heartbeat(case)
            beating = asyncio.create_task(self._beat(beat))
            try:
                async with asyncio.timeout(FRAME_LIMIT):
                    found += await self._first(case, reader)
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
            return Outcome(case, found, answer)

    async def _first(self, case: Case, reader: asyncio.StreamReader) -> list[str]:
        if case.response["body_kind"] == STREAMS[0]:
            return self._symbols.differences(case.response["body"], json.loads(await wire.first_frame(reader)), "frame")
        wanted = json.loads(case.response["body"].removeprefix("data: "))
        return self._symbols.differences(wanted, await wire.first_data(reader), "data")

    def heartbeat(self, case: Case) -> Case:
        """Give the heartbeat that a stream's first event tells of: as the workspace itself last sent it. Raises UnplayableError."""
        body = case.response["body"]
        event = body if isinstance(body, dict) else json.loads(body.removeprefix("data: "))
        about = str(event.get("workspace_id") or notes.workspace_of(case))
        for known in reversed([one for one in self._instance.cases if one.seq < case.seq]):
            sent = {name.lower(): value for name, value in known.request.headers}
            if (
                (known.request.method, known.request.target, known.response.get("status")) == ("POST", "/registry/heartbeat", 200)
                and about in str(known.request.body)
                and "authorization" in sent
            ):
                payload = event.get("payload") or event.get("data") or {}
                host = next((value for name, value in case.request.headers if name.lower() == "host"), "localhost")
                headers = (("Host", host), ("Authorization", sent["authorization"]), ("Content-Type", "application/json"))
                text = json.dumps({"workspace_id": about, **payload})
                request = recording.Request("POST", "/registry/heartbeat", headers, text, "1.1", {})
                return replace(known, via="direct", request=request)
        raise UnplayableError(f"no recorded heartbeat says with which token {about} sends them")

    async def _beat(self, beat: Case) -> None:
        while True:
            await self._stage.send(beat, self._symbols)
            await asyncio.sleep(BEAT)

    async def _keys(self, case: Case) -> Outcome:
        """Compare keys in Redis: names, values, and how long they live."""
        prefix = self._symbols.fill(str(case.request.raw["command"]).split(" ")[1].rstrip("*"))
        got = await self._stage.keys(prefix)
        names = [self._symbols.fill(name) for name in case.response]
        found = [] if sorted(names) == sorted(got) else [f"keys: {sorted(names)} are {sorted(got)}"]
        for name, row in case.response.items():
            if (key := self._symbols.fill(name)) in got:
                value, seconds = got[key]
                found += self._symbols.differences(row["value"], value, key)
                most = TTL.fullmatch(row["ttl_seconds"])
                inside = bool(most) and int(most[1]) >= seconds > int(most[2]) if most else False
                found += [] if inside else [f"{key}: {seconds} seconds are not {row['ttl_seconds']}"]
        return Outcome(case, found)
