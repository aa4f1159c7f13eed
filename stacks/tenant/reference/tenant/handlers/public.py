"""Routes about the server itself."""

from __future__ import annotations

from aiohttp import web

from tenant.behaviour import Regression
from tenant.core import Call, Tenant, complains
from tenant.replies import as_json, as_text
from tenant.store import Viewport


async def health(_tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Say that the process lives; neither database nor Redis is asked."""
    return as_json({"status": "ok"})


async def buildinfo(tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Say which build this is."""
    build = f"{tenant.settings.build_id}-before" if tenant.has(Regression.STALE_BUILD) else tenant.settings.build_id
    return as_json({"git_sha": build})


async def metrics(tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Give the few numbers there are, in Prometheus' text form."""
    lines = ["# TYPE tenant_event_listeners gauge", f"tenant_event_listeners {tenant.hub.listeners}"]
    return as_text("\n".join(lines) + "\n", 200, "text/plain; version=0.0.4; charset=utf-8")


async def nothing(_tenant: Tenant, _call: Call) -> web.StreamResponse:
    """List what this tenant never has: templates, approvals, secrets, events of the product's audit."""
    return as_json([])


async def unbuilt(_tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Say that the product does this and this tenant does not."""
    return as_json({"error": "not a part of this tenant"}, 501)


async def liveness(tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Say which parts of the server work."""
    return as_json({"subsystems": {"events": {"listeners": tenant.hub.listeners}}})


async def sources(_tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Say where plugins may come from."""
    return as_json({"schemes": ["github", "local"]})


async def viewport(tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Give the canvas's viewport."""
    with tenant.blamed("failed to read viewport"):
        view = await tenant.store.viewport()
    return as_json({"x": view.x, "y": view.y, "zoom": view.zoom})


async def save_viewport(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Keep the canvas's viewport."""
    fields = await call.fields("invalid viewport data")
    with complains("invalid viewport data"), tenant.blamed("failed to save viewport"):
        await tenant.store.save_viewport(Viewport(fields.number("x"), fields.number("y"), fields.number("zoom", 1)))
    return as_json({"status": "saved"})


async def hidden(_tenant: Tenant, _call: Call) -> web.StreamResponse:
    """Deny a route that only development has."""
    return as_json({"error": "not found"}, 404)
