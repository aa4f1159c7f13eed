"""The tenant's `Store` and `Cache` in memory, with the database's manners: UUIDs are checked, parents exist, trouble is trouble."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tenant.store import (
    Activity,
    ActivityQuery,
    CacheDown,
    Changes,
    NoParent,
    StoreDown,
    Token,
    Unstorable,
    Viewport,
    Workspace,
    checked,
)


@dataclass
class Live:
    """A token on file."""

    token: Token
    digest: str
    workspace_id: str = ""


@dataclass
class MemoryStore:
    """Rows in memory.

    Attributes:
        down: Whether the database is away.
        schema: Whether `migrate` finds anything.
    """

    down: bool = False
    schema: bool = True
    rows: dict[str, Workspace] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)
    live: list[Live] = field(default_factory=list)
    org_live: list[Live] = field(default_factory=list)
    lines: list[Activity] = field(default_factory=list)
    view: Viewport = field(default_factory=Viewport)
    ticks: int = 0

    def _up(self) -> None:
        if self.down:
            raise StoreDown

    def _touch(self, workspace_id: str) -> None:
        self.ticks += 1
        self.touched[workspace_id] = self.ticks

    async def migrate(self) -> bool:
        self.down = self.down or not self.schema
        return self.schema

    async def close(self) -> None:
        pass

    async def create(self, workspace: Workspace) -> None:
        self._up()
        if workspace.parent_id and checked(workspace.parent_id) not in self.rows:
            raise NoParent
        self.rows[workspace.id] = workspace
        self._touch(workspace.id)

    async def get(self, workspace_id: str) -> Workspace | None:
        self._up()
        return self.rows.get(checked(workspace_id))

    async def listing(self) -> list[Workspace]:
        self._up()
        return [row for row in self.rows.values() if row.status != "removed"]

    async def children(self, workspace_id: str) -> list[Workspace]:
        known = checked(workspace_id)
        return [row for row in await self.listing() if row.parent_id == known]

    async def peers(self, workspace_id: str) -> list[Workspace]:
        own = await self.get(workspace_id)
        if own is None:
            return []
        rows = [row for row in sorted(await self.listing(), key=lambda row: self.touched[row.id]) if row.id != own.id]
        above = [row for row in rows if row.id == own.parent_id]
        below = [row for row in rows if row.parent_id == own.id]
        return [*(row for row in rows if row.parent_id == own.parent_id), *below, *above]

    async def register(self, workspace_id: str, changes: Changes) -> Workspace:
        self._up()
        known = checked(workspace_id)
        self.rows.setdefault(known, Workspace(known, known))
        await self.change(known, changes)
        return self.rows[known]

    async def change(self, workspace_id: str, changes: Changes) -> bool:
        self._up()
        known = checked(workspace_id)
        if known not in self.rows:
            return False
        if changes.get("parent_id") and checked(str(changes["parent_id"])) not in self.rows:
            raise NoParent
        self.rows[known] = replace(self.rows[known], **changes)
        self._touch(known)
        return True

    async def purge(self, workspace_ids: list[str]) -> None:
        self._up()
        for one in workspace_ids:
            self.rows.pop(checked(one), None)
            self.rows = {key: replace(row, parent_id=None) if row.parent_id == one else row for key, row in self.rows.items()}
            self.live = [live for live in self.live if live.workspace_id != one]
            self.lines = [line for line in self.lines if line.workspace_id != one]

    async def has_tokens(self, workspace_id: str | None = None) -> bool:
        self._up()
        known = None if workspace_id is None else checked(workspace_id)
        return any(known in (None, live.workspace_id) for live in self.live)

    async def add_token(self, workspace_id: str, digest: str, prefix: str) -> None:
        self._up()
        self.live.append(Live(Token(str(uuid.uuid4()), prefix, datetime.now(UTC)), digest, checked(workspace_id)))

    @staticmethod
    def _use(among: list[Live], digest: str, workspace_id: str | None) -> bool:
        for live in among:
            if live.digest == digest and workspace_id in (None, live.workspace_id):
                live.token = replace(live.token, last_used_at=datetime.now(UTC))
                return True
        return False

    async def use_token(self, digest: str, workspace_id: str | None = None) -> bool:
        self._up()
        return self._use(self.live, digest, None if workspace_id is None else checked(workspace_id))

    async def tokens(self, workspace_id: str) -> list[Token]:
        self._up()
        known = checked(workspace_id)
        return [live.token for live in reversed(self.live) if live.workspace_id == known]

    async def revoke_tokens(self, workspace_ids: list[str], token_id: str | None = None) -> int:
        self._up()
        gone = [live for live in self.live if live.workspace_id in workspace_ids and token_id in (None, live.token.id)]
        self.live = [live for live in self.live if live not in gone]
        return len(gone)

    async def add_org_token(self, name: str, digest: str, prefix: str, created_by: str) -> str:
        self._up()
        token = Token(str(uuid.uuid4()), prefix, datetime.now(UTC), name=name, created_by=created_by)
        self.org_live.append(Live(token, digest))
        return token.id

    async def use_org_token(self, digest: str) -> bool:
        self._up()
        return self._use(self.org_live, digest, None)

    async def org_tokens(self) -> list[Token]:
        self._up()
        return [live.token for live in reversed(self.org_live)]

    async def revoke_org_token(self, token_id: str) -> bool:
        self._up()
        before, known = len(self.org_live), checked(token_id)
        self.org_live = [live for live in self.org_live if live.token.id != known]
        return len(self.org_live) < before

    async def add_activity(self, activity: Activity) -> None:
        self._up()
        if any(line.id == activity.id for line in self.lines):
            raise Unstorable
        self.lines.append(activity)

    async def activity_exists(self, workspace_id: str, activity_id: str) -> bool:
        self._up()
        known = (checked(workspace_id), checked(activity_id))
        return any((line.workspace_id, line.id) == known for line in self.lines)

    async def activities(self, query: ActivityQuery) -> list[Activity]:
        self._up()
        known = checked(query.workspace_id)
        kept = sorted(
            (line for line in self.lines if line.workspace_id == known and fits(line, query)),
            key=lambda line: (line.created_at, line.id),
            reverse=not query.after_id,
        )
        if query.after_id:
            mark = next((line.created_at, line.id) for line in self.lines if line.id == query.after_id)
            kept = [line for line in kept if (line.created_at, line.id) > mark]
        return kept[: query.limit]

    async def viewport(self) -> Viewport:
        self._up()
        return self.view

    async def save_viewport(self, viewport: Viewport) -> None:
        self._up()
        self.view = viewport


def fits(line: Activity, query: ActivityQuery) -> bool:
    """Say whether a line passes the filters."""
    return (
        query.activity_type in ("", line.activity_type)
        and (not query.source or (query.source == "agent") == (line.source_id is not None))
        and (not query.peer_id or query.peer_id in (line.source_id, line.target_id))
        and (query.before is None or line.created_at < query.before)
        and (query.since is None or line.created_at >= query.since)
    )


@dataclass
class MemoryCache:
    """Keys in memory; they do not run out by themselves."""

    down: bool = False
    keys: dict[str, tuple[str, int]] = field(default_factory=dict)

    def _up(self) -> None:
        if self.down:
            raise CacheDown

    async def put(self, key: str, value: str, seconds: int) -> None:
        self._up()
        self.keys[key] = (value, seconds)

    async def get(self, key: str) -> str | None:
        self._up()
        return self.keys.get(key, (None, 0))[0]

    async def drop(self, *keys: str) -> None:
        self._up()
        for key in keys:
            self.keys.pop(key, None)

    async def close(self) -> None:
        pass


def activity(number: int, workspace_id: str, at: datetime, **parts: Any) -> Activity:
    """Make the line that the recorder inserted by SQL."""
    known = {"method": "message/send", "summary": f"row {number}", "activity_type": "a2a_receive", **parts}
    return Activity(f"a0000000-0000-4000-8000-{number:012d}", workspace_id, created_at=at, **known)
