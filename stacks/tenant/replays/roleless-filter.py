#!/usr/bin/env python3
# /// replay
# issue: "contract 12: seed and routes"
# bug_class: a value that may be missing is taken for one that is there
# timeout: 30
# needs: shared
# break: { tenant: [roleless-filter] }
# ///
"""Peers are filtered by name and role, also those that have no role."""

from __future__ import annotations

from _harness import Replay, run


def play(replay: Replay) -> None:
    """Make a family of which only one has a role."""
    tenant = replay.tenants()[0]
    parent = replay.workspace(tenant)
    plain, reviewer = replay.workspace(tenant, parent_id=parent), replay.workspace(tenant, parent_id=parent, role="Reviewer")
    caller = replay.workspace(tenant, parent_id=parent)
    family = {plain: "the one without a role", reviewer: "the reviewer", parent: "the parent"}
    for query, wanted in (
        ("", {plain, reviewer, parent}),
        ("review", {reviewer}),
        ("REVIEW", {reviewer}),
        (f"replay-{replay.name}", {plain, reviewer, parent}),
        ("nobody-is-called-so", set()),
    ):
        answer = tenant.call("GET", f"/registry/{caller}/peers?q={query}")
        found = {row["id"] for row in answer.json or []} if answer.status == 200 else None
        names = sorted(family.get(one, one) for one in found or ())
        replay.check(found == wanted, f"q={query!r} gives {len(wanted)} of the family (status {answer.status}, {names})")


run(play)
