#!/usr/bin/env python3
# /// replay
# issue: "contract 3.5"
# bug_class: behind a proxy everybody is the proxy
# timeout: 30
# needs: shared
# break: { tenant: [one-bucket] }
# ///
"""Clients behind the edge are counted one by one, so that one of them cannot use up what the others have.

This stands where the edge stands, and names clients that nobody else can be.
"""

from __future__ import annotations

import ipaddress
import secrets

from _harness import Replay, Tenant, run

DOCUMENTATION = int(ipaddress.IPv6Address("2001:db8::"))  # addresses that nobody has
CLIENTS = 3


def anybody() -> str:
    """Return an address of a client that was never there before."""
    return str(ipaddress.IPv6Address(DOCUMENTATION + secrets.randbits(96)))


def left(tenant: Tenant, client: str) -> tuple[int, int]:
    """Send a request of this client: its limit, and how much of it is left."""
    answer = tenant.call("GET", "/health", more=[("X-Forwarded-For", f"198.51.100.1, {client}")], direct=True)
    return int(answer.header("X-RateLimit-Limit") or -1), int(answer.header("X-RateLimit-Remaining") or -1)


def play(replay: Replay) -> None:
    """Send requests of clients that are new."""
    for tenant in replay.tenants():
        for _ in range(CLIENTS):
            client = anybody()
            limit, first = left(tenant, client)
            replay.check(
                limit > 0 and first == limit - 1, f"{tenant.name} counts a new client from the beginning ({first} of {limit})"
            )
            _, second = left(tenant, client)
            replay.check(second == limit - 2, f"and its second request, too ({second} of {limit})")


run(play)
