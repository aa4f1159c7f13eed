"""Workspaces as the control plane runs them: restart, pause, resume, hibernate, console."""

from __future__ import annotations

from aiohttp import web

from tenant.core import Call, Tenant
from tenant.handlers.workspaces import below, found
from tenant.replies import as_json, refusal
from tenant.session import Unreachable
from wire.consumer import Undecodable


async def restart(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Stop and start again, behind the answer."""
    workspace = await found(tenant, call.id)
    if workspace.status == "removed":
        raise refusal(404, "workspace not found")
    with tenant.blamed("failed to restart workspace"):
        await tenant.store.change(workspace.id, {"status": "provisioning", "url": "", "last_sample_error": ""})
    tenant.provisioning.restart(workspace)
    return as_json({"status": "provisioning", "config_dir": "existing-volume", "reset_session": False})


async def pause(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Pause a workspace and what is below it. The control plane is not told (recorded)."""
    with tenant.blamed("lookup failed"):
        workspace = await tenant.store.get(call.id)
    if workspace is None or workspace.status in ("removed", "paused"):
        raise refusal(404, "workspace not found or already paused")
    with tenant.blamed("failed to pause workspace"):
        family = [workspace, *await below(tenant, workspace.id)]
        for member in family:
            await tenant.store.change(member.id, {"status": "paused", "url": ""})
    return as_json({"status": "paused", "paused_count": len(family)})


async def resume(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Start a paused workspace, and those below it, again."""
    with tenant.blamed("lookup failed"):
        workspace = await tenant.store.get(call.id)
    if workspace is None or workspace.status != "paused":
        raise refusal(404, "workspace not found or not paused")
    with tenant.blamed("failed to resume workspace"):
        family = [workspace, *(child for child in await below(tenant, workspace.id) if child.status == "paused")]
        for member in family:
            await tenant.store.change(member.id, {"status": "provisioning"})
            tenant.provisioning.start(member)
    return as_json({"status": "provisioning", "resumed_count": len(family)})


async def hibernate(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Put a working workspace to sleep."""
    with tenant.blamed("failed to hibernate workspace"):
        workspace = await tenant.store.get(call.id)
        if workspace is None or workspace.status not in ("online", "degraded"):
            raise refusal(404, "workspace not found or not in a hibernatable state (must be online or degraded)")
        await tenant.store.change(workspace.id, {"status": "hibernated", "url": ""})
    return as_json({"status": "hibernated"})


async def bootstrap_failed(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Note that a workspace never came up, as its host says; one that is not starting is left alone."""
    fields = await call.fields("invalid request body")
    with tenant.blamed("failed to update"):
        workspace = await tenant.store.get(call.id)
        if workspace is None or workspace.status != "provisioning":
            return as_json({"ok": True, "no_change": True})
        reason = str(fields.raw("error") or "bootstrap failed")
        await tenant.store.change(workspace.id, {"status": "failed", "last_sample_error": reason})
    return as_json({"ok": True})


async def console(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Pass on the console output that the control plane has."""
    control = tenant.provisioning.control
    if control is None:
        raise refusal(501, "console output is only available with a control plane")
    try:
        return as_json({"output": await control.console(call.id)})
    except (Unreachable, Undecodable) as failure:
        raise refusal(502, "control plane returned an error fetching console output") from failure
