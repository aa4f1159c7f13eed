#!/usr/bin/env python3
# /// replay
# issue: "contract 12: seed and routes"
# bug_class: nothing was done, and the answer says that it was
# timeout: 30
# needs: shared
# break: { tenant: [unknown-ids-pass] }
# ///
"""A heartbeat of a workspace that is not there, or its removal, is no success."""

from __future__ import annotations

import uuid

from _harness import Replay, run


def play(replay: Replay) -> None:
    """Do both with an id that nobody has, and with one that has just gone."""
    for tenant in replay.tenants():
        gone = replay.workspace(tenant)
        status = tenant.call("DELETE", f"/workspaces/{gone}?confirm=true&purge=true").status
        replay.check(status == 200, f"{tenant.name} removes what is there (status {status})")
        for workspace, what in ((str(uuid.uuid4()), "never was"), (gone, "is gone")):
            asked = (("POST", "/registry/heartbeat", {"workspace_id": workspace}), ("DELETE", f"/workspaces/{workspace}", None))
            for method, path, body in asked:
                status = tenant.call(method, path, body).status
                replay.check(status == 404, f"{method} of {tenant.name} finds nothing that {what} (status {status})")


run(play)
