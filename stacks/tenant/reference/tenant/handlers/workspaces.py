"""Workspaces: create, list, look, change, remove."""

from __future__ import annotations

import contextlib
import re
import uuid
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tenant.behaviour import Defect, Regression
from tenant.core import Call, Tenant, complains
from tenant.credentials import mint
from tenant.fields import Fields
from tenant.hub import Event
from tenant.replies import Refusal, as_json, refusal
from tenant.store import CacheDown, Changes, Workspace, is_id

MAX_NAME = 255
DEFAULT_TIER = 3
DEFAULT_RUNTIME = "langgraph"
# What would change the meaning of the configuration files that carry a name.
SPECIAL = re.compile(r"[{}\[\]|>*&!\r\n]")
ACCESS = ("none", "read_only", "read_write")
MODES = ("push", "poll")
BAD_PAYLOAD = "invalid workspace payload"


@dataclass(frozen=True)
class Wish:
    """What a client wants to have created."""

    name: str
    role: str | None
    tier: int
    parent_id: str | None
    runtime: str
    external: bool
    url: str
    delivery_mode: str
    budget_limit: int | None
    workspace_dir: str | None
    workspace_access: str
    template: str

    @classmethod
    def of(cls, fields: Fields) -> Wish:
        """Read it; BadBody when a field has another type or the name is missing."""
        runtime = fields.text("runtime") or DEFAULT_RUNTIME
        external = fields.flag("external") or runtime == "external"
        return cls(
            name=fields.needed("name"),
            role=fields.maybe("role"),
            tier=fields.whole("tier") or DEFAULT_TIER,
            parent_id=fields.maybe("parent_id"),
            runtime="external" if external else runtime,
            external=external,
            url=fields.text("url"),
            delivery_mode=fields.text("delivery_mode"),
            budget_limit=fields.whole("budget_limit") if fields.raw("budget_limit") is not None else None,
            workspace_dir=fields.maybe("workspace_dir"),
            workspace_access=fields.text("workspace_access") or "none",
            template=fields.text("template"),
        )

    def check(self, tenant: Tenant) -> None:
        """Refuse what has the right type and the wrong value."""
        if any(unfit(tenant, text) for text in (self.name, self.role or "", self.runtime)):
            raise refusal(400, "invalid workspace fields")
        if self.delivery_mode not in ("", *MODES):
            raise refusal(400, "delivery_mode must be 'push' or 'poll'")
        if self.workspace_access not in ACCESS:
            raise refusal(400, "invalid workspace access")
        if tenant.has(Regression.LOOSE_PATHS):
            return
        if self.workspace_dir and (not self.workspace_dir.startswith("/") or ".." in self.workspace_dir.split("/")):
            raise refusal(400, "invalid workspace directory")
        if ".." in self.template.split("/") or self.template.startswith("/"):
            raise refusal(400, "invalid template")


def unfit(tenant: Tenant, text: str) -> bool:
    """Say whether a text is too long for a name, or would change the meaning of what carries it."""
    return len(text) > MAX_NAME or (SPECIAL.search(text) is not None and not tenant.has(Regression.RAW_TEXTS))


