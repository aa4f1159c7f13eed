"""Tokens of workspaces and of the organisation: made, listed without their secrets, revoked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web

from tenant import access
from tenant.behaviour import Defect, Regression
from tenant.core import Call, Tenant
from tenant.credentials import mint
from tenant.fields import BadBody, Fields
from tenant.replies import as_json, refusal
from tenant.store import BadId, Token

MAX_NAME = 100


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def shown(token: Token) -> dict[str, Any]:
    """Give what people may see of a token."""
    return {
        "id": token.id,
        "prefix": token.prefix,
        "created_at": _time(token.created_at),
        "last_used_at": _time(token.last_used_at),
    }


async def mint_workspace(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Make a token for a workspace."""
    token = mint()
    with tenant.blamed("failed to create token"):
        if await tenant.store.get(call.id) is None:
            raise refusal(404, "workspace not found")
        await tenant.store.add_token(call.id, token.digest, token.prefix)
    message = "Save this token now \N{EM DASH} it cannot be retrieved again."
    return as_json({"auth_token": token.secret, "workspace_id": call.id, "message": message}, 201)


async def list_workspace(tenant: Tenant, call: Call) -> web.StreamResponse:
    """List a workspace's live tokens, newest first."""
    with tenant.blamed("query failed"):
        tokens = await tenant.store.tokens(call.id)
    return as_json({"tokens": [shown(token) for token in tokens], "count": len(tokens)})


async def revoke_workspace(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Revoke one token of a workspace."""
    with tenant.blamed("failed to revoke token"):
        known = tenant.has(Regression.UNDEAD_TOKENS) or await tenant.store.revoke_tokens([call.id], call.params["token"])
        if not known:
            raise refusal(404, "token not found or already revoked")
    return as_json({"status": "revoked"})


async def mint_org(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Make a token for the organisation; this has a rate limit of its own, and its headers win."""
    spent = tenant.org_token_limit.spend(call.client)
    counted = {name for name, _ in spent.headers}
    call.headers[:] = [(name, value) for name, value in call.headers if name not in counted] + spent.headers
    if not spent.allowed:
        return as_json({"error": "rate limit exceeded", "retry_after": spent.reset}, 429)
    try:
        name = Fields.of(await call.request.read()).text("name")
    except BadBody:  # a name is all that a body can give, and a token needs none
        name = ""
    if len(name) > MAX_NAME:
        raise refusal(400, f"name too long (max {MAX_NAME} chars)")
    token = mint()
    maker = "admin-token" if access.token_of(call.request) else "session"
    with tenant.blamed("failed to create token"):
        token_id = await tenant.store.add_org_token(name, token.digest, token.prefix, maker)
    warning = "copy this token now; it will not be shown again"
    named = {"name": name} if name else {}
    return as_json({"id": token_id, "prefix": token.prefix, **named, "auth_token": token.secret, "warning": warning})


async def list_org(tenant: Tenant, _call: Call) -> web.StreamResponse:
    """List the organisation's live tokens, newest first."""
    with tenant.blamed("query failed"):
        tokens = await tenant.store.org_tokens()
    rows = [{**shown(token), "name": token.name, "created_by": token.created_by} for token in tokens]
    rows = [{key: value for key, value in row.items() if value} for row in rows]  # what is not known is left out, as recorded
    return as_json({"tokens": rows, "count": len(rows)})


async def revoke_org(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Revoke one."""
    with tenant.blamed("failed to revoke"):
        try:
            revoked = await tenant.store.revoke_org_token(call.id)
        except BadId:
            if tenant.has(Defect.UNPARSED_IDS):
                raise
            revoked = False
    if not revoked:
        raise refusal(404, "token not found or already revoked")
    return as_json({"revoked": call.id})
