#!/usr/bin/env python3
# /// replay
# issue: "2493"
# bug_class: one tenant answers for another, or tells that there is one
# timeout: 30
# needs: shared
# break: { tenant: [guard-off, telling-guard] }
# ///
"""Own credentials open the own tenant; those of another one open nothing, and not even tell that something is there.

Workspaces of other replays may be there, too. They are known by their names; an agent that was not made has none but its own id.
"""

from __future__ import annotations

from typing import Any

from _harness import Replay, Tenant, run

TELLING = ("tenant", "org", "forbidden", "denied", "workspace", "token")


def listed(replay: Replay, tenant: Tenant) -> list[dict[str, Any]]:
    """Return a tenant's own list."""
    answer = tenant.call("GET", "/workspaces")
    replay.check(answer.status == 200, f"{tenant.name} opens to its own credentials (status {answer.status})")
    return list(answer.json or [])


def others(row: dict[str, Any]) -> bool:
    """Say whether a row is another replay's."""
    return str(row["name"]).startswith("replay-") or bool(row["name"] == row["id"])


def play(replay: Replay) -> None:
    """Try every tenant's credentials at every tenant."""
    tenants = replay.tenants(least=2)
    rows = {tenant.name: listed(replay, tenant) for tenant in tenants}
    for tenant in tenants:
        names = sorted(row["name"] for row in rows[tenant.name] if not others(row))
        wanted = [f"{tenant.name}-child", f"{tenant.name}-parent"]
        replay.check(names == wanted, f"{tenant.name} lists exactly {wanted} (it lists {names})")
        ids = {row["id"] for row in rows[tenant.name]}
        replay.check({tenant.parent, tenant.child} <= ids, f"{tenant.name} lists the ids that its seed was given")
        for other in tenants:
            if other is not tenant:
                foreign = {row["name"] for row in rows[tenant.name] if f"-{other.name}-" in row["name"]}
                replay.check(not ids & {other.parent, other.child} and not foreign, f"{tenant.name} lists nothing of {other.name}")
                stranger = tenant.call("GET", "/workspaces", org=other.org, token=other.token)
                hidden(replay, stranger.status, stranger.text, f"{tenant.name} hides itself from the credentials of {other.name}")
                mixed = tenant.call("GET", "/workspaces", token=other.token)
                replay.check(mixed.status == 401, f"{tenant.name} refuses the token of {other.name} (status {mixed.status})")
        nobody = tenant.call("GET", "/workspaces", org="no-such-organisation")
        hidden(replay, nobody.status, nobody.text, f"{tenant.name} hides itself from an organisation that nobody has")
        silent = tenant.call("GET", "/workspaces", org="")
        code = (silent.json or {}).get("code") if silent.status == 400 else None
        replay.check(
            code == "TENANT_ORG_HEADER_REQUIRED", f"{tenant.name} says that no organisation was named (status {silent.status})"
        )
        health = tenant.call("GET", "/health", org="", token="")
        replay.check(health.status == 200, f"{tenant.name} is healthy for everybody (status {health.status})")


def hidden(replay: Replay, status: int, text: str, message: str) -> None:
    """Check that an answer gives nothing away."""
    told = [word for word in TELLING if word in text.lower()]
    replay.check(status == 404 and not told, f"{message} (status {status}, it says {told})")


run(play)
