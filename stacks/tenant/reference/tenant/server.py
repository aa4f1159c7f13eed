"""One server from start to end, with the real world put in: `run` is what the program does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from tenant import app, control
from tenant.boot import Booted, BootError, Parts, Say, boot, listening
from tenant.core import AgentGone, Agents, Tenant
from tenant.hub import Hub
from tenant.provisioning import Provisioning
from tenant.proxy import Upstream
from tenant.session import Sessions
from tenant.settings import Settings

GRACE = 5.0  # seconds for requests that are under way when the server stops
AGENT_TIMEOUT = 300.0  # seconds for an agent's answer
CREDENTIALS = frozenset({"authorization", "cookie"})  # never for the UI; contract 3.4


@dataclass(frozen=True)
class HttpAgents:
    """Agents that listen on HTTP."""

    http: aiohttp.ClientSession

    async def send(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Post a message; AgentGone when there is no answer."""
        limit = aiohttp.ClientTimeout(total=AGENT_TIMEOUT, sock_connect=10)
        headers = {"Content-Type": "application/json"}
        try:
            async with self.http.post(url, data=body, headers=headers, allow_redirects=False, timeout=limit) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise AgentGone(type(failure).__name__) from failure


async def addresses_of(host: str) -> list[str]:
    """Resolve a name; OSError when it has no address."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def assemble(booted: Booted, http: aiohttp.ClientSession, agents: Agents | None = None) -> Tenant:
    """Put a tenant together from what booting gave."""
    settings = booted.settings
    plane = control.ControlPlane(http, settings) if booted.provisioner else None
    proxy = Upstream(settings.cp_upstream, http, "control plane unavailable") if settings.cp_upstream else None
    canvas = Upstream(settings.canvas, http, "canvas unavailable", CREDENTIALS) if settings.canvas else None
    return Tenant(
        settings=settings,
        store=booted.store,
        cache=booted.cache,
        hub=Hub(),
        provisioning=Provisioning(settings, booted.store, plane),
        sessions=_sessions(settings, http),
        control_proxy=proxy,
        canvas=canvas,
        agents=agents or HttpAgents(http),
        resolve=addresses_of,
        clock=time.monotonic,
    )


def _sessions(settings: Settings, http: aiohttp.ClientSession) -> Sessions | None:
    if not (settings.cp_upstream and settings.org_slug):
        return None

    async def ask(cookie: str) -> tuple[int, bytes]:
        return await control.ask_membership(http, settings, cookie)

    return Sessions(ask, time.monotonic)


async def run(env: Mapping[str, str], parts: Parts, say: Say, stop: asyncio.Event, host: str | None = None) -> int:
    """Start, serve until told to stop, end.

    Args:
        env: The environment.
        parts: The outside world.
        say: Notes events.
        stop: Set when the server is to end.
        host: Address to listen on; None for all of them, as a container needs it.

    Returns:
        The exit code: 0 after an orderly end, 1 when it could not start.
    """
    async with control.client() as http:
        try:
            booted = await boot(env, parts, say)
        except BootError:
            return 1
        tenant = assemble(booted, http)
        runner = web.AppRunner(app.build(tenant), access_log=None, shutdown_timeout=GRACE)
        await runner.setup()
        try:
            await listening(booted.settings.port, lambda port: web.TCPSite(runner, host, port).start(), say)
            await stop.wait()
            say("graceful shutdown")
        except BootError:
            return 1
        finally:
            tenant.hub.publish(None)
            await runner.cleanup()
            await tenant.provisioning.close()
            await booted.cache.close()
            await booted.store.close()
        say("stopped")
        return 0
