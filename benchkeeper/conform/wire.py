"""HTTP as bytes: a request as it was recorded, an answer as it came. A client that normalises would destroy cases."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchkeeper.conform.recording import Request
    from benchkeeper.conform.symbols import Symbols

MAX_HEAD = 1024 * 1024
Headers = list[tuple[str, str]]


class BrokenAnswerError(Exception):
    """The server's bytes are no HTTP answer."""


@dataclass(frozen=True)
class Answer:
    """An answer; the body without its transfer coding."""

    status: int
    headers: Headers
    body: bytes


def encode(request: Request, symbols: Symbols, headers: Headers | None = None) -> bytes:
    """Give the bytes of a request; without a recorded Connection header one answer is asked for."""
    given = headers if headers is not None else list(request.headers)
    filled = [(name, symbols.fill(value)) for name, value in given]
    named = {name.lower() for name, _ in filled}
    body = None if request.body is None else symbols.fill(request.body).encode()
    if body is not None and not named & {"content-length", "transfer-encoding"}:
        filled.append(("Content-Length", str(len(body))))
    if "connection" not in named:
        filled.append(("Connection", "close"))
    lines = [
        f"{request.method} {symbols.fill(request.target)} HTTP/{request.version}",
        *(f"{name}: {value}" for name, value in filled),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + (body or b"")


async def read_head(reader: asyncio.StreamReader) -> tuple[int, Headers]:
    """Read status and headers."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\r\n")
        protocol, status, *_ = first.split(" ", 2)
        if not protocol.startswith("HTTP/1."):
            raise BrokenAnswerError(f"not HTTP: {first[:40]!r}")
        pairs = [line.partition(":") for line in lines]
        return int(status), [(name.strip(), value.strip()) for name, _, value in pairs]
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as failure:
        raise BrokenAnswerError(f"no answer: {type(failure).__name__}") from failure


async def read_body(reader: asyncio.StreamReader, method: str, status: int, headers: Headers) -> bytes:
    """Read a body; BrokenAnswerError when it ends early."""
    named = {name.lower(): value for name, value in headers}
    if method == "HEAD" or status in (101, 204, 304):
        return b""
    try:
        if named.get("transfer-encoding", "").lower() == "chunked":
            return await _chunks(reader)
        if "content-length" in named:
            return await reader.readexactly(int(named["content-length"]))
        return await reader.read()
    except (asyncio.IncompleteReadError, ValueError) as failure:
        raise BrokenAnswerError(f"the body ends early: {type(failure).__name__}") from failure


@dataclass(frozen=True)
class Received:
    """A request as it came, with its bytes."""

    method: str
    target: str
    headers: Headers
    body: bytes
    head: bytes
    raw_body: bytes


async def read_request(reader: asyncio.StreamReader) -> Received:
    """Read a request; BrokenAnswerError when it is none or ends early."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\r\n")
        method, target, _version = first.split(" ", 2)
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        named = {name.lower(): value for name, value in headers}
        if named.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunks(reader)
            raw = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        else:
            raw = body = await reader.readexactly(int(named.get("content-length", "0")))
        return Received(method, target, headers, body, head, raw)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as failure:
        raise BrokenAnswerError(f"no request: {type(failure).__name__}") from failure


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


@contextlib.asynccontextmanager
async def opened(port: int, host: str = "127.0.0.1") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, and close it."""
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_HEAD)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(port: int, method: str, raw: bytes, timeout: float = 10.0, host: str = "127.0.0.1") -> Answer:
    """Send a request and read the answer; BrokenAnswerError when there is none, TimeoutError when it does not come."""
    async with asyncio.timeout(timeout), opened(port, host) as (reader, writer):
        writer.write(raw)
        await writer.drain()
        status, headers = await read_head(reader)
        return Answer(status, headers, await read_body(reader, method, status, headers))


async def first_frame(reader: asyncio.StreamReader) -> str:
    """Read WebSocket frames from a server until a text comes, and give it."""
    while True:
        head = await reader.readexactly(2)
        size = head[1] & 0x7F
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await reader.readexactly(8), "big")
        payload = await reader.readexactly(size)
        if head[0] & 0x0F == 1:
            return payload.decode()


async def first_data(reader: asyncio.StreamReader) -> object:
    """Read an event stream until the first data line, and give its JSON. Chunk sizes between the lines are passed over."""
    while line := await reader.readline():
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))
    raise BrokenAnswerError("the stream ended without data")
