#!/usr/bin/env python3
# /// replay
# issue: "contract 3.1"
# bug_class: what is not plain HTTP does not survive the edge
# timeout: 30
# needs: shared
# break: { edge: [edge-drops-upgrades] }
# ///
"""A WebSocket opens through the edge, and an event comes through it."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

from _harness import Replay, Tenant, run, stream

if TYPE_CHECKING:
    from typing import BinaryIO

TEXT = 1  # kind of a frame
SHORT, LONG = 126, 127  # lengths that mean that the real one follows, in 2 or 8 bytes
MOST = 200  # frames that others may cause before ours comes


def frame(file: BinaryIO) -> tuple[int, bytes]:
    """Read one frame of a server: kind and payload."""
    head = file.read(2)
    if len(head) < 2:
        return 0, b""
    size = head[1] & 0x7F
    if size in (SHORT, LONG):
        size = int.from_bytes(file.read(2 if size == SHORT else 8), "big")
    return head[0] & 0x0F, file.read(size)


def heard(file: BinaryIO, workspace_id: str) -> bool:
    """Say whether the heartbeat of a workspace comes before the connection ends. What it changes is told before it."""
    for _ in range(MOST):
        kind, payload = frame(file)
        if not payload:
            return False
        event = json.loads(payload) if kind == TEXT else {}
        if (event.get("workspace_id"), event.get("event")) == (workspace_id, "WORKSPACE_HEARTBEAT"):
            return True
    return False


def play(replay: Replay) -> None:
    """Listen to every tenant, and let something happen."""
    for tenant in replay.tenants():
        workspace = replay.workspace(tenant)
        status, came = listen(tenant, workspace)
        replay.check(status == 101, f"{tenant.name} opens a WebSocket through the edge (status {status})")
        replay.check(came, f"an event of {tenant.name} comes through it")


def listen(tenant: Tenant, workspace_id: str) -> tuple[int, bool]:
    """Open a WebSocket and cause an event: the status, and whether it came."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key)]
    with stream(tenant.edge, "/ws", [*tenant.headers(), *upgrade]) as (status, file):
        if status != 101:
            return status, False
        tenant.call("POST", "/registry/heartbeat", {"workspace_id": workspace_id})
        return status, heard(file, workspace_id)


run(play)
