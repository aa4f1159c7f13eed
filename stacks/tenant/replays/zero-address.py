#!/usr/bin/env python3
# /// replay
# issue: "contract 12: seed and routes"
# bug_class: a list of forbidden addresses that lacks one of the host itself
# timeout: 30
# needs: shared
# break: { tenant: [zero-address] }
# ///
"""No agent may say that it is where the platform itself is, however it spells that."""

from __future__ import annotations

from _harness import Replay, run

INSIDE = (
    "http://0.0.0.0:1/",
    "http://0.0.0.0/",
    "http://[::]:1/",
    "http://127.0.0.1:1/",
    "http://[::1]:1/",
    "http://[::ffff:127.0.0.1]:1/",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
)
OUTSIDE = "http://10.1.2.3:8000/"  # fine where a control plane runs the agents; nothing is sent there


def play(replay: Replay) -> None:
    """Register at each of them."""
    tenant = replay.tenants()[0]
    workspace = replay.workspace(tenant)
    token = replay.agent_token(tenant, workspace)
    for url in (*INSIDE, OUTSIDE):
        status = tenant.call("POST", "/registry/register", {"id": workspace, "url": url, "agent_card": {}}, token=token).status
        wanted = 200 if url == OUTSIDE else 400
        replay.check(status == wanted, f"{url} is {'fine' if url == OUTSIDE else 'refused'} (status {status})")
    shown = (tenant.call("GET", f"/workspaces/{workspace}").json or {}).get("url")
    replay.check(shown == OUTSIDE, f"the workspace is where it may be ({shown})")


run(play)
