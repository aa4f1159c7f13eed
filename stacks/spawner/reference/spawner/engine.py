"""The container engine over its socket: the few calls that a backend, or whoever starts one, makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

PATIENCE = aiohttp.ClientTimeout(total=30)


class EngineFailure(Exception):
    """The engine refused, or did not answer (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """One engine; an asynchronous context."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open."""
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(self._socket), timeout=PATIENCE)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> bytes:
        """Send one request and return the body of the answer. Raises EngineFailure."""
        if self._session is None:
            raise EngineFailure(0, "not open")
        try:
            async with self._session.request(method, f"http://engine{path}", params=query, json=body) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineFailure(0, f"the engine does not answer: {error or type(error).__name__}") from error
        if answer.status >= 400:
            raise EngineFailure(answer.status, _message(raw))
        return raw

    async def list(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return all containers, stopped ones too, that carry every label."""
        wanted = {"label": [f"{key}={value}" for key, value in sorted(labels.items())]}
        found: list[dict[str, Any]] = json.loads(
            await self.call("GET", "/containers/json", {"all": "1", "filters": json.dumps(wanted)})
        )
        return found

    async def inspect(self, container: str) -> dict[str, Any]:
        """Return everything about one container."""
        found: dict[str, Any] = json.loads(await self.call("GET", f"/containers/{quote(container)}/json"))
        return found

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container and return its id."""
        return str(json.loads(await self.call("POST", "/containers/create", {"name": name}, body))["Id"])

    async def start(self, container: str) -> None:
        """Start a container."""
        await self.call("POST", f"/containers/{quote(container)}/start")

    async def remove(self, container: str) -> None:
        """Remove a container in any state; gone already is fine."""
        try:
            await self.call("DELETE", f"/containers/{quote(container)}", {"force": "1", "v": "1"})
        except EngineFailure as error:
            if error.status != 404:
                raise

    async def logs(self, container: str, lines: int = 20) -> str:
        """Return the last lines that a container said."""
        query = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        return demultiplex(await self.call("GET", f"/containers/{quote(container)}/logs", query)).decode("utf-8", "replace")


def demultiplex(raw: bytes) -> bytes:
    """Return a log without the 8-byte headers of its frames; one that has none is returned as it is."""
    out, rest = b"", raw
    while len(rest) >= 8 and rest[0] < 3 and rest[1:4] == b"\0\0\0":
        size = int.from_bytes(rest[4:8], "big")
        out, rest = out + rest[8 : 8 + size], rest[8 + size :]
    return out or raw


def _message(raw: bytes) -> str:
    try:
        return str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        return raw.decode("utf-8", "replace")[:200]
