"""What every `Store` and `Cache` must do. Here it is asked of those in memory; the harness asks PostgreSQL and Redis the same."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tenant.store import Activity, ActivityQuery, BadId, NoParent, Unstorable, Viewport, Workspace

if TYPE_CHECKING:
    from tenant.store import Cache, Store

Story = Callable[["Store"], Coroutine[Any, Any, None]]
UNKNOWN = "99999999-9999-4999-8999-999999999999"


def fresh(name: str, parent: Workspace | None = None) -> Workspace:
    return Workspace(str(uuid.uuid4()), name, parent_id=parent.id if parent else None)


async def made(store: Store, name: str, parent: Workspace | None = None) -> Workspace:
    workspace = fresh(name, parent)
    await store.create(workspace)
    return workspace


async def refused(kind: type[Exception], work: Awaitable[object]) -> bool:
    try:
        await work
    except kind:
        return True
    return False


async def rows_come_back_as_they_went_in(store: Store) -> None:
    full = replace(
        fresh("full"),
        role="r",
        tier=4,
        runtime="external",
        status="online",
        url="http://x/",
        delivery_mode="poll",
        agent_card={"a": [1, None, "\N{EM DASH}"]},
        budget_limit=5,
        workspace_dir="/d",
        workspace_access="read_only",
        instance_id="i",
        inbound_secret="s",
        x=1.5,
    )
    await store.create(full)
    assert await store.get(full.id) == full
    assert await store.get(full.id.upper()) == full
    assert await store.get(UNKNOWN) is None
    assert await refused(BadId, store.get("x"))


async def parents_must_exist(store: Store) -> None:
    orphan = replace(fresh("orphan"), parent_id=UNKNOWN)
    assert await refused(NoParent, store.create(orphan))
    assert await refused(BadId, store.create(replace(orphan, parent_id="x")))
    assert await store.get(orphan.id) is None


async def lists_follow_creation_and_peers_follow_change(store: Store) -> None:
    top = await made(store, "top")
    one, two, three = [await made(store, name, top) for name in ("one", "two", "three")]
    below = await made(store, "below", one)
    other = await made(store, "other")
    assert [row.name for row in await store.listing()] == ["top", "one", "two", "three", "below", "other"]
    assert [row.name for row in await store.children(top.id)] == ["one", "two", "three"]
    assert await store.change(two.id, {"url": "http://x/"})
    assert [row.name for row in await store.peers(one.id)] == ["three", "two", "below", "top"]
    assert [row.name for row in await store.peers(top.id)] == ["other", "one", "three", "two"]
    await store.change(three.id, {"status": "removed"})
    assert [row.name for row in await store.peers(one.id)] == ["two", "below", "top"]
    assert [row.name for row in await store.children(top.id)] == ["one", "two"]
    assert "three" not in [row.name for row in await store.listing()]
    removed = await store.get(three.id)
    assert removed is not None
    assert removed.status == "removed"
    assert [row.name for row in await store.peers(other.id)] == ["top"]
    assert await store.peers(below.id) == [replace(one, status="provisioning")]
    assert await store.peers(UNKNOWN) == []


async def changes_touch_what_they_name(store: Store) -> None:
    one = await made(store, "one")
    assert await store.change(one.id, {"agent_card": {"v": 1}, "last_error_rate": 0.9, "role": None, "uptime_seconds": 9})
    assert await store.get(one.id) == replace(one, agent_card={"v": 1}, last_error_rate=0.9, uptime_seconds=9)
    assert not await store.change(UNKNOWN, {"name": "x"})
    assert await refused(BadId, store.change("x", {}))
    assert await refused(NoParent, store.change(one.id, {"parent_id": UNKNOWN}))
    two = await made(store, "two")
    assert await store.change(one.id, {"parent_id": two.id})
    assert [row.name for row in await store.children(two.id)] == ["one"]


async def registering_creates_what_is_not_there(store: Store) -> None:
    new = await store.register(UNKNOWN, {"url": "http://x/", "status": "online", "agent_card": None})
    assert (new.id, new.name, new.tier, new.runtime, new.status) == (UNKNOWN, UNKNOWN, 1, "langgraph", "online")
    again = await store.register(UNKNOWN, {"url": "http://y/"})
    assert (again.url, again.status) == ("http://y/", "online")
    assert await refused(BadId, store.register("x", {}))


async def tokens_are_their_workspaces(store: Store) -> None:
    one, two = await made(store, "one"), await made(store, "two")
    assert not await store.has_tokens()
    await store.add_token(one.id, "digest-1", "prefix-1")
    await store.add_token(one.id, "digest-2", "prefix-2")
    assert [await store.has_tokens(each) for each in (None, one.id, two.id)] == [True, True, False]
    assert [await store.use_token("digest-1", each) for each in (None, one.id, two.id)] == [True, True, False]
    assert not await store.use_token("digest-3")
    first, second = await store.tokens(one.id)
    assert (first.prefix, first.last_used_at, second.prefix, second.last_used_at is None) == ("prefix-2", None, "prefix-1", False)
    assert await store.revoke_tokens([two.id], second.id) == 0
    assert await store.revoke_tokens([one.id], second.id) == 1
    assert not await store.use_token("digest-1")
    assert await store.revoke_tokens([one.id, two.id]) == 1
    assert await store.tokens(one.id) == []
    assert await refused(BadId, store.has_tokens("x"))
    assert await refused(BadId, store.use_token("digest", "x"))


async def tokens_of_the_organisation(store: Store) -> None:
    token_id = await store.add_org_token("ci", "digest", "prefix", "admin-token")
    assert not await store.has_tokens()
    assert await store.use_org_token("digest")
    (token,) = await store.org_tokens()
    assert (token.id, token.name, token.created_by, token.last_used_at is None) == (token_id, "ci", "admin-token", False)
    assert [await store.revoke_org_token(token_id) for _ in range(2)] == [True, False]
    assert not await store.use_org_token("digest")
    assert await refused(BadId, store.revoke_org_token("x"))


async def activity_is_filtered_and_ordered(store: Store) -> None:
    one, two = await made(store, "one"), await made(store, "two")
    start = datetime.now(UTC).replace(microsecond=1) - timedelta(hours=1)
    lines = [
        Activity(str(uuid.UUID(int=number)), one.id, kind, start + timedelta(minutes=number), summary=str(number), **ends)
        for number, kind, ends in (
            (1, "a", {}),
            (2, "b", {"source_id": two.id}),
            (3, "a", {"target_id": two.id, "request_body": {"x": 1}}),
        )
    ]
    for line in lines:
        await store.add_activity(line)
    await store.add_activity(replace(lines[0], id=str(uuid.uuid4()), workspace_id=two.id))
    assert await refused(Unstorable, store.add_activity(lines[0]))

    async def numbers(**filters: object) -> str:
        found = await store.activities(replace(ActivityQuery(one.id), **filters))  # type: ignore[arg-type]
        return "".join(line.summary or "" for line in found)

    assert await store.activities(ActivityQuery(one.id)) == lines[::-1]
    assert [await numbers(limit=2), await numbers(activity_type="a")] == ["32", "31"]
    assert [await numbers(source="agent"), await numbers(source="canvas"), await numbers(peer_id=two.id)] == ["2", "31", "32"]
    assert [await numbers(before=lines[1].created_at), await numbers(since=lines[1].created_at)] == ["1", "32"]
    assert [await numbers(after_id=lines[0].id), await numbers(after_id=lines[0].id, limit=1)] == ["23", "2"]
    assert [await store.activity_exists(each, lines[0].id) for each in (one.id, two.id)] == [True, False]
    assert await refused(BadId, store.activity_exists(one.id, "x"))
    assert await refused(BadId, store.activities(ActivityQuery("x")))


async def purging_forgets_everything(store: Store) -> None:
    one = await made(store, "one")
    child = await made(store, "child", one)
    await store.add_token(one.id, "digest", "prefix")
    await store.add_activity(Activity(str(uuid.uuid4()), one.id, "a", datetime.now(UTC)))
    await store.purge([one.id])
    assert await store.get(one.id) is None
    assert not await store.has_tokens()
    assert await store.activities(ActivityQuery(one.id)) == []
    left = await store.get(child.id)
    assert left is not None
    assert left.parent_id is None


async def the_viewport_is_one(store: Store) -> None:
    assert await store.viewport() == Viewport(0, 0, 1)
    for view in (Viewport(1, 2, 3), Viewport(-0.5, 0, 0.25)):
        await store.save_viewport(view)
        assert await store.viewport() == view


STORIES: tuple[Story, ...] = (
    rows_come_back_as_they_went_in,
    parents_must_exist,
    lists_follow_creation_and_peers_follow_change,
    changes_touch_what_they_name,
    registering_creates_what_is_not_there,
    tokens_are_their_workspaces,
    tokens_of_the_organisation,
    activity_is_filtered_and_ordered,
    purging_forgets_everything,
    the_viewport_is_one,
)


async def keys_are_kept_and_dropped(cache: Cache) -> None:
    await cache.put("a", "1", 60)
    await cache.put("a", "2", 60)
    await cache.put("b", "3", 60)
    assert [await cache.get(key) for key in ("a", "b", "c")] == ["2", "3", None]
    await cache.drop("a", "c")
    await cache.drop()
    assert [await cache.get(key) for key in ("a", "b")] == [None, "3"]
    await cache.drop("b")
