#!/usr/bin/env python3
# /// replay
# issue: "contract 2.2"
# bug_class: tenants meet in what they share
# timeout: 30
# needs: shared
# break: { tenant: [shared-keys] }
# ///
"""An agent of one tenant is where it said, whatever an agent of the same id said to another tenant on the same Redis."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from _harness import Replay, Tenant, fit, run


def register(tenant: Tenant, agent: str, url: str) -> None:
    """Let an agent say where it is."""
    answer = tenant.call("POST", "/registry/register", {"id": agent, "url": url, "agent_card": {}}, token="")
    fit(answer.status == 200, f"{tenant.name} takes a registration (it answered {answer.status})")


def place(replay: Replay, tenant: Tenant, agent: str) -> Any:
    """Ask a tenant where an agent is."""
    caller = [("X-Workspace-ID", replay.workspace(tenant))]
    return (tenant.call("GET", f"/registry/discover/{agent}", more=caller).json or {}).get("url")


async def keys(url: str, agent: str) -> set[str]:
    """Return the keys in Redis that are about an agent's address."""
    import redis.asyncio  # noqa: PLC0415 - only where there is a Redis to look into

    client = redis.asyncio.from_url(url, decode_responses=True)
    try:
        return {str(key) async for key in client.scan_iter(match=f"*{agent}:url")}
    finally:
        await client.aclose()


def play(replay: Replay) -> None:
    """Register one id with every tenant, each time with another address."""
    tenants = replay.tenants(least=2)
    agent = replay.workspace(tenants[0])
    addresses = {tenant.name: f"http://10.1.2.{number}:8000/" for number, tenant in enumerate(tenants, 1)}
    for tenant in tenants:
        replay.forget_later(tenant, agent)
        register(tenant, agent, addresses[tenant.name])
        tenant.call("PATCH", f"/workspaces/{agent}", {"name": replay.title(tenant)})
    for tenant in tenants:
        found = place(replay, tenant, agent)
        replay.check(found == addresses[tenant.name], f"{tenant.name} knows where its own agent is ({found})")
    if url := os.environ.get("HARNESS_REDIS", ""):
        found = asyncio.run(keys(url, agent))
        replay.check(len(found) == len(tenants), f"Redis has a key for each of {len(tenants)} tenants ({len(found)})")


run(play)
