"""Every route: method, path, who may, and what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from tenant.core import Call, Tenant
from tenant.handlers import activity, lifecycle, messages, public, registry, streams, tokens, workspaces
from tenant.other_routes import EMPTY, OTHERS
from tenant.target import segments

Handler = Callable[[Tenant, Call], Awaitable[web.StreamResponse]]


class Who(Enum):
    """Who may use a route, once past the guard. ITSELF is a workspace with its own token; an administrator before its first."""

    ANYBODY = "anybody"
    ADMIN = "admin"
    WORKSPACE = "workspace"
    CANVAS = "canvas"
    ITSELF = "itself"


@dataclass(frozen=True)
class Route:
    """One route. A segment of the path that begins with a colon is a parameter: any text without a slash, but not none.

    One that begins with an asterisk, the last, is any rest of the path.
    """

    method: str
    path: str
    who: Who
    handler: Handler


def placed(who: str, path: str) -> str:
    """Give the whole path of a row of the other routes."""
    return f"/workspaces/:id{path}" if who == Who.WORKSPACE.value else path


ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", Who.ANYBODY, public.health),
    Route("GET", "/buildinfo", Who.ANYBODY, public.buildinfo),
    Route("GET", "/metrics", Who.ANYBODY, public.metrics),
    Route("GET", "/plugins/sources", Who.ANYBODY, public.sources),
    Route("GET", "/canvas/viewport", Who.ANYBODY, public.viewport),
    Route("PUT", "/canvas/viewport", Who.CANVAS, public.save_viewport),
    Route("GET", "/org/tokens", Who.ADMIN, tokens.list_org),
    Route("POST", "/org/tokens", Who.ADMIN, tokens.mint_org),
    Route("DELETE", "/org/tokens/:id", Who.ADMIN, tokens.revoke_org),
    Route("GET", "/admin/liveness", Who.ADMIN, public.liveness),
    Route("GET", "/admin/workspaces/:id/test-token", Who.ANYBODY, public.hidden),
    Route("POST", "/admin/workspaces/:id/bootstrap-failed", Who.ADMIN, lifecycle.bootstrap_failed),
    Route("GET", "/workspaces", Who.ADMIN, workspaces.listing),
    Route("POST", "/workspaces", Who.ADMIN, workspaces.create),
    Route("GET", "/workspaces/:id", Who.ANYBODY, workspaces.get),
    Route("PATCH", "/workspaces/:id", Who.WORKSPACE, workspaces.patch),
    Route("DELETE", "/workspaces/:id", Who.ADMIN, workspaces.delete),
    Route("PATCH", "/workspaces/:id/budget", Who.ADMIN, workspaces.budget),
    Route("POST", "/workspaces/:id/restart", Who.WORKSPACE, lifecycle.restart),
    Route("POST", "/workspaces/:id/pause", Who.WORKSPACE, lifecycle.pause),
    Route("POST", "/workspaces/:id/resume", Who.WORKSPACE, lifecycle.resume),
    Route("POST", "/workspaces/:id/hibernate", Who.WORKSPACE, lifecycle.hibernate),
    Route("GET", "/workspaces/:id/console", Who.ADMIN, lifecycle.console),
    Route("GET", "/workspaces/:id/state", Who.ITSELF, workspaces.state),
    Route("GET", "/workspaces/:id/model", Who.WORKSPACE, workspaces.model),
    Route("GET", "/workspaces/:id/secrets/values", Who.ITSELF, workspaces.secret_values),
    Route("GET", "/workspaces/:id/activity", Who.WORKSPACE, activity.listing),
    Route("GET", "/workspaces/:id/tokens", Who.WORKSPACE, tokens.list_workspace),
    Route("POST", "/workspaces/:id/tokens", Who.WORKSPACE, tokens.mint_workspace),
    Route("DELETE", "/workspaces/:id/tokens/:token", Who.WORKSPACE, tokens.revoke_workspace),
    Route("POST", "/workspaces/:id/a2a", Who.ANYBODY, messages.send),
    Route("GET", "/workspaces/:id/a2a/queue/:item", Who.ANYBODY, messages.queued),
    Route("GET", "/workspaces/:id/events/stream", Who.WORKSPACE, streams.events),
    Route("GET", "/ws", Who.ANYBODY, streams.websocket),
    Route("POST", "/registry/register", Who.ANYBODY, registry.register),
    Route("POST", "/registry/heartbeat", Who.ANYBODY, registry.heartbeat),
    Route("POST", "/registry/update-card", Who.ANYBODY, registry.update_card),
    Route("POST", "/registry/check-access", Who.ANYBODY, registry.check_access),
    Route("GET", "/registry/discover/:id", Who.ANYBODY, registry.discover),
    Route("GET", "/registry/:id/peers", Who.ANYBODY, registry.peers),
    *(Route(method, placed(who, path), Who(who), public.unbuilt) for who, methods, path in OTHERS for method in methods.split()),
    *(Route("GET", placed(who, path), Who(who), public.nothing) for who, path in EMPTY),
)
# Routes that only today's product has.
CURRENT_ROUTES: tuple[Route, ...] = (Route("POST", "/admin/workspaces/:id/tokens", Who.ADMIN, tokens.mint_workspace),)


class Table:
    """Finds routes. Fixed segments win over parameters, so the order of the list does not matter."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._by_method: dict[str, list[tuple[list[str], Route]]] = {}
        for route in sorted(routes, key=lambda route: [":*".find(part[:1]) if part else -1 for part in segments(route.path)]):
            self._by_method.setdefault(route.method, []).append((segments(route.path), route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Give the route of a method and a decoded path, with its parameters; None when there is none."""
        given = segments(path)
        for wanted, route in self._by_method.get(method, []):
            params = _match(wanted, given)
            if params is not None:
                return route, params
        return None


def _match(wanted: list[str], given: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    if wanted[-1].startswith("*") and len(given) >= len(wanted):
        params[wanted[-1][1:]] = "/".join(given[len(wanted) - 1 :])
        wanted, given = wanted[:-1], given[: len(wanted) - 1]
    if len(wanted) != len(given):
        return None
    for part, text in zip(wanted, given, strict=True):
        if part.startswith(":"):
            if not text:
                return None
            params[part[1:]] = text
        elif part != text:
            return None
    return params
