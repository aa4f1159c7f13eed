"""What a workspace did: lines, filtered, newest first; or those after a known one, oldest first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tenant.behaviour import Profile, Regression
from tenant.core import Call, Tenant
from tenant.fields import digits, storable
from tenant.replies import as_json, refusal
from tenant.store import Activity, ActivityQuery, is_id

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
MAX_SINCE = 30 * 24 * 3600  # seconds; older lines are not kept


async def listing(tenant: Tenant, call: Call) -> web.StreamResponse:
    """List a workspace's lines."""
    query = read_query(call.id, call.target.query(), datetime.now(UTC))
    if tenant.settings.behaviour.profile is Profile.CURRENT:
        query = with_history(tenant, query, call.target.query())
    if tenant.has(Regression.IGNORED_LIMIT):
        query = replace(query, limit=MAX_LIMIT)
    if query.after_id:
        with tenant.blamed("cursor lookup failed"):
            if not await tenant.store.activity_exists(query.workspace_id, query.after_id):
                raise refusal(410, "since_id is not in the activity of this workspace any more")
    with tenant.blamed("query failed"):
        rows = await tenant.store.activities(query)
    if tenant.has(Regression.ONE_SIDED_PEERS) and query.peer_id:
        rows = [row for row in rows if row.source_id == query.peer_id]
    if tenant.has(Regression.OLDEST_FIRST):
        rows.reverse()
    return as_json([line(row) for row in rows])


def read_query(workspace_id: str, given: dict[str, str], now: datetime) -> ActivityQuery:
    """Read the filters that every profile knows; a limit that is none means the default."""
    limit = digits(given.get("limit", "")) or 0
    source, kind = given.get("source", ""), given.get("type", "")
    if not storable(kind):
        raise refusal(400, "type is no text")
    if source not in ("", "agent", "canvas"):
        raise refusal(400, "source must be 'agent' or 'canvas'")
    return ActivityQuery(
        workspace_id=workspace_id,
        limit=min(limit, MAX_LIMIT) or DEFAULT_LIMIT,
        activity_type=kind,
        source=source,
        since=_since(given.get("since_secs", ""), now),
        after_id=given.get("since_id", ""),
    )


def _since(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    seconds = digits(text)
    if not seconds:
        raise refusal(400, "since_secs must be a positive integer")
    return now - timedelta(seconds=min(seconds, MAX_SINCE))


def with_history(tenant: Tenant, query: ActivityQuery, given: dict[str, str]) -> ActivityQuery:
    """Add the filters of today's chat history: whom it was with, and before when."""
    peer, before, unchecked = given.get("peer_id", ""), given.get("before_ts", ""), tenant.has(Regression.UNCHECKED_FILTERS)
    if peer and not is_id(peer):
        if unchecked:
            return query
        raise refusal(400, "peer_id must be a UUID")
    moment = None
    if before:
        try:
            moment = datetime.fromisoformat(before)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            if unchecked:
                return query
            raise refusal(400, "before_ts must be an RFC3339 timestamp")
        if tenant.has(Regression.INCLUSIVE_BEFORE):
            moment += timedelta(microseconds=1)
    return replace(query, peer_id=peer, before=moment)


def line(activity: Activity) -> dict[str, Any]:
    """Give a line as clients see it; bodies only where there are some."""
    document: dict[str, Any] = {
        "id": activity.id,
        "workspace_id": activity.workspace_id,
        "activity_type": activity.activity_type,
        "source_id": activity.source_id,
        "target_id": activity.target_id,
        "method": activity.method,
        "summary": activity.summary,
        "duration_ms": activity.duration_ms,
        "status": activity.status,
        "error_detail": activity.error_detail,
        "created_at": activity.created_at.isoformat(),
    }
    bodies = {"request_body": activity.request_body, "response_body": activity.response_body}
    return document | {name: value for name, value in bodies.items() if value is not None}
