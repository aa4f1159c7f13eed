#!/usr/bin/env python3
# /// replay
# issue: "contract 3.5"
# bug_class: behind a proxy everybody is the proxy
# timeout: 30
# needs: exclusive
# break: { tenant: [one-bucket] }
# ///
"""Clients behind the edge are counted one by one, so that one of them cannot use up what the others have.

Through the edge this is two clients: on its inner side it has another address. Past the edge it stands where the edge stands,
and names clients that nobody else can be. Other replays are these two clients as well, so none may run beside it.
"""

from __future__ import annotations

import ipaddress
import os
import secrets

from _harness import Answer, Replay, Tenant, request, run

DOCUMENTATION = int(ipaddress.IPv6Address("2001:db8::"))  # addresses that nobody has
CLIENTS = 3
BESIDE = 5  # requests of one client between two of the other


def anybody() -> str:
    """Return an address of a client that was never there before."""
    return str(ipaddress.IPv6Address(DOCUMENTATION + secrets.randbits(96)))


def said(answer: Answer) -> tuple[int, int]:
    """Return what an answer says: the limit of its client, and how much of it is left."""
    return int(answer.header("X-RateLimit-Limit") or -1), int(answer.header("X-RateLimit-Remaining") or -1)


def left(tenant: Tenant, client: str) -> tuple[int, int]:
    """Send a request of this client, past the edge."""
    return said(tenant.call("GET", "/health", more=[("X-Forwarded-For", f"198.51.100.1, {client}")], direct=True))


def through_the_edge(replay: Replay, tenant: Tenant, inner: str) -> None:
    """Be one client between two requests of another; only a new window may give that one back what it had."""
    limit, before = said(request(inner, "GET", "/health", tenant.headers()))
    for _ in range(BESIDE):
        tenant.call("GET", "/health")
    _, after = said(request(inner, "GET", "/health", tenant.headers()))
    replay.check(after in (before - 1, limit - 1), f"{tenant.name} counts two clients of the edge apart ({before}, then {after})")


def play(replay: Replay) -> None:
    """Send requests of clients that are new."""
    inner = os.environ.get("HARNESS_EDGE_DIRECT", "")
    for tenant in replay.tenants():
        if inner:
            through_the_edge(replay, tenant, inner)
        for _ in range(CLIENTS):
            client = anybody()
            limit, first = left(tenant, client)
            replay.check(
                limit > 0 and first == limit - 1, f"{tenant.name} counts a new client from the beginning ({first} of {limit})"
            )
            _, second = left(tenant, client)
            replay.check(second == limit - 2, f"and its second request, too ({second} of {limit})")


run(play)
