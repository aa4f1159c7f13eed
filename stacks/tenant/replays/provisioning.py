#!/usr/bin/env python3
# /// replay
# issue: "2863"
# bug_class: a start that the control plane took for done, and the tenant for failed
# timeout: 60
# needs: shared
# break: { stub: [provision-200] }
# ///
"""A workspace is ordered once, with the right body; the answer is understood, and no credential is written down."""

from __future__ import annotations

import json
from typing import Any

from _harness import Replay, Tenant, given, run, until

TRIES = 5  # a restart may come before the tenant has noted which instance it has
PROVISION = "/cp/workspaces/provision"


def orders(replay: Replay, workspace_id: str) -> list[dict[str, Any]]:
    """Return the provision calls for a workspace: other replays order some, too."""
    found = [one for one in replay.journal() if one["method"] == "POST" and one["path"] == PROVISION]
    return [one for one in found if isinstance(one["body"], dict) and one["body"].get("workspace_id") == workspace_id]


def stopped(replay: Replay, tenant: Tenant, workspace_id: str) -> bool:
    """Restart a workspace, and say whether the control plane was told to stop the instance that it had named."""

    def stops() -> list[dict[str, Any]]:
        place = f"/cp/workspaces/{workspace_id}"
        return [one for one in replay.journal() if (one["method"], one["path"]) == ("DELETE", place)]

    for _ in range(TRIES):
        before = len(orders(replay, workspace_id))
        tenant.call("POST", f"/workspaces/{workspace_id}/restart")
        until(lambda: len(orders(replay, workspace_id)) > before, "a restart orders the workspace again")  # noqa: B023 - asked at once
        if stops():
            return bool(stops()[0]["query"] == f"instance_id=mol-ws-{workspace_id}")
    return False


def play(replay: Replay) -> None:
    """Make a workspace and see what the control plane was asked."""
    given("HARNESS_STUB")
    tenant = replay.tenants()[0]
    made = replay.workspace(tenant, tier=1)
    until(lambda: orders(replay, made), "the control plane is asked to start the workspace")
    first, *more = orders(replay, made)
    replay.check(not more, f"it is asked once ({1 + len(more)})")
    body, headers = first["body"], {name.lower(): value for name, value in first["headers"]}
    wanted = {"org_id": tenant.org, "workspace_id": made, "runtime": "hermes", "tier": 1}
    replay.check({key: body.get(key) for key in wanted} == wanted, "with organisation, id, runtime and size")
    replay.check(str(body.get("platform_url", "")).startswith("http"), f"and where the platform is ({body.get('platform_url')!r})")
    replay.check(isinstance(body.get("env"), dict), "and an environment")
    replay.check(headers.get("x-molecule-admin-token", "").startswith("masked:"), "the admin token came with it, and is masked")
    replay.check(tenant.token not in json.dumps(replay.journal()), "no journal holds the admin token")
    replay.check(first["status"] == 201, f"the start is answered with 201 ({first['status']})")
    replay.check(not first["complaint"], f"the answer keeps its contract ({first['complaint']})")
    replay.check(stopped(replay, tenant, made), "the tenant knows the instance that was started, and stops it at a restart")
    row = tenant.call("GET", f"/workspaces/{made}").json or {}
    replay.check(row.get("status") == "provisioning", f"the workspace is on its way ({row.get('status')!r})")


run(play)
