"""The player: a case is equal, deviates, or was not played with a reason; what depends on one that was not played is not judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper.conform import notes, recording, wire
from benchkeeper.conform.player import InstancePlay, Outcome, UnplayableError
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchkeeper.conform.compare import Saw

OWNER = "66666666-6666-4666-8666-666666666666"


def case(seq: int = 1, path: str = "/x", body: Any = None, **parts: Any) -> recording.Case:
    response = {"status": 200, "headers": {}, "body_kind": "json", "body": body or {}, **parts.pop("response", {})}
    request = {"method": "GET", "path": path, "headers": {}, **parts.pop("request", {})}
    line = {"seq": seq, "case": "c", "group": "g", "via": "direct", "instance": "i", "request": request, "response": response}
    return recording.parse(json.dumps({**line, **parts}))


class Stage:
    """A server that answers one thing, and surroundings that note what is arranged."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer or {}
        self.hosts: dict[str, str] = {}
        self.arranged: list[notes.Needs] = []
        self.rows: list[notes.Row] = []
        self.found: dict[str, tuple[str, int]] = {}

    async def arrange(self, needs: notes.Needs) -> None:
        if needs.wait:
            raise UnplayableError("there is no time")
        self.arranged.append(needs)

    async def insert(self, rows: Sequence[notes.Row]) -> None:
        self.rows += rows

    def saw(self) -> list[Saw]:
        return []

    def forget(self) -> None:
        pass

    async def send(self, _case: recording.Case, _symbols: Symbols) -> wire.Answer:
        if isinstance(self.answer, Exception):
            raise self.answer
        return wire.Answer(200, [], json.dumps(self.answer).encode())

    @contextlib.asynccontextmanager
    async def stream(self, _case: recording.Case, _symbols: Symbols) -> AsyncIterator[tuple[asyncio.StreamReader, None]]:
        reader = asyncio.StreamReader()
        reader.feed_data(b'HTTP/1.1 200 OK\r\n\r\ndata: {"data": {"n": 1}}\n\n')
        yield reader, None

    def passed(self, _case: recording.Case, headers: wire.Headers) -> wire.Headers:
        return headers

    async def settle(self, _case: recording.Case) -> None:
        pass

    async def keys(self, _prefix: str) -> dict[str, tuple[str, int]]:
        return self.found

    async def tables(self) -> dict[str, Any]:
        raise UnplayableError("no tables")


def played(stage: Stage, *cases: recording.Case) -> list[Outcome]:
    async def play() -> list[Outcome]:
        one = InstancePlay(notes.Instance(cases), stage, Symbols())
        return [await one.play(known) for known in cases]

    return asyncio.run(play())


def test_a_wrong_server_is_noticed() -> None:
    assert played(Stage({"a": 1}), case(body={"a": 1}))[0].differences == []
    assert played(Stage({"a": 2}), case(body={"a": 1}))[0].differences == ["body.a: 1 is 2"]
    assert played(Stage(ConnectionResetError("gone")), case())[0].differences == ["no answer: ConnectionResetError: gone"]


def test_what_cannot_be_arranged_has_its_reason() -> None:
    unknown, late = played(Stage(), case(note="both are stopped"), case(2, case="x after positive ttl of 30 s"))
    assert "both are stopped" in unknown.reason
    assert late.reason == "there is no time"
    assert unknown.answer is late.answer is None


def test_what_shows_the_work_of_one_that_was_not_played_is_not_judged() -> None:
    first = case(1, f"/workspaces/{OWNER}/a2a", note="both are stopped", needed_by_others=True)
    shows = case(2, body=[{"id": OWNER}], response={"body": [{"id": OWNER}]})
    other = case(3, body={"a": 1})
    outcomes = played(Stage({"a": 2}), first, shows, other)
    assert outcomes[1].reason == "it shows what 1 does, which could not be played"
    assert outcomes[2].differences


def test_everything_is_whole_again_after_a_case() -> None:
    stage = Stage()
    played(stage, case(1, note="redis down"), case(2))
    assert stage.arranged == [notes.Needs(down=frozenset({notes.REDIS})), notes.NOTHING]


def test_rows_are_there_before_they_are_first_asked_for_and_once() -> None:
    stage = Stage()
    path = f"/workspaces/{OWNER}/activity"
    played(stage, case(1, path), case(2, path, note="3 rows inserted by SQL"), case(3, path))
    assert [row.summary for row in stage.rows] == ["row 1", "row 2", "row 3"]


@pytest.mark.parametrize(
    ("seconds", "value", "good"), [(179, "online", True), (150, "online", False), (181, "online", False), (179, "off", False)]
)
def test_keys(seconds: int, value: str, good: bool) -> None:
    stage = Stage()
    stage.found = {"ws:1": (value, seconds)}
    line = {**case().request.raw, "command": "KEYS ws:1*"}
    rows = {"ws:1": {"value": "online", "ttl_seconds": "<=180 and >150"}}
    one = recording.parse(
        json.dumps({"seq": 1, "case": "c", "group": "g", "via": "redis", "instance": "i", "request": line, "response": rows})
    )
    assert (played(stage, one)[0].differences == []) is good


def test_a_stream_needs_a_heartbeat_that_was_recorded() -> None:
    stream = case(
        2, f"/workspaces/{OWNER}/events", response={"body_kind": "sse-first-data-line", "body": 'data: {"data": {"n": 1}}'}
    )
    assert "heartbeat" in played(Stage(), stream)[0].reason
    sent = {"method": "POST", "path": "/registry/heartbeat", "headers": {"Authorization": "x"}, "body": {"workspace_id": OWNER}}
    assert played(Stage(), case(1, request=sent), stream)[1].differences == []
