#!/usr/bin/env python3
# /// replay
# issue: "roadmap: tests/e2e/test_api.sh against the harness"
# bug_class: an API that works alone, and not behind its edge
# timeout: 60
# needs: shared
# break: { tenant: [undead-tokens] }
# ///
"""The life of an agent through the API, step by step, behind the edge: made, registered, alive, found, talked to, gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from _harness import NOWHERE, UNFIT, Replay, Tenant, must, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

CARD = {"name": "Tester", "skills": ["testing"]}


@pytest.fixture
def replay() -> Iterator[Replay]:
    """A replay: what it makes goes with it."""
    with opened() as replay:
        yield replay


@pytest.fixture
def tenant(replay: Replay) -> Tenant:
    """One of the harness's tenants, which knows its administrator: else nothing below would say anything about the API."""
    found = replay.tenants()[-1]
    if (status := found.call("GET", "/workspaces").status) != 200:
        pytest.exit(f"unfit: {found.name} answers its administrator with {status}", returncode=UNFIT)
    return found


def answered(tenant: Tenant, method: str, path: str, wanted: int, body: Any = None, **how: Any) -> Any:
    """Send a request, demand a status, and return the document."""
    answer = tenant.call(method, path, body, **how)
    must(answer.status == wanted, f"{method} {path} is answered with {wanted} ({answer.status}: {answer.text[:80]!r})")
    return answer.json


def registered(tenant: Tenant, workspace: str, url: str = NOWHERE, **how: Any) -> Any:
    """Register an agent."""
    return answered(tenant, "POST", "/registry/register", 200, {"id": workspace, "url": url, "agent_card": CARD}, **how)


def row(tenant: Tenant, workspace: str) -> dict[str, Any]:
    """Return a workspace out of the list."""
    rows = [one for one in answered(tenant, "GET", "/workspaces", 200) if one["id"] == workspace]
    must(len(rows) == 1, f"the list has the workspace once ({len(rows)})")
    return dict(rows[0])


def test_an_agent_registers_once_and_shows_its_token_after(replay: Replay, tenant: Tenant) -> None:
    """The first registration gives a token; without it nobody registers again."""
    workspace = replay.workspace(tenant)
    first = registered(tenant, workspace, token="")
    must(first["auth_token"] and first["platform_inbound_secret"], "the first registration gives what the agent needs")
    again = {"id": workspace, "url": NOWHERE, "agent_card": CARD}
    answered(tenant, "POST", "/registry/register", 401, again, token="")
    second = registered(tenant, workspace, token=first["auth_token"])
    must("auth_token" not in second, "a later one gives no further token")
    known = row(tenant, workspace)
    must(
        (known["status"], known["url"], known["agent_card"]) == ("online", NOWHERE, CARD),
        f"the list shows the agent ({known['status']})",
    )


def test_a_heartbeat_is_seen(replay: Replay, tenant: Tenant) -> None:
    """Numbers of a heartbeat are in the list, and an error rate degrades the agent."""
    workspace = replay.workspace(tenant)
    token = registered(tenant, workspace, token="")["auth_token"]
    beat = {"workspace_id": workspace, "active_tasks": 2, "uptime_seconds": 61, "current_task": "reading", "error_rate": 0.0}
    answered(tenant, "POST", "/registry/heartbeat", 401, beat, token="")
    answered(tenant, "POST", "/registry/heartbeat", 200, beat, token=token)
    known = row(tenant, workspace)
    must((known["active_tasks"], known["uptime_seconds"], known["current_task"]) == (2, 61, "reading"), "the list has its numbers")
    answered(tenant, "POST", "/registry/heartbeat", 200, {**beat, "error_rate": 0.9}, token=token)
    must(row(tenant, workspace)["status"] == "degraded", "an agent that fails is degraded")


def test_a_family_finds_each_other_and_nobody_else(replay: Replay, tenant: Tenant) -> None:
    """Peers are parent, children and siblings."""
    parent, stranger = replay.workspace(tenant), replay.workspace(tenant)
    children = [replay.workspace(tenant, parent_id=parent) for _ in range(2)]
    cousin = replay.workspace(tenant, parent_id=stranger)
    found = {one["id"] for one in answered(tenant, "GET", f"/registry/{children[0]}/peers", 200)}
    must(found == {parent, children[1]}, f"a child sees its parent and its sibling ({len(found)})")
    for target, wanted in ((parent, True), (children[1], True), (cousin, False)):
        allowed = answered(tenant, "POST", "/registry/check-access", 200, {"caller_id": children[0], "target_id": target})[
            "allowed"
        ]
        must(allowed is wanted, f"talking is {'allowed' if wanted else 'refused'} ({allowed})")


def test_a_token_counts_until_it_is_revoked(replay: Replay, tenant: Tenant) -> None:
    """Tokens are made, listed without their secret, used and revoked."""
    workspace = replay.workspace(tenant)
    kept, gone = (replay.agent_token(tenant, workspace) for _ in range(2))
    path = f"/workspaces/{workspace}/tokens"
    listed = answered(tenant, "GET", path, 200)
    must(listed["count"] == 2 and gone not in str(listed), "both are listed, and neither is shown")
    answered(tenant, "GET", path, 200, token=gone)
    number = next(one["id"] for one in listed["tokens"] if gone.startswith(one["prefix"]))
    answered(tenant, "DELETE", f"{path}/{number}", 200)
    answered(tenant, "GET", path, 401, token=gone)
    answered(tenant, "GET", path, 200, token=kept)


def test_a_message_waits_for_an_agent_that_polls(replay: Replay, tenant: Tenant) -> None:
    """A message is in the activity of its workspace."""
    workspace = replay.workspace(tenant, delivery_mode="poll")
    message = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"text": "hello"}}
    told = answered(tenant, "POST", f"/workspaces/{workspace}/a2a", 200, message)
    must((told["status"], told["delivery_mode"]) == ("queued", "poll"), "it is left for pickup")
    lines = answered(tenant, "GET", f"/workspaces/{workspace}/activity", 200)
    must([one["request_body"] for one in lines] == [message], f"the activity has it as it was sent ({len(lines)})")


def test_a_workspace_goes_with_what_is_below_it(replay: Replay, tenant: Tenant) -> None:
    """Removing a workspace asks first, then takes its family and its tokens along."""
    parent = replay.workspace(tenant)
    child = replay.workspace(tenant, parent_id=parent)
    token = replay.agent_token(tenant, child)
    asked = answered(tenant, "DELETE", f"/workspaces/{parent}", 409)
    must([one["id"] for one in asked["children"]] == [child], "it says what is below")
    answered(tenant, "DELETE", f"/workspaces/{parent}?confirm=true", 200)
    left = {one["id"] for one in answered(tenant, "GET", "/workspaces", 200)}
    must(not left & {parent, child}, "both are gone from the list")
    answered(tenant, "GET", f"/workspaces/{child}/activity", 401, token=token)
