#!/usr/bin/env python3
# /// replay
# issue: "contract 3.1"
# bug_class: what a client says of itself is taken for what the edge saw
# timeout: 30
# needs: shared
# break: { edge: [edge-believes-clients, edge-believes-hosts] }
# ///
"""Forwarding headers of a client do not get through the edge: neither who it is, nor under which name and scheme it came."""

from __future__ import annotations

import ipaddress
import secrets
from urllib.parse import urlsplit

from _harness import Replay, Tenant, fit, run

DOCUMENTATION = int(ipaddress.IPv6Address("2001:db8::"))  # addresses that nobody has
CLIENTS = 3
ELSEWHERE = "elsewhere.example"


def forged() -> list[tuple[str, str]]:
    """Return headers that name a client that was never there before."""
    client = str(ipaddress.IPv6Address(DOCUMENTATION + secrets.randbits(96)))
    return [("X-Forwarded-For", client), ("X-Real-IP", client)]


def counted(tenant: Tenant, more: list[tuple[str, str]]) -> bool:
    """Say whether a request was counted as the first one of a client."""
    answer = tenant.call("GET", "/health", more=more)
    limit = int(answer.header("X-RateLimit-Limit") or 0)
    fit(limit > 1, f"{tenant.name} says what the limit is ({limit})")
    return int(answer.header("X-RateLimit-Remaining") or 0) == limit - 1


def platform(replay: Replay, tenant: Tenant, more: list[tuple[str, str]]) -> str:
    """Make a workspace that somebody else runs: where it is told that the platform is."""
    body = {"name": replay.title(tenant), "runtime": "external", "external": True}
    answer = tenant.call("POST", "/workspaces", body, more=more)
    fit(answer.status == 201, f"{tenant.name} makes a workspace (it answered {answer.status})")
    replay.forget_later(tenant, answer.json["id"])
    return str(answer.json["connection"]["platform_url"])


def play(replay: Replay) -> None:
    """Say untrue things at every tenant."""
    for tenant in replay.tenants():
        # A window may begin anew between two requests, but not between all of them.
        first = [counted(tenant, forged()) for _ in range(CLIENTS)]
        replay.check(not all(first), f"{tenant.name} counts {CLIENTS} clients that are one as one")
        true = platform(replay, tenant, [])
        replay.check(urlsplit(true).hostname == tenant.host, f"{tenant.name} is told its own name ({true})")
        lies = [("X-Forwarded-Host", ELSEWHERE), ("X-Forwarded-Proto", "gopher")]
        told = platform(replay, tenant, lies)
        replay.check(told == true, f"{tenant.name} is not told another name or scheme ({told})")


run(play)
