"""What stands between a tenant and its surroundings: taps that note every request, relays for everything else. Both can go away.

A tap passes bytes on as they came, so what it noted is what was sent, hop-by-hop headers included; and it answers by itself what
a recorder had scripted. A listener that is cut refuses connections and breaks those that are open, and comes back on its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING

from benchkeeper.conform import wire
from benchkeeper.conform.compare import Saw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchkeeper.conform.notes import Script
    from benchkeeper.conform.wire import Received

Place = tuple[str, int]

CHUNK = 64 * 1024
LIMIT = 60.0  # seconds for one exchange with a tap


class Listener:
    """Listens on one port that stays its own."""

    def __init__(self, host: str, target: Place) -> None:
        self.host, self.target = host, target
        self.port = 0
        self.touched = time.monotonic()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # the loop alone would forget them

    @property
    def place(self) -> str:
        """Host and port, as they stand in a URL."""
        return f"{self.host}:{self.port}"

    async def mend(self) -> None:
        """Listen; nothing happens when it does."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port, limit=wire.MAX_HEAD)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse connections and break the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()  # which may not even have begun
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (OSError, TimeoutError, wire.BrokenAnswerError):
            pass  # whoever asked, or was asked, is gone: they see a broken connection, as without us
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on."""
        async with wire.opened(self.target[1], self.target[0]) as (back_reader, back_writer):
            await self._both(reader, writer, back_reader, back_writer)

    async def _both(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamReader, to: asyncio.StreamWriter
    ) -> None:
        """Pass bytes on in both directions until the far side ends, or both have."""
        there = asyncio.create_task(self._pump(reader, to))
        here = asyncio.create_task(self._pump(back, writer))
        try:
            await here
        finally:
            there.cancel()
            here.cancel()
            await asyncio.gather(there, here, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            self.touched = time.monotonic()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


class Tap(Listener):
    """Notes every request of one tenant for one upstream.

    Attributes:
        scripts: What it answers by itself.
    """

    def __init__(self, name: str, host: str, target: Place, saw: list[Saw]) -> None:
        super().__init__(host, target)
        self.name = name
        self.scripts: Sequence[Script] = ()
        self._saw = saw

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Note one request, and answer it or pass it on. One request for a connection: then a tap never mistakes a body for one."""
        async with asyncio.timeout(LIMIT):
            got = await wire.read_request(reader)
            self.touched = time.monotonic()
            self._saw.append(Saw(self.name, got.method, got.target, got.headers, got.body))
            script = next((one for one in self.scripts if fits(one, got)), None)
            if script is not None:
                writer.write(answer(script, head_only=got.method == "HEAD"))
                await writer.drain()
            else:
                async with wire.opened(self.target[1], self.target[0]) as (back, to):
                    to.write(once(got) + got.raw_body)
                    await to.drain()
                    await self._both(reader, writer, back, to)


def fits(script: Script, got: Received) -> bool:
    """Say whether a scripted answer is for a request."""
    wanted, given = script.path.split("/"), got.target.partition("?")[0].split("/")
    same = len(wanted) == len(given) and all(one == other or one.startswith(":") for one, other in zip(wanted, given, strict=False))
    cookies = "; ".join(value for name, value in got.headers if name.lower() == "cookie")
    return same and script.method == got.method and script.cookie in cookies


def answer(script: Script, *, head_only: bool) -> bytes:
    """Give the bytes of a scripted answer; none when the connection is closed without one."""
    if script.fault:
        return b"this is not HTTP\r\n\r\n" if script.fault == "garbage" else b""
    text = isinstance(script.body, str)
    body = b"" if script.body is None else (script.body if text else json.dumps(script.body)).encode()
    headers = [("Content-Type", "text/html" if text else "application/json")] if body else []
    headers += [*script.headers, ("Content-Length", str(len(body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {script.status} scripted", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else body)


def once(got: Received) -> bytes:
    """Give a request's head with a wish for one answer, unless it asks for another protocol."""
    if any(name.lower() == "upgrade" for name, _ in got.headers):
        return got.head
    first, *lines = got.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n\r\n"
