#!/usr/bin/env python3
# /// replay
# issue: "2493"
# bug_class: what is written at the same time gets lost, or lands at the neighbour
# timeout: 60
# needs: shared
# break: { tenant: [raced-numbers] }
# ///
"""Messages for two tenants, sent at the very same moment through their API, all arrive, each at its own.

Writing straight into two databases could not show this: what tenants share (one Redis, one edge) stands in front of them.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from _harness import Replay, Tenant, run

AT_ONCE = 12  # senders for each tenant
EACH = 3  # messages of each sender


def text(tenant: Tenant, sender: int, number: int) -> str:
    """Return what one message says."""
    return f"{tenant.name}/{sender}/{number}"


def play(replay: Replay) -> None:
    """Let all begin together, then count."""
    tenants = replay.tenants(least=2)
    boxes = {tenant.name: mailbox(replay, tenant) for tenant in tenants}
    together = threading.Barrier(AT_ONCE * len(tenants))

    def send(tenant: Tenant, sender: int) -> list[int]:
        together.wait(timeout=20)
        bodies = [
            {"jsonrpc": "2.0", "id": n, "method": "message/send", "params": {"text": text(tenant, sender, n)}} for n in range(EACH)
        ]
        return [tenant.call("POST", f"/workspaces/{boxes[tenant.name]}/a2a", body).status for body in bodies]

    with ThreadPoolExecutor(together.parties) as pool:
        sent = [(tenant, pool.submit(send, tenant, sender)) for sender in range(AT_ONCE) for tenant in tenants]
        statuses = {
            tenant.name: Counter(status for one, done in sent if one is tenant for status in done.result()) for tenant in tenants
        }
    for tenant in tenants:
        replay.check(statuses[tenant.name] == {200: AT_ONCE * EACH}, f"{tenant.name} takes all ({dict(statuses[tenant.name])})")
        rows = tenant.call("GET", f"/workspaces/{boxes[tenant.name]}/activity?limit=500").json or []
        found = Counter((row.get("request_body") or {}).get("params", {}).get("text") for row in rows)
        wanted = Counter(text(tenant, sender, number) for sender in range(AT_ONCE) for number in range(EACH))
        replay.check(
            found == wanted, f"{tenant.name} has each of its {AT_ONCE * EACH} once and nothing else (it has {sum(found.values())})"
        )
        for other in tenants:
            if other is not tenant:
                strange = tenant.call("GET", f"/workspaces/{boxes[other.name]}")
                replay.check(strange.status == 404, f"{tenant.name} knows no mailbox of {other.name} (status {strange.status})")


def mailbox(replay: Replay, tenant: Tenant) -> str:
    """Make a workspace whose agent fetches its messages."""
    return replay.workspace(tenant, delivery_mode="poll")


run(play)
