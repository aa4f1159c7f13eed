"""What the tenant keeps, as interfaces: rows behind `Store` (PostgreSQL), short-lived keys behind `Cache` (Redis)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypedDict


class StoreError(Exception):
    """The store cannot do it. The text holds no row, no query and no credential."""


class StoreDown(StoreError):
    """The database does not answer, or has no schema."""


class BadId(StoreError):
    """An id that is no UUID."""


class NoParent(StoreError):
    """A parent that does not exist."""


class Unstorable(StoreError):
    """A value that no column can hold."""


class CacheDown(Exception):
    """Redis does not answer."""


def checked(text: str) -> str:
    """Give a UUID in its usual form; BadId when it is none."""
    try:
        return str(uuid.UUID(text))
    except ValueError as failure:
        raise BadId("an id that is no UUID") from failure


def is_id(text: str) -> bool:
    """Say whether this is a UUID."""
    try:
        checked(text)
    except BadId:
        return False
    return True


@dataclass(frozen=True)
class Workspace:
    """One workspace.

    Attributes:
        id: UUID.
        name: What people call it.
        role: What it does, None when nobody said.
        tier: Size class, 1 and up.
        parent_id: UUID of the workspace above, None at the top.
        runtime: What runs in it; `external` means that somebody else runs it.
        status: provisioning, online, degraded, offline, paused, failed, awaiting_agent or removed.
        url: Where its agent listens, empty when unknown or polling.
        delivery_mode: push or poll.
        agent_card: What the agent says about itself, any JSON.
        active_tasks: Tasks at the last heartbeat.
        current_task: Text of the last heartbeat.
        last_error_rate: Share of failed tasks at the last heartbeat, 0 to 1.
        last_sample_error: One error, or why provisioning failed.
        uptime_seconds: Age of the agent at the last heartbeat.
        budget_limit: Monthly limit in the product's unit, None without.
        workspace_dir: Directory on the host, None without.
        workspace_access: none, read_only or read_write.
        instance_id: Name at the control plane, empty when it gave none.
        inbound_secret: What the platform presents to the agent. Empty until the first registration.
        x: Place on the canvas.
        y: Place on the canvas.
    """

    id: str
    name: str
    role: str | None = None
    tier: int = 1
    parent_id: str | None = None
    runtime: str = "langgraph"
    status: str = "provisioning"
    url: str = ""
    delivery_mode: str = "push"
    agent_card: Any = None
    active_tasks: int = 0
    current_task: str = ""
    last_error_rate: float = 0
    last_sample_error: str = ""
    uptime_seconds: int = 0
    budget_limit: int | None = None
    workspace_dir: str | None = None
    workspace_access: str = "none"
    instance_id: str = ""
    inbound_secret: str = ""
    x: float = 0
    y: float = 0


class Changes(TypedDict, total=False):
    """Columns of a workspace that may change, and to what."""

    name: str
    role: str | None
    tier: int
    parent_id: str | None
    status: str
    url: str
    delivery_mode: str
    agent_card: Any
    active_tasks: int
    current_task: str
    last_error_rate: float
    last_sample_error: str
    uptime_seconds: int
    budget_limit: int | None
    instance_id: str
    inbound_secret: str
    x: float
    y: float


@dataclass(frozen=True)
class Token:
    """A credential on file; of its secret only the digest is kept.

    Attributes:
        id: UUID.
        prefix: Its first eight characters, for people.
        created_at: When it was made.
        last_used_at: When it was last presented, None when never.
        name: What an organisation's token is for.
        created_by: Who made an organisation's token.
    """

    id: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None = None
    name: str = ""
    created_by: str = ""


@dataclass(frozen=True)
class Activity:
    """One line of what a workspace did."""

    id: str
    workspace_id: str
    activity_type: str
    created_at: datetime
    method: str | None = None
    source_id: str | None = None
    target_id: str | None = None
    summary: str | None = None
    status: str = "ok"
    duration_ms: int | None = None
    error_detail: str | None = None
    request_body: Any = None
    response_body: Any = None


@dataclass(frozen=True)
class ActivityQuery:
    """Which lines to give.

    Attributes:
        workspace_id: Whose.
        limit: At most so many.
        activity_type: Only of this type; empty: all.
        source: `agent` (has a source), `canvas` (has none), or empty.
        peer_id: Only those from or to this workspace; empty: all.
        before: Only strictly older ones.
        since: Only those not older.
        after_id: Only those after this line, oldest first; otherwise newest first.
    """

    workspace_id: str
    limit: int = 100
    activity_type: str = ""
    source: str = ""
    peer_id: str = ""
    before: datetime | None = None
    since: datetime | None = None
    after_id: str = ""


@dataclass(frozen=True)
class Viewport:
    """Where the canvas looks."""

    x: float = 0
    y: float = 0
    zoom: float = 1


class Store(Protocol):
    """Rows. Every method may raise StoreDown; ids that are no UUID raise BadId."""

    async def create(self, workspace: Workspace) -> None:
        """Add a workspace; NoParent when its parent is not there."""

    async def get(self, workspace_id: str) -> Workspace | None:
        """Give one, removed ones included."""

    async def listing(self) -> list[Workspace]:
        """Give all that are not removed, in the order of their creation."""

    async def children(self, workspace_id: str) -> list[Workspace]:
        """Give those directly below that are not removed, in the order of their creation."""

    async def peers(self, workspace_id: str) -> list[Workspace]:
        """Give siblings, children and the parent that are not removed: each group by its last change."""

    async def register(self, workspace_id: str, changes: Changes) -> Workspace:
        """Apply the changes of a registration; an unknown id becomes a workspace of that name."""

    async def change(self, workspace_id: str, changes: Changes) -> bool:
        """Apply changes; False when there is no such workspace."""

    async def purge(self, workspace_ids: list[str]) -> None:
        """Forget workspaces, with everything that belongs to them."""

    async def has_tokens(self, workspace_id: str | None = None) -> bool:
        """Say whether this workspace, or any, has a live token."""

    async def add_token(self, workspace_id: str, digest: str, prefix: str) -> None:
        """Put a workspace's token on file."""

    async def use_token(self, digest: str, workspace_id: str | None = None) -> bool:
        """Say whether this is a live token of the workspace, or of any, and note its use."""

    async def tokens(self, workspace_id: str) -> list[Token]:
        """Give the live tokens of a workspace, newest first."""

    async def revoke_tokens(self, workspace_ids: list[str], token_id: str | None = None) -> int:
        """Revoke one token, or all, of these workspaces; give how many."""

    async def add_org_token(self, name: str, digest: str, prefix: str, created_by: str) -> str:
        """Put an organisation's token on file; give its id."""

    async def use_org_token(self, digest: str) -> bool:
        """Say whether this is a live token of the organisation, and note its use."""

    async def org_tokens(self) -> list[Token]:
        """Give the organisation's live tokens, newest first."""

    async def revoke_org_token(self, token_id: str) -> bool:
        """Revoke one; False when there is none."""

    async def add_activity(self, activity: Activity) -> None:
        """Write a line."""

    async def activity_exists(self, workspace_id: str, activity_id: str) -> bool:
        """Say whether the workspace has this line."""

    async def activities(self, query: ActivityQuery) -> list[Activity]:
        """Give lines."""

    async def viewport(self) -> Viewport:
        """Give the canvas's viewport."""

    async def save_viewport(self, viewport: Viewport) -> None:
        """Keep it."""

    async def close(self) -> None:
        """Let go of the database."""


class Cache(Protocol):
    """Short-lived keys. Every method may raise CacheDown."""

    async def put(self, key: str, value: str, seconds: int) -> None:
        """Set a key for so long."""

    async def get(self, key: str) -> str | None:
        """Give a key's value, None when it is not there."""

    async def drop(self, *keys: str) -> None:
        """Remove keys."""

    async def close(self) -> None:
        """Let go of Redis."""
