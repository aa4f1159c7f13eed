#!/usr/bin/env python3
# /// replay
# issue: "2472, 2474, 2476"
# bug_class: a history that is filtered, cut or ordered otherwise than it says
# timeout: 30
# needs: shared
# break: { tenant: [oldest-first, ignored-limit, inclusive-before, one-sided-peers, unchecked-filters] }
# ///
"""The chat history of a workspace: order, limit, both directions, paging without the line it begins at, filters that are none."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from _harness import Replay, Tenant, fit, run

NO_PEERS = ("x", "..%2f..%2fetc%2fpasswd", "'%20OR%20'1'='1", "1;DROP%20TABLE%20activity_logs--")
NO_TIMES = ("x", "yesterday", "2026-01-01T00:00:00", "'%20OR%20'1'='1", "9999999999999999999")


def talk(tenant: Tenant, box: str, caller: str, text: str) -> None:
    """Send a message from one workspace to another."""
    body = {"jsonrpc": "2.0", "id": text, "method": "message/send", "params": {"text": text}}
    answer = tenant.call("POST", f"/workspaces/{box}/a2a", body, more=[("X-Workspace-ID", caller)])
    fit(answer.status == 200, f"{tenant.name} leaves a message for pickup (status {answer.status})")


def play(replay: Replay) -> None:
    """Let two workspaces talk to a third one."""
    tenant = replay.tenants()[0]
    box = replay.workspace(tenant, delivery_mode="poll")
    one, other = replay.workspace(tenant), replay.workspace(tenant)
    for number, caller in enumerate((one, other, one, one)):
        talk(tenant, box, caller, f"text {number}")

    def asked(query: str) -> Any:
        answer = tenant.call("GET", f"/workspaces/{box}/activity?{query}")
        return answer.json if answer.status == 200 else f"status {answer.status}"

    def texts(query: str) -> Any:
        found = asked(query)
        return [row["request_body"]["params"]["text"][-1:] for row in found] if isinstance(found, list) else found

    def check(query: str, wanted: list[str], message: str) -> None:
        found = texts(query)
        replay.check(found == wanted, f"{message}: {wanted} (it gives {found})")

    check("limit=100", ["3", "2", "1", "0"], "the newest comes first")
    check("limit=2", ["3", "2"], "no more than the limit, and the newest of all")
    check(f"peer_id={one}", ["3", "2", "0"], "what came from a peer")
    check(f"peer_id={box}", ["3", "2", "1", "0"], "what went to a peer")
    stamp = {row["request_body"]["params"]["text"][-1:]: row["created_at"] for row in asked("limit=100")}
    check(f"before_ts={quote(stamp['2'])}", ["1", "0"], "only what is older than a moment, without the line of that moment")
    check(f"peer_id={one}&before_ts={quote(stamp['2'])}", ["0"], "both at once")
    check(f"before_ts={quote(stamp['0'])}", [], "nothing before the first")
    for name, values in (("peer_id", NO_PEERS), ("before_ts", NO_TIMES)):
        for value in values:
            found = asked(f"{name}={value}")
            replay.check(
                found == "status 400", f"{name}={value} is refused (it gives {found if isinstance(found, str) else 'rows'})"
            )
    check("limit=100", ["3", "2", "1", "0"], "nothing of all that changed anything")


run(play)
