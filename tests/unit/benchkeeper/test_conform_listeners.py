"""Taps note what was sent and answer what is scripted; a listener that is cut refuses, and comes back on its port."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchkeeper.conform import kinds, listeners, notes, recording, wire
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from pathlib import Path

    from benchkeeper.conform.compare import Saw

HOP = (("Host", "h"), ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Cookie", "a=1; session=good"))


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own body, backwards."""
    got = await wire.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(got.body), got.body[::-1]))
    await writer.drain()
    writer.close()


async def ask(port: int, body: str | None = None, target: str = "/cp/x") -> wire.Answer:
    request = recording.Request("POST" if body else "GET", target, HOP, body, "1.1", {})
    return await wire.exchange(port, request.method, wire.encode(request, Symbols()))


async def everybody_is_gone() -> None:
    """Wait for the far side, which sees the end of a connection a moment later."""
    others = {one for one in asyncio.all_tasks() if one is not asyncio.current_task()}
    _done, waiting = await asyncio.wait(others, timeout=5) if others else (set(), set())
    assert waiting == set()
    await asyncio.sleep(0.01)


def test_a_tap_notes_and_passes_on() -> None:
    async def play() -> None:
        saw: list[Saw] = []
        async with await asyncio.start_server(answering, "127.0.0.1", 0) as server:
            tap = listeners.Tap("cp", "127.0.0.1", server.sockets[0].getsockname()[:2], saw)
            await tap.mend()
            assert (await ask(tap.port, "abc")).body == b"cba"
            await tap.cut()
        assert [(one.upstream, one.method, one.target, one.body) for one in saw] == [("cp", "POST", "/cp/x", b"abc")]
        assert ("X-Hop", "1") in saw[0].headers
        assert ("Connection", "close, X-Hop") in saw[0].headers

    asyncio.run(play())


def test_a_tap_answers_what_is_scripted_and_breaks_what_is_to_be_broken() -> None:
    async def play() -> None:
        tap = listeners.Tap("cp", "127.0.0.1", ("127.0.0.1", 1), [])
        await tap.mend()
        tap.scripts = (
            notes.Script("GET", "/cp/x", cookie="session=other", status=500),
            notes.Script("GET", "/cp/:any", status=201, body={"a": 1}, headers=(("X-A", "1"),)),
            notes.Script("POST", "/cp/x", fault="hangup"),
            notes.Script("GET", "/g", fault="garbage"),
        )
        answer = await ask(tap.port)
        assert (answer.status, answer.body) == (201, b'{"a": 1}')
        assert ("X-A", "1") in answer.headers
        for target, body in (("/cp/x", "b"), ("/g", None), ("/nothing/behind/it", None)):
            with pytest.raises((wire.BrokenAnswerError, ConnectionError)):
                await ask(tap.port, body, target)
        await tap.cut()

    asyncio.run(play())


def test_nothing_of_a_connection_is_left_when_it_was_cut() -> None:
    async def play() -> None:
        over = asyncio.Event()

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()  # and does not notice that who asked is gone
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            relay = listeners.Listener("127.0.0.1", server.sockets[0].getsockname()[:2])
            await relay.mend()
            before = asyncio.all_tasks()
            _reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks() - before) > 1
            await relay.cut()
            left = [one for one in asyncio.all_tasks() - before if "silent" not in repr(one)]
            assert left == []
            over.set()
            writer.close()
            await everybody_is_gone()

    asyncio.run(play())


def test_what_is_cut_refuses_breaks_and_comes_back() -> None:
    async def play() -> None:
        async def holding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(10))
            await reader.read()
            writer.close()

        async with await asyncio.start_server(holding, "127.0.0.1", 0) as server:
            relay = listeners.Listener("127.0.0.1", server.sockets[0].getsockname()[:2])
            await relay.mend()
            await relay.mend()
            port = relay.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.read(5) == b"hello"
            await relay.cut()
            with pytest.raises(ConnectionError):
                raise ConnectionError if await reader.read() == b"" else AssertionError
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            await relay.mend()
            assert relay.port == port
            _again, other = await asyncio.open_connection("127.0.0.1", port)
            other.close()
            await relay.cut()
            await everybody_is_gone()

    asyncio.run(play())


PROGRAM = """
import asyncio, socket
async def main():
    server = await asyncio.start_server(lambda r, w: None, None, 0)
    print(sorted({one.getsockname()[0] for one in server.sockets}))
    try:
        socket.socket().connect(("192.0.2.1", 80))
    except OSError as failure:
        print(failure.errno == __import__("errno").ENETUNREACH)
    port = server.sockets[0].getsockname()[1]
    socket.create_connection(("127.0.0.1", port)).close()
    server.close()
asyncio.run(main())
"""


def test_our_own_programs_know_loopback_alone(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-P", str(kinds.LAUNCH), "program"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["['127.0.0.1']", "True"]
