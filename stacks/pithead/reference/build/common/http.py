"""A small HTTP/1.1 server for APIs of a few routes: one request per connection, bounded sizes, bearer tokens."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAX_HEAD = 32 * 1024
MAX_BODY = 256 * 1024
READ_TIMEOUT = 10.0


@dataclass(frozen=True)
class Request:
    """What came in. Header names are lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """What goes out."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


def as_json(value: Any, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(status, json.dumps(value).encode())


def error(status: int, text: str | None = None) -> Response:
    """Answer with an error document, in the shape of xmrig's API."""
    return as_json({"status": status, "error": text or HTTPStatus(status).phrase}, status)


def bearer_refusal(request: Request, token: str) -> Response | None:
    """Check a bearer token as xmrig's API does: none at all is 401, a wrong one 403, a right one None."""
    given = request.headers.get("authorization", "")
    if not given:
        return error(401)
    scheme, _, value = given.partition(" ")
    same = hmac.compare_digest(value.strip().encode(), token.encode())
    return None if scheme.lower() == "bearer" and token and same else error(403)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Read request line and headers; ValueError when malformed."""
    raw = await reader.readuntil(b"\r\n\r\n")
    lines = raw.decode("latin-1").split("\r\n")
    method, target, _version = lines[0].split(" ", 2)
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return method, target, headers


def body_size(headers: dict[str, str]) -> int:
    """Give the announced size of a body; ValueError when it is none or too large."""
    size = int(headers.get("content-length", "0"))
    if not 0 <= size <= MAX_BODY:
        raise ValueError("body too large")
    return size


async def serve(handler: Handler, host: str, port: int) -> asyncio.Server:
    """Listen and answer with `handler`; an exception of the handler is a 500 with its text."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                method, target, headers = await read_head(reader)
                body = await reader.readexactly(body_size(headers))
            parts = urlsplit(target)
            request = Request(method, parts.path, parse_qs(parts.query), headers, body)
            response = await _answer(handler, request)
            writer.write(_encode(response, head_only=method == "HEAD"))
            await writer.drain()
        except (ConnectionError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a broken client gets no answer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()

    return await asyncio.start_server(connection, host, port, limit=MAX_HEAD)


async def _answer(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except Exception as failure:  # noqa: BLE001 - an API answers 500 instead of dropping the connection
        return error(500, f"{type(failure).__name__}: {failure}")


def _encode(response: Response, *, head_only: bool) -> bytes:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Connection": "close",
        "Cache-Control": "no-store",
        **response.headers,
    }
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else response.body)
