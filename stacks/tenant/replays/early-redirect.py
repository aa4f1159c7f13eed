#!/usr/bin/env python3
# /// replay
# issue: "contract 12: guard"
# bug_class: an answer before anybody looked who asks
# timeout: 30
# needs: shared
# break: { tenant: [early-redirect] }
# ///
"""A known path with a slash too many is answered as one that is not known at all: nothing tells that there is something."""

from __future__ import annotations

import secrets

from _harness import Replay, Tenant, run

# Method and known path; the slash is added.
KNOWN = (
    ("GET", "/workspaces"),
    ("POST", "/workspaces"),
    ("GET", "/admin/liveness"),
    ("GET", "/health"),
    ("GET", "/buildinfo"),
    ("GET", "/org/tokens"),
    ("POST", "/registry/register"),
    ("GET", "/health%2f"),
)


def seen(tenant: Tenant, method: str, path: str, org: str, *, direct: bool) -> tuple[int, str, bytes]:
    """Return what an answer shows: status, place to go to, body."""
    answer = tenant.call(method, path, org=org, token="", direct=direct)
    return answer.status, answer.header("Location"), answer.body


def play(replay: Replay) -> None:
    """Compare each path with one that nobody knows."""
    nowhere = f"/{secrets.token_hex(8)}/"
    for tenant in replay.tenants():
        for org, who in (("", "nobody"), ("no-such-organisation", "a stranger"), (tenant.org, "a friend")):
            for method, path in KNOWN:
                spelt = path if path.endswith("%2f") else f"{path}/"
                got, wanted = (seen(tenant, method, place, org, direct=bool(tenant.direct)) for place in (spelt, nowhere))
                message = f"{tenant.name} answers {method} {spelt} of {who} as it answers {method} {nowhere}"
                replay.check(got == wanted, f"{message} ({got[0]} {got[1]}, {wanted[0]})")


run(play)
