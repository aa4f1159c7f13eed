"""Messages from one workspace, or the canvas, to another: passed on, or left for an agent that polls."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tenant import access, addresses
from tenant.behaviour import Regression
from tenant.core import AgentGone, Call, Tenant
from tenant.credentials import digest
from tenant.fields import BadBody, parse
from tenant.handlers.registry import may_talk
from tenant.handlers.workspaces import found
from tenant.hub import Event
from tenant.replies import as_json, refusal
from tenant.store import Activity, BadId, StoreError, Workspace, checked

PLAIN_JSON = "application/json"
# Names that the platform itself uses as callers; nobody outside may.
RESERVED = ("system:", "webhook:", "channel:")
NUMBER_FOR = 300  # seconds that the regression's number is kept


async def send(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Take a JSON-RPC message for a workspace."""
    caller = call.request.headers.get("X-Workspace-ID", "")
    if caller.startswith(RESERVED):
        raise refusal(403, "invalid caller ID")
    if caller and caller != call.id:
        await _caller(tenant, call, caller)
    body = await call.request.read()
    try:
        message = parse(body)
    except BadBody as failure:
        raise refusal(400, "invalid JSON") from failure
    if message is not None and not isinstance(message, dict):
        raise refusal(400, "invalid JSON")
    workspace = await found(tenant, call.id, "lookup failed")
    if workspace.delivery_mode == "poll":
        return await _queue(tenant, workspace, message, caller)
    if not workspace.url:
        raise refusal(503, "workspace has no agent yet")
    if not addresses.routable(workspace.url):
        raise refusal(502, "workspace URL is not publicly routable")
    try:
        status, answer = await tenant.agents.send(workspace.url, body)
    except AgentGone:
        return await _unreachable(tenant, workspace)
    return web.Response(status=status, body=answer, headers={"Content-Type": PLAIN_JSON})


async def _caller(tenant: Tenant, call: Call, caller: str) -> None:
    with tenant.blamed("lookup failed"):
        try:
            known = await tenant.store.has_tokens(caller)
        except BadId as failure:
            raise refusal(403, "invalid caller ID") from failure
        if known:
            token = access.token_of(call.request)
            if not token:
                raise refusal(401, "missing caller auth token")
            if not await tenant.store.use_token(digest(token), caller):
                raise refusal(401, "invalid caller auth token")
        if not await may_talk(tenant.store, caller, call.id):
            raise refusal(403, "access denied: workspaces cannot communicate per hierarchy rules")


async def _queue(tenant: Tenant, workspace: Workspace, message: Any, caller: str) -> web.StreamResponse:
    method = str(message.get("method", "")) if isinstance(message, dict) else ""
    activity = Activity(
        id=await _numbered(tenant, workspace.id) if tenant.has(Regression.RACED_NUMBERS) else str(uuid.uuid4()),
        workspace_id=workspace.id,
        activity_type="a2a_receive",
        created_at=datetime.now(UTC),
        method=method,
        source_id=caller or None,
        target_id=workspace.id,
        summary=f"{method} left for pickup",
        request_body=message,
    )
    with tenant.blamed("failed to queue message"):
        await tenant.store.add_activity(activity)
    tenant.hub.publish(Event("ACTIVITY_LOGGED", workspace.id, {"activity_type": activity.activity_type, "method": method}))
    return as_json({"status": "queued", "delivery_mode": "poll", "method": method}, content_type=PLAIN_JSON)


async def _numbered(tenant: Tenant, workspace_id: str) -> str:
    """Give the id that the regression makes: what the next number is, is read and written back in two steps."""
    place = tenant.key(workspace_id, ":messages")
    number = int(await tenant.cache.get(place) or 0) + 1
    await tenant.cache.put(place, str(number), NUMBER_FOR)
    return str(uuid.uuid5(uuid.UUID(workspace_id), str(number)))


async def _unreachable(tenant: Tenant, workspace: Workspace) -> web.StreamResponse:
    if not await tenant.provisioning.gone(workspace):
        raise refusal(502, "failed to reach workspace agent")
    with tenant.blamed("failed to restart workspace"):
        await tenant.store.change(workspace.id, {"status": "provisioning", "url": ""})
    tenant.provisioning.restart(workspace)
    text = "workspace agent unreachable \N{EM DASH} container restart triggered"
    return as_json({"error": text, "restarting": True}, 503)


async def queued(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Look up a queued message: agents that poll read their activity, so nothing is ever in this queue."""
    token = access.token_of(call.request)
    known = bool(call.request.headers.get("X-Workspace-ID"))
    if not known and token:
        with contextlib.suppress(StoreError):
            known = await tenant.store.use_token(digest(token))
    if known:
        with tenant.blamed("lookup failed"):
            checked(call.params["item"])
    raise refusal(404, "queue item not found")
