"""One tenant with everything around it, in this process: stub and UI on loopback, store and cache in memory, a clock to turn."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiohttp import web
from canvas.server import Seen as CanvasSeen
from canvas.server import serve as serve_canvas
from stub.app import Seen as StubSeen
from stub.app import Stub
from stub.app import build as build_stub
from stub.script import Scripted
from stub.settings import Defect, Profile, Settings
from tenant import app, control
from tenant.boot import boot
from tenant.core import AgentGone, Tenant
from tenant.server import assemble
from tenant_memory import MemoryCache, MemoryStore

from benchkeeper.conform.compare import Saw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # base64 of the bytes 0 to 31, as recorded
BASE = {
    "MOLECULE_ENV": "production",
    "MOLECULE_ORG_ID": "harness-org",
    "ADMIN_TOKEN": "harness-admin-token",
    "SECRETS_ENCRYPTION_KEY": KEY,
    "RATE_LIMIT": "1000",
    "PLATFORM_URL": "http://tenant:8080",
    "TENANT_PROFILE": "seed",
    "TENANT_DEFECTS": "all",
}


@dataclass
class Clock:
    """Time that passes when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class NoAgents:
    """Agents that cannot be reached."""

    async def send(self, url: str, body: bytes) -> tuple[int, bytes]:
        raise AgentGone


@dataclass
class ControlPlane:
    """The stub on a port that stays the same when it goes down and comes back."""

    stub: Stub
    saw: list[Saw]
    port: int = 0
    _runner: web.AppRunner | None = None

    @classmethod
    async def start(cls, saw: list[Saw], settings: Settings) -> ControlPlane:
        def observe(seen: StubSeen) -> None:
            saw.append(Saw("cp", seen.method, seen.target, seen.headers, seen.body))

        plane = cls(Stub(settings, observe), saw)
        await plane.up()
        return plane

    async def up(self) -> None:
        if self._runner is None:
            self._runner = web.AppRunner(build_stub(self.stub), access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
            self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def script(self, method: str, path: str, **parts: Any) -> None:
        """Let the next answers for a path be these; what was scripted for it before is forgotten."""
        known = self.stub.script.answers
        known[:] = [one for one in known if (one[0].method, one[0].path, one[0].when) != (method, path, parts.get("when", {}))]
        self.stub.script.add(Scripted(method=method, path=path, **parts))

    def unscript(self) -> None:
        self.stub.script.clear()


@dataclass
class Bench:
    """Everything of one play."""

    plane: ControlPlane
    canvas: CanvasServer
    saw: list[Saw]
    clock: Clock = field(default_factory=Clock)

    def environment(self, difference: Mapping[str, str]) -> dict[str, str]:
        """Give the environment of an instance."""
        plane = f"http://127.0.0.1:{self.plane.port}"
        env = {
            **BASE,
            "CP_UPSTREAM_URL": plane,
            "CP_PROVISION_URL": plane,
            "MOLECULE_CP_URL": plane,
            "CANVAS_PROXY_URL": f"http://127.0.0.1:{self.canvas.port}",
            **difference,
        }
        return {name: value for name, value in env.items() if value != "<unset>"}


class CanvasServer:
    """The UI stand-in on a port that stays."""

    def __init__(self, saw: list[Saw]) -> None:
        self._saw = saw
        self._server: Any = None
        self.port = 0

    def _observe(self, seen: CanvasSeen) -> None:
        self._saw.append(Saw("canvas", seen.method, seen.target, seen.headers, seen.body))

    async def up(self) -> None:
        if self._server is None:
            self._server = await serve_canvas("127.0.0.1", self.port, self._observe)
            self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self._server:
            self._server.close()
            self._server = None


@contextlib.asynccontextmanager
async def bench(
    redirect: int = 307, profile: Profile = Profile.SEED, defects: frozenset[Defect] = frozenset()
) -> AsyncIterator[Bench]:
    """Set the surroundings up, and take them down."""
    saw: list[Saw] = []
    plane = await ControlPlane.start(saw, Settings(profile=profile, redirect=redirect, defects=defects))
    canvas = CanvasServer(saw)
    await canvas.up()
    try:
        yield Bench(plane, canvas, saw)
    finally:
        await canvas.down()
        await plane.down()


class MemoryParts:
    """The outside world of a start, in memory; the control plane is asked for real."""

    def __init__(self, store: MemoryStore, cache: MemoryCache) -> None:
        self.store, self.cache = store, cache

    async def fetch_config(self, settings: Any) -> tuple[int, bytes]:
        async with control.client() as http:
            answer = await control.fetch_config(http, settings)
        return answer.status, answer.body

    async def open_store(self, _url: str) -> MemoryStore:
        return self.store

    async def open_cache(self, _url: str) -> MemoryCache:
        return self.cache


@dataclass
class Running:
    """A tenant that listens."""

    tenant: Tenant
    store: MemoryStore
    cache: MemoryCache
    port: int
    said: list[str]


@contextlib.asynccontextmanager
async def running(env: Mapping[str, str], clock: Clock, cache: MemoryCache | None = None) -> AsyncIterator[Running]:
    """Start a tenant with this environment, and stop it; several tenants may share a cache."""
    store, cache = MemoryStore(), cache or MemoryCache()
    said: list[str] = []
    async with control.client() as http:
        booted = await boot(env, MemoryParts(store, cache), said.append)
        tenant = assemble(booted, http, NoAgents())
        tenant = replace(tenant, clock=clock)
        if tenant.sessions:
            tenant.sessions.clock = clock
        runner = web.AppRunner(app.build(tenant), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Running(tenant, store, cache, runner.addresses[0][1], said)
        finally:
            tenant.hub.publish(None)
            await runner.cleanup()
            await tenant.provisioning.close()
