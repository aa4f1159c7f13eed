#!/usr/bin/env python3
# /// replay
# issue: "2863"
# bug_class: a stand-in that answers what its author thinks, and not what its caller can read
# timeout: 30
# needs: shared
# break: { stub: [nested-config] }
# ///
"""What the control plane gives a tenant at its start is a flat map of texts, small enough, and every tenant could read it."""

from __future__ import annotations

from _harness import Replay, given, journal_after, request, run

PLACE = "/cp/tenants/config"
LARGEST = 64 * 1024  # bytes of the answer that a tenant reads
LARGEST_VALUE = 4 * 1024  # bytes of one value


def play(replay: Replay) -> None:
    """Ask as a tenant does, and look at how the tenants were answered."""
    tenants = replay.tenants()
    headers = [("Host", "stub"), ("Authorization", f"Bearer {tenants[0].token}"), ("X-Molecule-Org-Id", tenants[0].org)]
    answer = request(given("HARNESS_STUB"), "GET", PLACE, headers)
    values = answer.json
    replay.check(answer.status == 200 and isinstance(values, dict), f"there is a map (status {answer.status})")
    flat = isinstance(values, dict) and all(isinstance(value, str) for value in values.values())
    replay.check(flat, "all its values are texts")
    replay.check(len(answer.body) <= LARGEST, f"it is small enough ({len(answer.body)} bytes)")
    replay.check(flat and all(len(value.encode()) <= LARGEST_VALUE for value in values.values()), "so is each value")
    asked = [one for one in journal_after(0) if one["path"] == PLACE]
    replay.check(not any(one["complaint"] for one in asked), "no answer broke its contract")
    hidden = [value for one in asked for name, value in one["headers"] if name.lower() == "authorization"]
    replay.check(all(value.startswith("masked:") for value in hidden), "the journal holds none of their tokens")


run(play)