async def create(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Create a workspace under an id of ours; an id that the client sends is ignored (recorded)."""
    with complains(BAD_PAYLOAD):
        wish = Wish.of(await call.fields(BAD_PAYLOAD))
    wish.check(tenant)
    status = ("online" if wish.url else "awaiting_agent") if wish.external else "provisioning"
    made = Workspace(
        id=str(uuid.uuid4()),
        name=wish.name,
        role=wish.role,
        tier=wish.tier,
        parent_id=wish.parent_id,
        runtime=wish.runtime,
        status=status,
        url=wish.url if wish.external else "",
        delivery_mode=wish.delivery_mode or "push",
        budget_limit=wish.budget_limit,
        workspace_dir=wish.workspace_dir,
        workspace_access=wish.workspace_access,
    )
    with tenant.blamed("failed to create workspace"):
        await tenant.store.create(made)
    if wish.external:
        return as_json(await _external(tenant, call, made), 201)
    tenant.provisioning.start(made)
    document = {"id": made.id, "status": made.status, "workspace_access": wish.workspace_access}
    return as_json({**document, "awareness_namespace": f"workspace:{made.id}"}, 201)


async def _external(tenant: Tenant, call: Call, made: Workspace) -> dict[str, Any]:
    document: dict[str, Any] = {"id": made.id, "status": made.status, "external": True}
    if made.url:
        return document
    token = mint()
    await tenant.store.add_token(made.id, token.digest, token.prefix)
    headers = call.request.headers
    base = f"{headers.get('X-Forwarded-Proto', 'http')}://{headers.get('X-Forwarded-Host', call.host)}"
    register = f"{base}/registry/register"
    document["connection"] = {
        "workspace_id": made.id,
        "platform_url": base,
        "registry_endpoint": register,
        "heartbeat_endpoint": f"{base}/registry/heartbeat",
        "auth_token": token.secret,
        "curl_register_template": f"POST {register} with the token as bearer and a body of id, url and agent_card",
        "python_snippet": f"# register once at {register}, then send a heartbeat every 30 s",
        "claude_code_channel_snippet": f"# channel for workspace {made.id}: register in delivery mode poll and read its activity",
    }
    return document


def row(workspace: Workspace) -> dict[str, Any]:
    """Give what a list shows of a workspace."""
    return {
        **one(workspace, last=False),
        "budget_limit": workspace.budget_limit,
        "current_task": workspace.current_task,
        "last_sample_error": workspace.last_sample_error,
        "monthly_spend": 0,
        "workspace_dir": workspace.workspace_dir,
    }


def one(workspace: Workspace, *, last: bool = True) -> dict[str, Any]:
    """Give what a look at one shows: without a credential, so without money, directories and errors."""
    document = {
        "id": workspace.id,
        "name": workspace.name,
        "role": workspace.role,
        "tier": workspace.tier,
        "status": workspace.status,
        "agent_card": workspace.agent_card,
        "url": workspace.url,
        "parent_id": workspace.parent_id,
        "active_tasks": workspace.active_tasks,
        "max_concurrent_tasks": 1,
        "last_error_rate": workspace.last_error_rate,
        "uptime_seconds": workspace.uptime_seconds,
        "runtime": workspace.runtime,
        "x": workspace.x,
        "y": workspace.y,
        "collapsed": False,
    }
    return document | {"last_outbound_at": None} if last else document


async def listing(tenant: Tenant, _call: Call) -> web.StreamResponse:
    """List workspaces in the order of their creation."""
    with tenant.blamed("query failed"):
        return as_json([row(workspace) for workspace in await tenant.store.listing()])


async def found(tenant: Tenant, workspace_id: str, complaint: str = "query failed") -> Workspace:
    """Give a workspace; 404 when there is none."""
    with tenant.blamed(complaint):
        workspace = await tenant.store.get(workspace_id)
    if workspace is None:
        raise Refusal(404) if tenant.has(Regression.MUTE_NOT_FOUND) else refusal(404, "workspace not found")
    return workspace


async def get(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Show one workspace; behind the guard this is open (recorded)."""
    _need_id(call)
    return as_json(one(await found(tenant, call.id)))


async def patch(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Change name, role, tier, place or parent."""
    _need_id(call)
    fields = await call.fields("invalid request body")
    with complains("invalid request body"):
        changes = wanted_changes(fields)
    for name in ("name", "role"):
        if unfit(tenant, str(changes.get(name) or "")):
            raise refusal(400, f"{name} contains invalid characters")
    with tenant.blamed("failed to update"):
        if changes.get("parent_id") in (call.id, *(child.id for child in await below(tenant, call.id))):
            raise refusal(422, "a workspace cannot be below itself")
        if not await tenant.store.change(call.id, changes):
            raise refusal(404, "workspace not found")
    return as_json({"status": "updated"})


def wanted_changes(fields: Fields) -> Changes:
    """Read the changes that a client wants; BadBody when a field has another type, or a name is empty."""
    changes: Changes = {}
    if fields.has("name"):
        changes["name"] = fields.needed("name")
    if fields.has("role"):
        changes["role"] = fields.maybe("role")
    if fields.has("tier"):
        changes["tier"] = fields.whole("tier") or DEFAULT_TIER
    if fields.has("parent_id"):
        changes["parent_id"] = fields.maybe("parent_id")
    if fields.has("x"):
        changes["x"] = fields.number("x")
    if fields.has("y"):
        changes["y"] = fields.number("y")
    return changes


async def budget(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Set the budget of a workspace."""
    fields = await call.fields("invalid request body")
    with complains("invalid request body"):
        limit = fields.whole("budget_limit") if fields.raw("budget_limit") is not None else None
    _need_id(call)
    with tenant.blamed("failed to update"):
        if not await tenant.store.change(call.id, {"budget_limit": limit}):
            raise refusal(404, "workspace not found")
    return as_json({"budget_limit": limit})


def _need_id(call: Call) -> None:
    if not is_id(call.id):
        raise refusal(400, "invalid workspace ID")


async def below(tenant: Tenant, workspace_id: str) -> list[Workspace]:
    """Give everything below a workspace, nearest first. Two changes at once can make a circle: each is visited once."""
    known: dict[str, Workspace] = {}
    todo = [workspace_id]
    while todo:
        fresh = [child for child in await tenant.store.children(todo.pop(0)) if child.id not in (*known, workspace_id)]
        known |= {child.id: child for child in fresh}
        todo += [child.id for child in fresh]
    return list(known.values())


async def delete(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Remove a workspace and, when confirmed, what is below it. The control plane is not told (recorded)."""
    _need_id(call)
    query = call.target.query()
    with tenant.blamed("failed to delete workspace"):
        if not tenant.has(Defect.UNKNOWN_IDS_PASS):
            await found(tenant, call.id)
        children = await below(tenant, call.id)
        if children and query.get("confirm") != "true":
            return as_json(_ask(children), 409)
        removed = [call.id, *(child.id for child in children)]
        for workspace_id in removed:
            await tenant.store.change(workspace_id, {"status": "removed"})
            with contextlib.suppress(CacheDown):
                await tenant.cache.drop(*(tenant.key(workspace_id, part) for part in ("", ":url", ":internal_url")))
        await tenant.store.revoke_tokens(removed)
        purge = query.get("purge") == "true"
        if purge:
            await tenant.store.purge(removed)
    for workspace_id in removed:
        tenant.hub.publish(Event("WORKSPACE_REMOVED", workspace_id, {}))
    return as_json({"status": "purged" if purge else "removed", "cascade_deleted": len(children)})


def _ask(children: list[Workspace]) -> dict[str, Any]:
    return {
        "status": "confirmation_required",
        "message": "This workspace has sub-workspaces. Delete with ?confirm=true to cascade delete.",
        "children": [{"id": child.id, "name": child.name} for child in children],
        "children_count": len(children),
    }


async def state(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Tell an agent whether it still should be there."""
    with tenant.blamed("query failed"):
        workspace = await tenant.store.get(call.id)
    if workspace is None:
        return as_json({"workspace_id": call.id, "deleted": True}, 404)
    about = {"workspace_id": workspace.id, "status": workspace.status}
    if workspace.status == "removed":
        return as_json({**about, "deleted": True}, 404)
    return as_json({**about, "deleted": False, "paused": workspace.status == "paused"})


async def model(_tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Say which model a workspace uses: the runtime's default, since this tenant stores none."""
    return as_json({"model": "", "source": "default"})


async def secret_values(_tenant: Tenant, call: Call) -> web.StreamResponse:
    """Give an agent its secrets: this tenant has none."""
    _need_id(call)
    return as_json({})
