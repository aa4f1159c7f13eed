"""A harness in this process, with an edge, and replays that are run in it as the runner does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stub.settings import Defect as StubDefect
from stub.settings import Profile
from tenant_bench import Clock, Running, bench, running
from tenant_edge import Edge
from tenant_memory import MemoryCache
from tenant_preconditions import ROOT

from benchkeeper.conform import recording, wire
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from stub.app import Stub

REPLAYS = ROOT / "stacks" / "tenant" / "replays"
BUILD = "run1-0123456789ab"
TRIP = 0.005  # seconds that a Redis across a network takes
ROUND_TRIPS = {"TENANT_PROFILE": "current", "TRUSTED_PROXIES": "127.0.0.0/8", "GIT_SHA": BUILD}


class FarCache(MemoryCache):
    """Keys that are not in this process: while one request waits for them, others go on."""

    async def get(self, key: str) -> str | None:
        value = await super().get(key)
        await asyncio.sleep(TRIP)
        return value


@dataclass(frozen=True)
class Wish:
    """Which harness.

    Attributes:
        names: Its tenants.
        own: The one that the replay has for itself, empty for none.
        admin: Whether that one has an admin token.
        breaks: What is wrong on purpose, by part.
    """

    names: tuple[str, ...] = ("alpha", "beta")
    own: str = ""
    admin: bool = True
    breaks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class Harness:
    """A harness that is up."""

    environment: dict[str, str]
    tenants: dict[str, Running]
    stub: Stub

    def names(self) -> dict[str, list[str]]:
        """Give the names of all workspaces, by tenant."""
        return {name: sorted(row.name for row in one.store.rows.values()) for name, one in self.tenants.items()}


@contextlib.asynccontextmanager
async def harness(folder: Path, wish: Wish) -> AsyncIterator[Harness]:
    """Bring one up with its seed, and take it down."""
    defects = frozenset(StubDefect(name) for name in wish.breaks.get("stub", ()))
    async with contextlib.AsyncExitStack() as stack:
        around = await stack.enter_async_context(bench(profile=Profile.CURRENT, defects=defects))
        cache, tenants = FarCache(), {}
        env: dict[str, str] = {}
        for name in (*wish.names, *((wish.own,) if wish.own else ())):
            token = f"admin-of-{name}" if name != wish.own or wish.admin else ""
            difference = {"MOLECULE_ORG_ID": f"org-{name}", "ADMIN_TOKEN": token}
            difference["TENANT_DEFECTS"] = ",".join(wish.breaks.get("tenant", ()))
            tenants[name] = await stack.enter_async_context(
                running(around.environment({**ROUND_TRIPS, **difference}), Clock(), cache)
            )
            prefix = "OWN" if name == wish.own else name.upper()
            env |= {f"{prefix}_{key}": value for key, value in described(folder, name, token, tenants[name].port).items()}
            if token:
                env |= {f"{prefix}_{key}": value for key, value in (await seed(name, token, tenants[name].port)).items()}
        upstreams = {host(name): one.port for name, one in tenants.items()}
        edge = Edge(upstreams, BUILD, frozenset(wish.breaks.get("edge", ())))
        await edge.up()
        stack.push_async_callback(edge.down)
        env |= {
            "HARNESS_BASE": f"http://127.0.0.1:{edge.port}",
            "HARNESS_EDGE_DIRECT": f"http://127.0.0.1:{edge.inner}",
            "HARNESS_TENANTS": " ".join(wish.names),
            "HARNESS_BUILD_ID": BUILD,
            "HARNESS_RUN": "run1",
            "HARNESS_KIND": "builtin",
            "HARNESS_STUB": f"http://127.0.0.1:{around.plane.port}",
            "HARNESS_STUB_CURSOR": str(around.plane.stub.journal.cursor),
        }
        yield Harness(env, tenants, around.plane.stub)


def host(name: str) -> str:
    """Give a tenant's name at the edge."""
    return f"harness-tenant-{name}.localhost"


def described(folder: Path, name: str, token: str, port: int) -> dict[str, str]:
    """Give a tenant's variables."""
    found = {"HOST": host(name), "ORG_ID": f"org-{name}", "DIRECT": f"http://127.0.0.1:{port}"}
    if token:
        path = folder / f"{name}.token"
        path.write_text(f"{token}\n", encoding="utf-8")
        path.chmod(0o600)
        found["TOKEN_FILE"] = str(path)
    return found


async def seed(name: str, token: str, port: int) -> dict[str, str]:
    """Make the two workspaces that every tenant has."""
    parent = await made(name, token, port, {"name": f"{name}-parent", "tier": 0})
    child = await made(name, token, port, {"name": f"{name}-child", "tier": 1, "parent_id": parent})
    return {"PARENT_ID": parent, "CHILD_ID": child}


async def made(name: str, token: str, port: int, body: dict[str, Any]) -> str:
    """Make one workspace."""
    headers = (("Host", host(name)), ("X-Molecule-Org-Id", f"org-{name}"), ("Authorization", f"Bearer {token}"))
    request = recording.Request("POST", "/workspaces", headers, json.dumps({"runtime": "hermes", **body}), "1.1", {})
    answer = await wire.exchange(port, "POST", wire.encode(request, Symbols()))
    assert answer.status == 201
    return str(json.loads(answer.body)["id"])


@dataclass(frozen=True)
class Verdict:
    """How a replay ended."""

    code: int
    output: str


async def play(path: Path, environment: Mapping[str, str], scratch: Path) -> Verdict:
    """Run a replay with the project's interpreter first in PATH."""
    os.makedirs(scratch, mode=0o700)  # noqa: PTH103 - before anything else happens, as below
    bin_ = os.path.dirname(sys.executable)  # noqa: PTH120 - resolving the link would leave the environment
    own = {"HARNESS_REPLAY": path.stem, "HARNESS_SCRATCH": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    env = {"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(scratch), **environment, **own}
    pytest = path.name.startswith("test_")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)] if pytest else [str(path)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=scratch, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Verdict(process.returncode, output.decode("utf-8", "replace"))
