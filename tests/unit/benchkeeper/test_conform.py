"""Playing recordings: symbols bind once, differences are found, broken recordings are refused by line."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper.conform import compare, recording, wire
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from pathlib import Path

ANSWER: dict[str, Any] = {"status": 200, "headers": {}, "body_kind": "json", "body": {}}
UUID, OTHER = "0b0e9c3a-1f2d-4c3b-8a4f-5d6e7f8a9b0c", "1b0e9c3a-1f2d-4c3b-8a4f-5d6e7f8a9b0c"


def case(**response: Any) -> recording.Case:
    given = {**ANSWER, **response}
    line = {"seq": 1, "case": "c", "group": "g", "via": "direct", "instance": "main", "request": {"method": "GET", "path": "/"}}
    return recording.parse(json.dumps({**line, "response": given}))


def answer(status: int = 200, body: bytes = b"{}", *headers: tuple[str, str]) -> wire.Answer:
    return wire.Answer(status, list(headers), body)


def test_a_symbol_is_bound_once_and_filled_in() -> None:
    symbols = Symbols()
    assert symbols.differences({"id": "<uuid:1>", "name": "workspace:<uuid:1>"}, {"id": UUID, "name": f"workspace:{UUID}"}) == []
    assert symbols.differences("<uuid:1>", OTHER) != []
    assert symbols.fill("/workspaces/<uuid:1>/x/<uuid:2>") == f"/workspaces/{UUID}/x/<uuid:2>"


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("<int>", 5),
        ("<int>", "5"),
        ("<ms>", 1764187200000),
        ("<ts>", "2026-11-26T20:00:00.123456+00:00"),
        ("<text snippet>", "anything\nat all"),
        ("http://ws-<uuid8>-444:8000", "http://ws-44444444-444:8000"),
        ({"a": [1, "<int>"]}, {"a": [1, 2]}),
        (0, 0.0),
    ],
)
def test_wildcards(wanted: Any, got: Any) -> None:
    assert Symbols().differences(wanted, got) == []


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("<int>", True),
        ("<int>", None),
        ("<ts>", "yesterday"),
        (1, True),
        (None, ""),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ([1], [1, 2]),
        ("a", "b"),
    ],
)
def test_differences(wanted: Any, got: Any) -> None:
    assert Symbols().differences(wanted, got) != []


def test_a_prefix_belongs_to_its_token() -> None:
    symbols = Symbols()
    assert symbols.differences("<token:1>", "abcdefghij") == []
    assert symbols.differences("<token:1:prefix>", "abcdefgh") == []
    other = Symbols({"token:1": "abcdefghij"})
    assert other.differences("<token:1:prefix>", "bcdefghi") != []


def test_headers_are_compared_both_ways_and_with_their_number() -> None:
    wanted = case(headers={"A": "1", "B": ["1", "2"]})
    good = (("a", "1"), ("B", "1"), ("B", "2"), ("Date", "x"), ("Content-Length", "2"))
    assert compare.answered(wanted, answer(200, b"{}", *good), Symbols()) == []
    for bad in (good[:1], (*good, ("C", "1")), (*good, ("A", "1"))):
        assert compare.answered(wanted, answer(200, b"{}", *bad), Symbols()) != []


@pytest.mark.parametrize(
    ("kind", "wanted", "good", "bad"),
    [
        ("empty", "", b"", b"x"),
        ("text", "a\n", b"a\n", b"a"),
        ("json", {"a": 1}, b'{"a": 1}', b'{"a": 2}'),
        ("json", {"a": 1}, b'{"a": 1}', b"nonsense"),
        ("shape", ["row 1"], b'[{"summary": "row 1"}]', b'[{"summary": "row 2"}]'),
        ("shape", "2 rows", b"[{}, {}]", b"[{}]"),
        ("shape", ["row 1"], b'[{"summary": "row 1"}]', b"{}"),
    ],
)
def test_bodies(kind: str, wanted: Any, good: bytes, bad: bytes) -> None:
    recorded = case(body_kind=kind, body=wanted)
    assert compare.body(recorded, answer(body=good), Symbols()) == []
    assert compare.body(recorded, answer(body=bad), Symbols()) != []


def test_what_upstreams_saw() -> None:
    saw = {
        "upstream": "cp",
        "method": "POST",
        "path": "/x",
        "headers": {"A": "1", "User-Agent": "go"},
        "body": {"env": {"X": "1", "Y": "2"}},
    }
    recorded = recording.parse(json.dumps({**_raw(), "upstream_saw": [saw]}))

    def differs(method: str = "POST", headers: wire.Headers | None = None, body: bytes = b'{"env": {"Y": "2"}}') -> bool:
        given = compare.Saw("cp", method, "/x", headers or [("a", "1"), ("Host", "h")], body)
        return bool(compare.upstreams(recorded, [given], Symbols(), frozenset({"X"})))

    assert not differs()
    assert differs(method="GET")
    assert differs(headers=[("a", "1"), ("Cookie", "c")])
    assert differs(body=b"")
    assert compare.upstreams(recorded, [], Symbols()) != []


def _raw() -> dict[str, Any]:
    request = {"method": "GET", "path": "/<3 x a>", "headers": {"H": ["1", "2"]}, "body": {"n": "<2 x n>"}}
    return {"seq": 1, "case": "c", "group": "g", "via": "direct", "instance": "i", "request": request, "response": ANSWER}


def test_requests_are_sent_as_recorded() -> None:
    parsed = recording.parse(json.dumps(_raw()))
    raw = wire.encode(parsed.request, Symbols())
    assert raw == b'GET /aaa HTTP/1.1\r\nH: 1\r\nH: 2\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{"n": "nn"}'


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"seq": 1}'])
def test_a_broken_recording_names_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{json.dumps(_raw())}\n{line}\n", encoding="utf-8")
    with pytest.raises(recording.RecordingError, match=r"r\.jsonl:2: "):
        recording.load(path)


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]
)
def test_an_answer_that_is_none(raw: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await wire.exchange(server.sockets[0].getsockname()[1], "GET", b"")

    with pytest.raises(wire.BrokenAnswerError):
        asyncio.run(ask())


def test_chunks_are_put_together() -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n")
        return await wire.read_body(reader, "GET", 200, [("Transfer-Encoding", "chunked")])

    assert asyncio.run(read()) == b"abcde"
