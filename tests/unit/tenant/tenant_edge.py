"""An edge in this process: what nginx does for a harness, as far as replays can see it, and each of its breaks."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD = 64 * 1024
Pairs = list[tuple[str, str]]


@dataclass
class Edge:
    """One edge.

    Attributes:
        upstreams: Port of each tenant by its host name; the first is the oldest.
        build_id: What it says that it was built of.
        breaks: What it does wrong, by the names of `benchkeeper.harness.edge.BREAKS`.
        port: Where it listens.
        inner: Where it listens, too, and where everybody has another address.
    """

    upstreams: Mapping[str, int]
    build_id: str
    breaks: frozenset[str]
    port: int = 0
    inner: int = 0
    _servers: list[asyncio.Server] = field(default_factory=list)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def up(self) -> None:
        self.port = await self._listen("127.0.0.1")
        self.inner = await self._listen("192.0.2.1")

    async def down(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _listen(self, peer: str) -> int:
        """Listen for clients that count as this address; give the port."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer, peer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        self._servers.append(await asyncio.start_server(connected, "127.0.0.1", 0, limit=MAX_HEAD))
        return int(self._servers[-1].sockets[0].getsockname()[1])

    def has(self, name: str) -> bool:
        return f"edge-{name}" in self.breaks

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first, headers = parse(await reader.readuntil(b"\r\n\r\n"))
            given = {name.lower(): value for name, value in headers}
            host = given.get("host", "").rpartition(":")[0] or given.get("host", "")
            host = host.lower()
            if first.split()[1] == "/__edge/buildinfo":
                build = f"{self.build_id}-before" if self.has("is-stale") else self.build_id
                writer.write(answer("200 OK", f'{{"git_sha": "{build}"}}'))
            elif (port := self._upstream(host)) is None:
                writer.write(answer("421 Misdirected Request", ""))
            else:
                await self._pass(reader, writer, port, head(first, self._rewritten(headers, given, host, peer)))
        writer.close()

    def _upstream(self, host: str) -> int | None:
        default = next(iter(self.upstreams.values())) if self.has("serves-unknown-hosts") else None
        return self.upstreams.get(host, default)

    def _rewritten(self, headers: Pairs, given: Mapping[str, str], host: str, peer: str) -> Pairs:
        """Give the headers that the tenant gets: those of the client, with the table's in their place."""
        chain = given.get("x-forwarded-for", "")
        own = {
            "Host": host,
            "X-Real-IP": peer,
            "X-Forwarded-For": f"{chain}, {peer}" if chain else peer,
            "X-Forwarded-Host": host,
            "X-Forwarded-Proto": "http",
        }
        if self.has("believes-clients"):
            own |= {name: given.get(name.lower(), "") for name in ("X-Real-IP", "X-Forwarded-For")}
        if self.has("believes-hosts"):
            own |= {name: given.get(name.lower(), "") for name in ("X-Forwarded-Host", "X-Forwarded-Proto")}
        upgrade = given.get("upgrade", "")
        own["Connection"] = "upgrade" if upgrade and not self.has("drops-upgrades") else "close"
        own["Upgrade"] = "" if self.has("drops-upgrades") else upgrade
        theirs = {name.lower() for name in own}
        kept = [(name, value) for name, value in headers if name.lower() not in theirs]
        return [*((name, value) for name, value in own.items() if value), *kept]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, request: bytes) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        ours.write(request)
        ways = [asyncio.create_task(copy(reader, ours)), asyncio.create_task(copy(theirs, writer, whole=self.has("buffers")))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ours.close()


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, whole: bool = False) -> None:
    """Pass bytes on as they come, or when there are no more."""
    with contextlib.suppress(OSError):
        while data := await source.read(-1 if whole else MAX_HEAD):
            sink.write(data)
            await sink.drain()


def parse(raw: bytes) -> tuple[str, Pairs]:
    """Give the first line of a request, and its headers."""
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return first, [(name.strip(), value.strip()) for name, _, value in pairs]


def head(first: str, headers: Pairs) -> bytes:
    """Give the bytes of a request's head."""
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


def answer(status: str, body: str) -> bytes:
    """Give the bytes of an answer of the edge's own."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
