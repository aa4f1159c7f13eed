"""Start of the socket proxy: one request per connection, filtered, then passed through byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from common import life
from common.http import MAX_HEAD, read_head
from socket_proxy.rules import Rules, control, looking

FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def relay(rules: Rules, socket: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request. Requests with a body are refused: none of those that pass has one."""
    async with asyncio.timeout(30):
        method, target, headers = await read_head(reader)
        if not rules.passes(method, target) or headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            writer.write(FORBIDDEN)
            await writer.drain()
            return
        try:
            engine_reader, engine_writer = await asyncio.open_unix_connection(socket)
        except OSError:
            writer.write(UNAVAILABLE)
            await writer.drain()
            return
        try:
            engine_writer.write(
                f"{method} {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            while chunk := await engine_reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        finally:
            engine_writer.close()


async def main() -> None:
    """Serve until told to stop. Arguments: `look`, or `control NAME...`."""
    rules = control(tuple(sys.argv[2:])) if sys.argv[1:2] == ["control"] else looking()
    socket = life.setting("DOCKER_SOCKET", "/var/run/docker.sock")

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await relay(rules, socket, reader, writer)
        writer.close()

    server = await asyncio.start_server(connection, "0.0.0.0", 2375, limit=MAX_HEAD)  # noqa: S104 - published on loopback only
    life.log(f"socket proxy passes {' '.join(sys.argv[1:]) or 'look'}")
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    life.run(main)
