#!/usr/bin/env python3
# /// replay
# issue: "contract 3.1"
# bug_class: an edge that collects what should be passed on
# timeout: 60
# needs: shared
# break: { edge: [edge-buffers] }
# ///
"""An event of a stream is through the edge before the next one happens, not when the stream ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from _harness import Replay, Tenant, run, stream

if TYPE_CHECKING:
    from typing import BinaryIO

EVENTS = 3
AT_ONCE = 3.0  # seconds; an edge that collects would keep an event until the stream ends
DATA = b"data: "


def beat(file: BinaryIO) -> bool:
    """Say whether another heartbeat comes before the stream ends. What it changes is told before it."""
    # Sizes of chunks stand between the lines.
    events = (json.loads(line.removeprefix(DATA)) for line in file if line.startswith(DATA))
    return any(event.get("type") == "WORKSPACE_HEARTBEAT" for event in events)


def arrived(tenant: Tenant, workspace_id: str) -> int:
    """Cause events, one after the other: how many came before the next was caused."""
    place, headers = f"/workspaces/{workspace_id}/events/stream", [*tenant.headers(), ("Accept", "text/event-stream")]
    number = 0
    try:
        with stream(tenant.edge, place, headers, AT_ONCE) as (status, file):
            while status == 200 and number < EVENTS:
                tenant.call("POST", "/registry/heartbeat", {"workspace_id": workspace_id})
                if not beat(file):
                    break
                number += 1
    except TimeoutError:
        pass  # it did not come
    return number


def play(replay: Replay) -> None:
    """Listen to a workspace of every tenant."""
    for tenant in replay.tenants():
        number = arrived(tenant, replay.workspace(tenant))
        replay.check(number == EVENTS, f"{EVENTS} events of {tenant.name} arrive, each at once ({number} did)")


run(play)
