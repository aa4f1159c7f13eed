"""The control plane as the tenant calls it on its own behalf: start, stop, look at and ask about workspaces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from tenant.session import Unreachable
from tenant.settings import Settings
from wire import consumer

TIMEOUT = 120.0  # seconds for one call; contract 4
CONFIG_TIMEOUT = 10.0  # seconds for the config request at boot; contract 8
# Nothing is added to what we say ourselves.
QUIET = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


def client() -> aiohttp.ClientSession:
    """Make the HTTP client of this server: no cookies, no proxy from the environment, bodies as they come.

    A connection is used once, and no request is sent twice: aiohttp would repeat one whose connection broke, and the upstream would
    see two where the client sent one.
    """
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=QUIET,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        trust_env=False,
    )
    http._retry_connection = False  # noqa: SLF001 - there is no public switch; a recorded case is red without it
    return http


@dataclass(frozen=True)
class Answer:
    """What came back: status and at most the consumer's cap of the body."""

    status: int
    body: bytes


async def call(  # noqa: PLR0913 - one HTTP request has that many parts
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: dict[str, str],
    body: Any = None,
    *,
    seconds: float = TIMEOUT,
    cap: int = consumer.MAX_ANSWER,
) -> Answer:
    """Make one call; Unreachable when nothing usable as HTTP came back. The error holds neither a header nor a body."""
    data = None if body is None else json.dumps(body).encode()
    sent = headers if data is None else {**headers, "Content-Type": "application/json"}
    try:
        limit, place = aiohttp.ClientTimeout(total=seconds), URL(url, encoded=True)
        async with http.request(method, place, headers=sent, data=data, allow_redirects=False, timeout=limit) as answer:
            # One byte more than the cap, so that the decoder can tell that there was more.
            return Answer(answer.status, await read_up_to(answer, cap + 1))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
        raise Unreachable(type(failure).__name__) from failure


async def read_up_to(answer: aiohttp.ClientResponse, cap: int) -> bytes:
    """Read at most so many bytes of an answer."""
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        parts.append(chunk[: cap - size])
        size += len(parts[-1])
        if size >= cap:
            break
    return b"".join(parts)


async def fetch_config(http: aiohttp.ClientSession, settings: Settings) -> Answer:
    """Ask the control plane for values of the environment."""
    headers = {"Authorization": f"Bearer {settings.admin_token}", "X-Molecule-Org-Id": settings.org_id}
    url = f"{settings.cp_config}/cp/tenants/config"
    return await call(http, "GET", url, headers, seconds=CONFIG_TIMEOUT, cap=consumer.MAX_CONFIG)


async def ask_membership(http: aiohttp.ClientSession, settings: Settings, cookie: str) -> tuple[int, bytes]:
    """Ask whether a browser's session belongs to the tenant: status and body."""
    slug = URL.build(query={"slug": settings.org_slug}).raw_query_string
    url = f"{settings.cp_upstream.rstrip('/')}/cp/auth/tenant-member?{slug}"
    answer = await call(http, "GET", url, {"Cookie": cookie, "User-Agent": "tenant-session-check"}, seconds=10)
    return answer.status, answer.body


@dataclass(frozen=True)
class ControlPlane:
    """Calls about workspaces. Each raises Unreachable, or Undecodable when the answer is not what the consumer needs."""

    http: aiohttp.ClientSession
    settings: Settings

    @property
    def _headers(self) -> dict[str, str]:
        headers = {}
        if self.settings.cp_secret:
            headers["Authorization"] = f"Bearer {self.settings.cp_secret}"
        if self.settings.admin_token:
            headers["X-Molecule-Admin-Token"] = self.settings.admin_token
        return headers

    async def _call(self, method: str, path: str, body: Any = None) -> Answer:
        return await call(self.http, method, f"{self.settings.cp_provision}{path}", self._headers, body)

    async def provision(self, order: dict[str, Any]) -> consumer.Provisioned:
        """Start a workspace."""
        answer = await self._call("POST", "/cp/workspaces/provision", order)
        return consumer.provision(answer.status, answer.body)

    async def stop(self, workspace_id: str, instance_id: str) -> None:
        """Stop one."""
        answer = await self._call("DELETE", f"/cp/workspaces/{workspace_id}?instance_id={instance_id}")
        consumer.stop(answer.status, answer.body)

    async def status(self, workspace_id: str, instance_id: str) -> str:
        """Look at one."""
        answer = await self._call("GET", f"/cp/workspaces/{workspace_id}/status?instance_id={instance_id}")
        return consumer.status(answer.status, answer.body)

    async def console(self, workspace_id: str) -> str:
        """Give its console output."""
        answer = await self._call("GET", f"/cp/admin/workspaces/{workspace_id}/console")
        return consumer.console(answer.status, answer.body)
