#!/usr/bin/env python3
# /// replay
# issue: "2395"
# bug_class: a deployment said success, and the old build went on running
# timeout: 30
# needs: shared
# break: { tenant: [stale-build] }
# ///
"""Every tenant is of the build that was just made, through the edge and directly, and so they are of the same."""

from __future__ import annotations

from _harness import Replay, given, run


def play(replay: Replay) -> None:
    """Ask everybody."""
    wanted = given("HARNESS_BUILD_ID")
    replay.check(wanted != "dev" and set(wanted) != {"0"}, "the build that is expected is one that somebody stamped")
    seen = set()
    for tenant in replay.tenants():
        for way, direct in [("through the edge", False), *([("directly", True)] if tenant.direct else [])]:
            # It is public: a check that is told the organisation would pass where the guard hides the page.
            answer = tenant.call("GET", "/buildinfo", org="", token="", direct=direct)
            build = (answer.json or {}).get("git_sha") if answer.status == 200 else None
            replay.check(build == wanted, f"{tenant.name} {way} is of build {wanted} (it says {build!r}, status {answer.status})")
            seen.add(build)
    replay.check(len(seen) == 1, f"all are of one build ({len(seen)})")


run(play)
