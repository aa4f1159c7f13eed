"""A UI stand-in on plain asyncio: one page for everything, and a few paths with answers that a proxy can get wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

PAGE = b"<html>canvas</html>"
MAX_HEAD = 64 * 1024
MAX_BODY = 16 * 1024 * 1024
TIMEOUT = 30.0  # seconds for one request

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Seen:
    """One request as it came. Unmasked: for observers inside this process, never written anywhere."""

    method: str
    target: str
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is sent back; a status of 0 sends the body alone, which is no HTTP."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


SPECIAL: dict[str, Answer] = {
    "/redirect": Answer(307, [("Location", "/login")]),
    "/boom": Answer(500, [("Content-Type", "text/html")], b"<h1>boom</h1>"),
    "/set-cookie": Answer(
        200,
        [("Content-Type", "text/html"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")],
        b"<p>ok</p>",
    ),
    "/garbage": Answer(0, [], b"this is not HTTP\r\n\r\n"),
    "/ws-upgrade": Answer(101, [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "fixed")]),
}
DEFAULT = Answer(200, [("Content-Type", "text/html; charset=utf-8"), ("X-Powered-By", "canvas-echo")], PAGE)


async def read(reader: asyncio.StreamReader) -> Seen:
    """Read one request; ValueError when it is malformed or too large."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("utf-8", "surrogateescape").split("\r\n")
    method, target, _version = first.split(" ", 2)
    pairs = [line.partition(":") for line in lines if ":" in line]
    headers = [(name.strip(), value.strip()) for name, _, value in pairs]
    named = {name.lower(): value for name, value in headers}
    if named.get("transfer-encoding", "").lower() == "chunked":
        return Seen(method, target, headers, await _chunks(reader))
    size = int(named.get("content-length", "0"))
    if not 0 <= size <= MAX_BODY:
        raise ValueError("body too large")
    return Seen(method, target, headers, await reader.readexactly(size))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        if sum(map(len, parts)) + size > MAX_BODY:
            raise ValueError("body too large")
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


def encode(answer: Answer, *, head_only: bool) -> bytes:
    """Give the bytes of an answer."""
    if not answer.status:
        return answer.body
    headers = list(answer.headers)
    if answer.status != 101:
        headers += [("Content-Length", str(len(answer.body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else answer.body)


async def serve(host: str, port: int, observe: Callable[[Seen], None] = lambda _seen: None) -> asyncio.Server:
    """Listen; `observe` is called with every request. After an upgrade the bytes of the client come back to it."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                seen = await read(reader)
                observe(seen)
                answer = SPECIAL.get(seen.target.partition("?")[0], DEFAULT)
                writer.write(encode(answer, head_only=seen.method == "HEAD"))
                await writer.drain()
                while answer.status == 101 and (data := await reader.read(MAX_HEAD)):
                    writer.write(data)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a broken client gets no answer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return await asyncio.start_server(connection, host, port, limit=MAX_HEAD)
