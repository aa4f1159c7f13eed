#!/usr/bin/env python3
# /// replay
# issue: "contract 12: seed and routes"
# bug_class: bad input is noticed by the database, and comes back as our own fault
# timeout: 30
# needs: shared
# break: { tenant: [unparsed-ids] }
# ///
"""An id that is none is the client's mistake, and the answer says so."""

from __future__ import annotations

from _harness import NOWHERE, Replay, run

NO_IDS = ("x", "123", "not-a-uuid", "00000000-0000-4000-8000-00000000000", "%27")


def play(replay: Replay) -> None:
    """Use each of them wherever an id is taken."""
    tenant = replay.tenants()[-1]
    for text in NO_IDS:
        asked = (
            ("GET", f"/registry/{text}/peers", None),
            ("GET", f"/workspaces/{text}/activity", None),
            ("GET", f"/workspaces/{text}", None),
            ("DELETE", f"/workspaces/{text}", None),
            ("POST", "/registry/register", {"id": text, "url": NOWHERE, "agent_card": {}}),
            ("POST", "/registry/heartbeat", {"workspace_id": text}),
        )
        for method, path, body in asked:
            status = tenant.call(method, path, body).status
            replay.check(status == 400, f"{method} {path} with {text!r} is refused (status {status})")


run(play)
