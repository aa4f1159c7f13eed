#!/usr/bin/env python3
# /// replay
# issue: "contract 12: guard"
# bug_class: a rule that knows the path and forgets the method
# timeout: 30
# needs: shared
# break: { tenant: [method-blind-guard, guard-off, telling-guard] }
# ///
"""A public path is public for the method that it is meant for; any other one reaches nothing without an organisation."""

from __future__ import annotations

from _harness import Replay, run

PUBLIC = (("GET", "/health"), ("GET", "/metrics"), ("GET", "/buildinfo"))
WRONG = (
    ("POST", "/health"),
    ("HEAD", "/health"),
    ("DELETE", "/metrics"),
    ("POST", "/buildinfo"),
    ("GET", "/registry/register"),
    ("GET", "/registry/heartbeat"),
    ("PROPFIND", "/cp/auth/me"),
    ("REPORT", "/cp/orgs"),
)


def play(replay: Replay) -> None:
    """Ask without an organisation, and with one that nobody has."""
    for tenant in replay.tenants():
        direct = bool(tenant.direct)
        for method, path in PUBLIC:
            status = tenant.call(method, path, org="", token="", direct=direct).status
            replay.check(status == 200, f"{tenant.name} answers {method} {path} to everybody (status {status})")
        for method, path in WRONG:
            silent = tenant.call(method, path, org="", token="", direct=direct).status
            replay.check(silent == 400, f"{tenant.name} asks for the organisation at {method} {path} (status {silent})")
            stranger = tenant.call(method, path, org="no-such-organisation", token="", direct=direct).status
            replay.check(stranger == 404, f"{tenant.name} hides {method} {path} from a stranger (status {stranger})")


run(play)
