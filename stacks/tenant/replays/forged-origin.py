#!/usr/bin/env python3
# /// replay
# issue: "contract 3.2"
# bug_class: a header that anybody can write counts as a credential
# timeout: 30
# needs: shared
# break: { tenant: [forged-origin] }
# ///
"""A request that says it comes from the tenant's own page is let to the door, and needs a credential like every other."""

from __future__ import annotations

from _harness import Replay, Tenant, run


def forgeries(tenant: Tenant) -> list[tuple[str, str]]:
    """Return headers that name the tenant's own page, one at a time."""
    found = [("Origin", f"{scheme}://{tenant.host}") for scheme in ("http", "https")]
    return [*found, *(("Referer", f"{scheme}://{tenant.host}/page") for scheme in ("http", "https"))]


def play(replay: Replay) -> None:
    """Ask for what is a workspace's own, and change what is everybody's."""
    for tenant in replay.tenants():
        workspace = replay.workspace(tenant)
        replay.agent_token(tenant, workspace)  # as long as there is none anywhere, the canvas is open
        asked = [
            ("GET", f"/workspaces/{workspace}/{part}") for part in ("activity", "tokens", "secrets", "model", "secrets/values")
        ]
        asked += [("POST", f"/workspaces/{workspace}/tokens"), ("GET", "/workspaces"), ("PUT", "/canvas/viewport")]
        forged = forgeries(tenant)
        for way, direct, headers in [
            ("through the edge", False, forged[-1:]),
            *([("directly", True, forged)] if tenant.direct else []),
        ]:
            for header in headers:
                for method, path in asked:
                    body = {"x": 0, "y": 0, "zoom": 1} if method == "PUT" else None
                    status = tenant.call(method, path, body, token="", more=[header], direct=direct).status
                    told = (
                        f"{method} {path.replace(workspace, ':id')} of {tenant.name} {way} needs more than {header[0]} ({status})"
                    )
                    replay.check(status == 401, told)


run(play)
