#!/usr/bin/env python3
# /// replay
# issue: "contract 3.3"
# bug_class: a path means one thing to who checks it and another to who serves it
# timeout: 30
# needs: shared
# break: { tenant: [dot-segments] }
# ///
"""No spelling of a path leads through a tenant to the parts of the control plane that are not for the outside."""

from __future__ import annotations

import os
import secrets

from _harness import Replay, run

REFUSED = (400, 404)  # by the edge, by the tenant
DETOURS = (
    "/cp/auth/../admin/tenants/redeploy-fleet",
    "/cp/auth/%2e%2e/admin/tenants/redeploy-fleet",
    "/cp/auth/%2E%2E/admin/tenants/redeploy-fleet",
    "/cp/auth/..%2fadmin/tenants/redeploy-fleet",
    "/cp/auth/./../admin/tenants/redeploy-fleet",
    "/cp/auth//../../admin/tenants/redeploy-fleet",
    "/cp/orgs/../workspaces/provision",
    "/cp/orgs/%2e%2e/%2e%2e/__stub/state",
    "/cp/auth/me/%2e",
    "/cp/auth//me",
)


def play(replay: Replay) -> None:
    """Try every detour on every way, and see what the control plane was asked."""
    mark = secrets.token_hex(8)
    for tenant in replay.tenants():
        for way, direct in [("through the edge", False), *([("directly", True)] if tenant.direct else [])]:
            for path in DETOURS:
                status = tenant.call("GET", f"{path}?mark={mark}", direct=direct).status
                replay.check(status in REFUSED, f"{tenant.name} {way} refuses {path} (status {status})")
        through = tenant.call("GET", f"/cp/auth/me?through={mark}").status
        replay.check(through == 200, f"{tenant.name} passes the straight way on (status {through})")
    if os.environ.get("HARNESS_STUB"):
        asked = [one["path"] for one in replay.journal() if f"mark={mark}" in one["query"]]
        replay.check(not asked, f"the control plane was asked for none of them ({asked})")


run(play)
