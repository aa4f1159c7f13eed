"""Who may do what: administrators, workspaces, and the canvas."""

from __future__ import annotations

import contextlib

from aiohttp import web

from tenant.behaviour import Defect
from tenant.core import Tenant
from tenant.credentials import bearer, digest, same
from tenant.guard import same_origin
from tenant.replies import UNAVAILABLE, Refusal, refusal
from tenant.store import BadId, StoreDown

NO_ADMIN = "admin auth required"
WRONG_ADMIN = "invalid admin auth token"
NO_TOKEN = "missing workspace auth token"  # noqa: S105 - a message
WRONG_TOKEN = "invalid workspace auth token"  # noqa: S105 - a message


def token_of(request: web.Request) -> str:
    """Give the bearer token of a request, empty when it has none; of repeated headers the first counts."""
    return bearer(request.headers.get("Authorization"))


async def admin(tenant: Tenant, request: web.Request) -> None:
    """Let administrators pass: session, token of the organisation, admin token, in this order; Refusal for everybody else."""
    settings = tenant.settings
    try:
        live = await tenant.store.has_tokens()
        if settings.open_development:
            return
        if not settings.admin_token and not live and tenant.has(Defect.OPEN_WITHOUT_ADMIN):
            return
        cookie = request.headers.get("Cookie", "")
        if cookie and tenant.sessions and await tenant.sessions.member(cookie):
            return
        token = token_of(request)
        if not token:
            raise refusal(401, NO_ADMIN)
        if await _admin_token(tenant, token):
            return
    except StoreDown as failure:
        raise Refusal(503, UNAVAILABLE) from failure
    raise refusal(401, WRONG_ADMIN)


async def _admin_token(tenant: Tenant, token: str) -> bool:
    if await tenant.store.use_org_token(digest(token)):
        return True
    if tenant.settings.admin_token:
        return same(token, tenant.settings.admin_token)
    return await tenant.store.use_token(digest(token))  # deprecated: any workspace's, and only where no admin token is set


async def workspace(tenant: Tenant, request: web.Request, workspace_id: str) -> None:
    """Let pass who may act for this workspace: administrators by token, and its own token. A session is not enough (recorded)."""
    token = token_of(request)
    if token:
        if same(token, tenant.settings.admin_token) or await _known(tenant, token, workspace_id):
            return
        raise refusal(401, WRONG_TOKEN)
    if forged(tenant, request) or tenant.settings.open_development:
        return
    raise refusal(401, NO_TOKEN)


async def _known(tenant: Tenant, token: str, workspace_id: str) -> bool:
    try:
        if await tenant.store.use_org_token(digest(token)):
            return True
        return await tenant.store.use_token(digest(token), workspace_id)
    except BadId:
        return False
    except StoreDown as failure:
        if tenant.has(Defect.QUIET_OUTAGE):
            return False
        raise Refusal(503, UNAVAILABLE) from failure


def forged(tenant: Tenant, request: web.Request) -> bool:
    """Say whether headers that any client can write count as a credential: never, but with the defect."""
    host = request.headers.get("Host", "")
    return tenant.has(Defect.FORGED_ORIGIN) and bool(tenant.settings.canvas) and same_origin(host, request.headers)


async def own_token(tenant: Tenant, request: web.Request, workspace_id: str) -> None:
    """Let pass the workspace itself and nobody else."""
    token = token_of(request)
    if not token:
        raise refusal(401, NO_TOKEN)
    if not await tenant.store.use_token(digest(token), workspace_id):
        raise refusal(401, WRONG_TOKEN)


async def itself(tenant: Tenant, request: web.Request, workspace_id: str) -> None:
    """Let pass the workspace alone: as long as it has no live token, whoever may act for it."""
    await workspace(tenant, request, workspace_id)
    with tenant.blamed("auth check failed"):
        if await tenant.store.has_tokens(workspace_id):
            await own_token(tenant, request, workspace_id)


async def own_token_if_any(tenant: Tenant, request: web.Request, workspace_id: str) -> None:
    """Let pass the workspace itself; as long as it has no live token it has nothing to show."""
    # Trouble shows again, with its own text, when the handler asks for what it is there for.
    with contextlib.suppress(StoreDown, BadId):
        if await tenant.store.has_tokens(workspace_id):
            await own_token(tenant, request, workspace_id)


async def peers(tenant: Tenant, request: web.Request, workspace_id: str) -> None:
    """Let pass who may see the peers of a workspace: itself, or before its first token whoever may act for it."""
    if tenant.settings.open_development and not token_of(request):
        return
    with contextlib.suppress(StoreDown, BadId):
        if await tenant.store.has_tokens(workspace_id):
            await own_token(tenant, request, workspace_id)
        elif not tenant.has(Defect.OPEN_PEERS):
            await workspace(tenant, request, workspace_id)


async def canvas(tenant: Tenant, request: web.Request) -> None:
    """Let the canvas pass, which may know no token: anybody before the first workspace token, administrators after."""
    try:
        if not await tenant.store.has_tokens():
            return
        token = token_of(request)
        if token and await _admin_token(tenant, token):
            return
    except StoreDown:
        return  # the handler says so
    if token:
        raise refusal(401, WRONG_ADMIN)
    if tenant.has(Defect.FORGED_ORIGIN) and (
        request.headers.get("Origin", "") in tenant.settings.origins or forged(tenant, request)
    ):
        return
    raise refusal(401, NO_ADMIN)
