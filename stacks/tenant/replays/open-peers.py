#!/usr/bin/env python3
# /// replay
# issue: "contract 12: seed and routes"
# bug_class: what has no credential yet needs none
# timeout: 30
# needs: shared
# break: { tenant: [open-peers] }
# ///
"""Who the peers of a workspace are is told to those who may act for it, also before it has its first token."""

from __future__ import annotations

from _harness import Replay, run


def play(replay: Replay) -> None:
    """Ask before and after the first token."""
    for tenant in replay.tenants():
        workspace = replay.workspace(tenant)
        path = f"/registry/{workspace}/peers"
        for token, who in (("", "nobody"), ("no-such-token", "a stranger")):
            status = tenant.call("GET", path, token=token).status
            replay.check(status == 401, f"{tenant.name} refuses {who} before the first token (status {status})")
        status = tenant.call("GET", path).status
        replay.check(status == 200, f"{tenant.name} tells its administrator (status {status})")
        own = replay.agent_token(tenant, workspace)
        for token, wanted, who in (("", 401, "nobody"), (own, 200, "the workspace itself")):
            status = tenant.call("GET", path, token=token).status
            replay.check(status == wanted, f"{tenant.name} answers {who} after it with {wanted} (status {status})")


run(play)
