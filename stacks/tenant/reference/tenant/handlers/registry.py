"""The registry: agents report, and find each other."""

from __future__ import annotations

import contextlib
from typing import Any

from aiohttp import web

from tenant import access, addresses
from tenant.behaviour import Defect
from tenant.core import Call, Tenant, complains
from tenant.credentials import mint
from tenant.fields import Fields
from tenant.handlers.workspaces import found
from tenant.hub import Event
from tenant.replies import Refusal, as_json, refusal
from tenant.store import BadId, CacheDown, Changes, Store, StoreError, Workspace

LIVE_FOR = 180  # seconds without a heartbeat until an agent counts as gone; contract 2.2
URL_FOR = 300  # seconds that an address is remembered; contract 2.2
DEGRADED_AT = 0.5  # share of failed tasks
WELL_BELOW = 0.1
WEDGED = "wedged"  # what an agent says of itself when it takes no work any more
BAD_BODY = "invalid request body"
AGENT_PORT = 8000
REVIVED = ("offline", "provisioning", "awaiting_agent", "failed")


async def register(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Take an agent's registration: the first one of a workspace gets its token, later ones must show it."""
    fields = await call.fields(BAD_BODY)
    with complains(BAD_BODY):
        workspace_id, url, mode = fields.needed("id"), fields.text("url"), fields.text("delivery_mode")
    if not fields.has("agent_card"):
        raise refusal(400, BAD_BODY)
    if mode not in ("", "push", "poll"):
        raise refusal(400, "delivery_mode must be 'push' or 'poll'")
    mode = mode or await _mode_on_file(tenant.store, workspace_id)
    if mode == "push":
        await _check_url(tenant, url)
    else:
        url = ""
    with tenant.blamed("registration failed"):
        known = await tenant.store.has_tokens(workspace_id)
        if known:
            await access.own_token(tenant, call.request, workspace_id)
        changes: Changes = {"url": url, "agent_card": fields.raw("agent_card"), "delivery_mode": mode, "status": "online"}
        workspace = await tenant.store.register(workspace_id, {**changes, "last_sample_error": ""})
        secret = workspace.inbound_secret
        if not secret:
            secret = mint().secret
            await tenant.store.change(workspace.id, {"inbound_secret": secret})
        answer = {"status": "registered", "delivery_mode": mode, "platform_inbound_secret": secret}
        if not known:
            token = mint()
            await tenant.store.add_token(workspace.id, token.digest, token.prefix)
            answer["auth_token"] = token.secret
    await _remember(tenant, workspace.id, url)
    tenant.hub.publish(Event("WORKSPACE_ONLINE", workspace.id, {"url": url}))
    return as_json(answer)


async def _mode_on_file(store: Store, workspace_id: str) -> str:
    with contextlib.suppress(StoreError):  # the registration itself says what is wrong
        workspace = await store.get(workspace_id)
        if workspace:
            return workspace.delivery_mode
    return "push"


async def _check_url(tenant: Tenant, url: str) -> None:
    if not url:
        raise refusal(400, "url is required for push-mode workspaces")
    try:
        private = bool(tenant.settings.org_id)
        await addresses.check(url, tenant.resolve, private=private, unspecified=tenant.has(Defect.ZERO_ADDRESS))
    except addresses.Refused as failure:
        raise refusal(400, str(failure)) from failure


async def _remember(tenant: Tenant, workspace_id: str, url: str = "") -> None:
    # Redis only speeds things up: without it everything still works (recorded).
    with contextlib.suppress(CacheDown):
        await tenant.cache.put(tenant.key(workspace_id), "online", LIVE_FOR)
        if url:
            await tenant.cache.put(tenant.key(workspace_id, ":url"), url, URL_FOR)
            await tenant.cache.put(tenant.key(workspace_id, ":internal_url"), url, URL_FOR)


async def heartbeat(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Take an agent's heartbeat: numbers, and from the error rate whether it is degraded."""
    fields = await call.fields(BAD_BODY)
    with complains(BAD_BODY):
        workspace_id, changes, runtime_state = fields.needed("workspace_id"), _beat(fields), fields.text("runtime_state")
    await access.own_token_if_any(tenant, call.request, workspace_id)
    with tenant.blamed("failed to update"):
        workspace = await tenant.store.get(workspace_id)
        if workspace is None and not tenant.has(Defect.UNKNOWN_IDS_PASS):
            raise refusal(404, "workspace not found")
        if workspace:
            status = next_status(workspace.status, changes["last_error_rate"], runtime_state)
            await tenant.store.change(workspace_id, {**changes, "status": status})
            if status != workspace.status:
                tenant.hub.publish(Event(f"WORKSPACE_{status.upper()}", workspace_id, _reason(workspace.status, status, changes)))
    await _remember(tenant, workspace_id)
    payload = {"active_tasks": changes["active_tasks"], "uptime_seconds": changes["uptime_seconds"]}
    tenant.hub.publish(Event("WORKSPACE_HEARTBEAT", workspace_id, payload))
    return as_json({"status": "ok"})


def _beat(fields: Fields) -> Changes:
    return {
        "active_tasks": fields.whole("active_tasks"),
        "uptime_seconds": fields.whole("uptime_seconds"),
        "current_task": fields.text("current_task"),
        "last_error_rate": fields.number("error_rate"),
        "last_sample_error": fields.text("sample_error"),
    }


def next_status(status: str, error_rate: float, runtime_state: str = "") -> str:
    """Say what a workspace is after a heartbeat: what a person decided (paused, removed) stays.

    It is degraded when it says itself that it is stuck, or fails too often, and well again only when it does neither any more.
    """
    if status == "online":
        return "degraded" if runtime_state == WEDGED or error_rate >= DEGRADED_AT else "online"
    if status == "degraded":
        return "online" if not runtime_state and error_rate < WELL_BELOW else "degraded"
    return "online" if status in REVIVED else status


def _reason(before: str, status: str, changes: Changes) -> dict[str, Any]:
    """Give the payload of the event that says so."""
    if status == "degraded":
        return {"error_rate": changes["last_error_rate"], "sample_error": changes["last_sample_error"]}
    return {"recovered_from": before} if before == "provisioning" else {}


def related(one: Workspace, other: Workspace) -> bool:
    """Say whether two workspaces may talk: the same one, siblings, parent and child."""
    return one.parent_id in (other.parent_id, other.id) or one.id in (other.parent_id, other.id)


async def may_talk(store: Store, caller: str, target: str) -> bool:
    """Say whether two ids are workspaces that may talk."""
    try:
        one, other = await store.get(caller), await store.get(target)
    except BadId:
        return False
    return one is not None and other is not None and related(one, other)


async def peers(tenant: Tenant, call: Call) -> web.StreamResponse:
    """List siblings, children and parent, filtered by a part of name or role."""
    await access.peers(tenant, call.request, call.id)
    workspace = await found(tenant, call.id, "lookup failed")
    with tenant.blamed("query failed"):
        rows = await tenant.store.peers(workspace.id)
    wanted = call.target.query().get("q", "").strip().lower()
    return as_json([peer(row) for row in rows if not wanted or _matches(tenant, row, wanted)])


def _matches(tenant: Tenant, row: Workspace, wanted: str) -> bool:
    if wanted in row.name.lower():
        return True
    if row.role is None and tenant.has(Defect.ROLELESS_FILTER):
        raise Refusal(500)
    return wanted in (row.role or "").lower()


def peer(workspace: Workspace) -> dict[str, Any]:
    """Give what one workspace sees of another."""
    return {
        "id": workspace.id,
        "name": workspace.name,
        "role": workspace.role,
        "tier": workspace.tier,
        "status": workspace.status,
        "agent_card": workspace.agent_card,
        "url": workspace.url,
        "parent_id": workspace.parent_id,
        "active_tasks": workspace.active_tasks,
    }


async def discover(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Tell an agent where another one listens, if the two may talk."""
    caller = call.request.headers.get("X-Workspace-ID", "")
    if not caller:
        raise refusal(400, "X-Workspace-ID header is required")
    await access.own_token_if_any(tenant, call.request, caller)
    with tenant.blamed("lookup failed"):
        if not await may_talk(tenant.store, caller, call.id):
            raise refusal(403, "not authorized to discover this workspace")
        target = await found(tenant, call.id, "lookup failed")
    url = ""
    with contextlib.suppress(CacheDown):
        url = await tenant.cache.get(tenant.key(target.id, ":internal_url")) or ""
    # An agent without an address of its own is a container beside us, under the product's name for it.
    return as_json({"id": target.id, "name": target.name, "url": url or f"http://ws-{target.id[:12]}:{AGENT_PORT}"})


async def check_access(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Say whether two workspaces may talk."""
    fields = await call.fields(BAD_BODY)
    with complains(BAD_BODY):
        caller, target = fields.needed("caller_id"), fields.needed("target_id")
    with tenant.blamed("lookup failed"):
        return as_json({"allowed": await may_talk(tenant.store, caller, target)})


async def update_card(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Take an agent's new card."""
    fields = await call.fields(BAD_BODY)
    with complains(BAD_BODY):
        workspace_id = fields.needed("workspace_id")
    if fields.raw("agent_card") is None:
        raise refusal(400, BAD_BODY)
    await access.own_token_if_any(tenant, call.request, workspace_id)
    with tenant.blamed("failed to update"):
        if not await tenant.store.change(workspace_id, {"agent_card": fields.raw("agent_card")}):
            raise refusal(404, "workspace not found")
    return as_json({"status": "updated"})
