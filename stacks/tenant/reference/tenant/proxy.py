"""The reverse proxy in front of control plane and UI: requests go on as they came, minus what must stay here."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tenant.headers import Headers, forwarded, named_hops, returned
from tenant.replies import as_text
from tenant.target import Target

MAX_HEAD = 64 * 1024  # bytes of an upgrade answer's head
CHUNK = 64 * 1024
UPGRADE_TIMEOUT = 30.0  # seconds for the upstream's answer to an upgrade


class Passed(web.StreamResponse):
    """An upstream's answer: its type is what the upstream said, even if it said nothing."""

    @classmethod
    def of(cls, status: int, reason: str | None, headers: Headers) -> Passed:
        """Make one from what the upstream sent."""
        passed = cls(status=status, reason=reason, headers=CIMultiDict(headers))
        passed.typed = "Content-Type" in passed.headers
        return passed

    typed = False


@dataclass(frozen=True)
class Upstream:
    """One upstream.

    Attributes:
        base: Its URL; a path in it goes in front of the request's.
        http: The client.
        unavailable: What the client is told when it does not answer.
        keep_back: Request headers that it must not see, in lower case.
    """

    base: str
    http: aiohttp.ClientSession
    unavailable: str
    keep_back: Collection[str] = field(default_factory=frozenset)

    def url(self, target: Target) -> str:
        """Give the URL that a target becomes."""
        return f"{self.base.rstrip('/')}{target.with_query}"

    async def forward(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Pass one request on, and its answer back: 502 when there is none."""
        if wants_websocket(request.headers):
            return await self._upgrade(request, target)
        headers = CIMultiDict(forwarded(request.headers.items(), request.remote or "", drop=self.keep_back))
        body = request.content if request.can_read_body else None
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        passed: Passed | None = None
        try:
            async with self.http.request(
                request.method,
                URL(self.url(target), encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as answer:
                passed = Passed.of(answer.status, answer.reason, returned(answer.headers.items()))
                await passed.prepare(request)
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
                await passed.write_eof()
                return passed
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            if passed is None or not passed.prepared:
                return as_text(self.unavailable, 502)
            # The client must notice that the body ends early.
            if request.transport:
                request.transport.abort()
            return passed

    async def _upgrade(self, request: web.Request, target: Target) -> web.StreamResponse:
        parts = urlsplit(self.base)
        secure = parts.scheme == "https"
        if not parts.hostname:
            return as_text(self.unavailable, 502)
        try:
            port = parts.port or (443 if secure else 80)
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure or None, limit=MAX_HEAD)
        except (OSError, ValueError):
            return as_text(self.unavailable, 502)
        try:
            writer.write(self._upgrade_head(request, target))
            async with asyncio.timeout(UPGRADE_TIMEOUT):
                status, given = read_head(await reader.readuntil(b"\r\n\r\n"))
                if status != 101:
                    return await _refused(status, given, reader)
            answer = Passed.of(status, None, returned(given))
            answer.headers["Connection"] = "Upgrade"
            answer.headers["Upgrade"] = {name.lower(): value for name, value in given}.get("upgrade", "websocket")
            await answer.prepare(request)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return as_text(self.unavailable, 502)
        else:
            await tunnel(request, reader, writer)
            return answer
        finally:
            writer.close()

    def _upgrade_head(self, request: web.Request, target: Target) -> bytes:
        place = urlsplit(self.url(target))._replace(scheme="", netloc="").geturl()
        headers = forwarded(request.headers.items(), request.remote or "", drop=self.keep_back)
        headers += [("Connection", "Upgrade"), ("Upgrade", request.headers["Upgrade"])]
        lines = [f"GET {place} HTTP/1.1", f"Host: {urlsplit(self.base).netloc}", *(f"{name}: {value}" for name, value in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def _refused(status: int, given: Headers, reader: asyncio.StreamReader) -> web.Response:
    """Give the answer of an upstream that does not upgrade; its body is cut where it gets long."""
    length = {name.lower(): value for name, value in given}.get("content-length", "")
    body = await reader.readexactly(min(int(length), MAX_HEAD)) if length else await reader.read(MAX_HEAD)
    kept = [(name, value) for name, value in returned(given) if name.lower() != "content-length"]
    return web.Response(status=status, body=body, headers=CIMultiDict(kept))


def wants_websocket(headers: CIMultiDictProxy[str]) -> bool:
    """Say whether these headers ask for a WebSocket."""
    return "upgrade" in named_hops(headers.getall("Connection", [])) and headers.get("Upgrade", "").lower() == "websocket"


def read_head(raw: bytes) -> tuple[int, Headers]:
    """Read status and headers of an answer; ValueError when it is no HTTP."""
    first, *rest = raw.decode("latin-1").split("\r\n")
    protocol, _, tail = first.partition(" ")
    if not protocol.startswith("HTTP/1."):
        raise ValueError("not HTTP")
    pairs = (line.partition(":") for line in rest if ":" in line)
    return int(tail[:3]), [(name.strip(), value.strip()) for name, _, value in pairs]


class _Feed:
    """Takes what the client sends after the upgrade; the shape is that of aiohttp's own WebSocket parser."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._writer.write(data)
        return False, b""

    def feed_eof(self) -> None:
        self._writer.close()


async def tunnel(request: web.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes both ways until one side is done."""
    transport = request.transport
    try:
        request.protocol.set_parser(_Feed(writer))  # type: ignore[arg-type]  # any object of that shape will do
        while transport and not transport.is_closing() and (data := await reader.read(CHUNK)):
            transport.write(data)
    except OSError:
        pass
    finally:
        if transport:
            transport.close()
