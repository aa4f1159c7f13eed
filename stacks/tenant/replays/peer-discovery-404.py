#!/usr/bin/env python3
# /// replay
# issue: "2397"
# bug_class: five causes, one message
# timeout: 30
# needs: shared
# break: { tenant: [mute-not-found, guard-off, telling-guard] }
# ///
"""A workspace that is not there is told to those who may know, and only to them.

The guard answers 404, too, so a status alone would prove nothing: the route's own has to say what is missing, the guard's nothing.
"""

from __future__ import annotations

import uuid

from _harness import Replay, run


def play(replay: Replay) -> None:
    """Ask for the peers of a workspace that never was."""
    for tenant in replay.tenants():
        unknown = str(uuid.uuid4())
        path, caller = f"/registry/{unknown}/peers", [("X-Workspace-ID", unknown)]
        there = tenant.call("GET", f"/registry/{replay.workspace(tenant)}/peers")
        replay.check(there.status == 200, f"{tenant.name} lists the peers of a workspace that is there (status {there.status})")
        answer = tenant.call("GET", path, more=caller)
        said = (answer.json or {}).get("error") if answer.status == 404 else None
        replay.check(
            said == "workspace not found", f"{tenant.name} says which 404 it is (status {answer.status}, {answer.text[:80]!r})"
        )
        for what, org in (
            ("another organisation", "harness-org-of-nobody"),
            ("an organisation that only begins alike", f"{tenant.org}x"),
        ):
            hidden = tenant.call("GET", path, org=org, more=caller)
            replay.check((hidden.status, hidden.body) == (404, b""), f"{tenant.name} hides it from {what} (status {hidden.status})")


run(play)
