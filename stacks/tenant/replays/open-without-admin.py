#!/usr/bin/env python3
# /// replay
# issue: "contract 12: auth"
# bug_class: a secret that is not set opens what it should close
# timeout: 30
# needs: own-tenant
# break: { tenant: [open-without-admin] }
# admin: false
# ///
"""A tenant that was given no admin token is closed to everybody, not open: also before it has its first workspace token."""

from __future__ import annotations

from _harness import Replay, SkipError, run

CLOSED = ("/workspaces", "/org/tokens", "/settings/secrets", "/events", "/admin/liveness", "/templates")


def play(replay: Replay) -> None:
    """Ask as nobody, and with a token of one's own making."""
    tenant = replay.own()
    if tenant.token:
        raise SkipError("the own tenant has an admin token")
    for path in CLOSED:
        for token, who in (("", "nobody"), ("made-up", "a stranger")):
            status = tenant.call("GET", path, token=token).status
            replay.check(status == 401, f"{path} is closed to {who} (status {status})")
    answer = tenant.call("POST", "/org/tokens", {"name": replay.title(tenant)})
    replay.check(answer.status == 401, f"nobody makes a token for the organisation (status {answer.status})")


run(play)
