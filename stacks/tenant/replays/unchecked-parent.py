#!/usr/bin/env python3
# /// replay
# issue: "contract 12: seed and routes"
# bug_class: a reference that leads nowhere is our fault, and says nothing
# timeout: 30
# needs: shared
# break: { tenant: [unchecked-parent] }
# ///
"""A workspace below one that is not there is refused with a reason, and nothing is made."""

from __future__ import annotations

import uuid

from _harness import Replay, run


def play(replay: Replay) -> None:
    """Make one, and move one."""
    tenant = replay.tenants()[0]
    nobody = str(uuid.uuid4())
    name = replay.title(tenant)
    answer = tenant.call("POST", "/workspaces", {"name": name, "runtime": "hermes", "parent_id": nobody})
    said = (answer.json or {}).get("error", "")
    replay.check(
        answer.status == 422 and "parent" in said, f"making it is refused, and why is said (status {answer.status}, {said!r})"
    )
    names = [row["name"] for row in tenant.call("GET", "/workspaces").json or []]
    replay.check(name not in names, "nothing was made")
    moved = tenant.call("PATCH", f"/workspaces/{replay.workspace(tenant)}", {"parent_id": nobody})
    said = (moved.json or {}).get("error", "")
    replay.check(
        moved.status == 422 and "parent" in said, f"moving it is refused, and why is said (status {moved.status}, {said!r})"
    )


run(play)
