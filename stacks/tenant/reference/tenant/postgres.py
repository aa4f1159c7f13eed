"""The rows, in PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import asyncpg

from tenant.store import (
    Activity,
    ActivityQuery,
    Changes,
    NoParent,
    StoreDown,
    Token,
    Unstorable,
    Viewport,
    Workspace,
    checked,
)
from tenant.urls import Database

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7_104_005  # advisory lock: two servers that start at once migrate one after the other
COMMAND_TIMEOUT = 10.0  # seconds for one statement
CLOSE_TIMEOUT = 3.0  # seconds for connections to end by themselves
COLUMNS = tuple(field.name for field in fields(Workspace))
# What the driver raises when the database goes away, before, in the middle of or between two statements.
AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
CHANGEABLE = frozenset(Changes.__annotations__)
_ERRNO = re.compile(r"\[Errno (\d+)\]")
READ = f"SELECT {', '.join(COLUMNS)} FROM workspaces"
ACTIVITY = tuple(field.name for field in fields(Activity))


@contextlib.asynccontextmanager
async def _trouble() -> AsyncIterator[None]:
    """Turn what the driver says into what the tenant knows; its texts can hold rows."""
    try:
        yield
    except asyncpg.ForeignKeyViolationError as failure:
        raise NoParent("no such parent") from failure
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as failure:
        raise Unstorable(type(failure).__name__) from failure  # the driver's own refusals of values are ValueErrors, too
    except AWAY as failure:
        raise StoreDown(type(failure).__name__) from failure


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _nobody_listens(failure: Exception) -> bool:
    """Say whether the port is closed: a name with several addresses fails with one text of what each of them said."""
    return isinstance(failure, ConnectionRefusedError) or (
        isinstance(failure, OSError) and str(errno.ECONNREFUSED) in _ERRNO.findall(str(failure))
    )


async def connect(where: Database, migrations: Path = MIGRATIONS) -> Postgres:
    """Open the database; ConnectionRefusedError when nobody listens, StoreDown for any other trouble."""
    try:
        pool = await asyncpg.create_pool(
            host=where.host,
            port=where.port,
            user=where.user,
            password=where.password,
            database=where.name,
            ssl="require" if where.tls else False,
            min_size=1,
            max_size=8,
            timeout=COMMAND_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            init=_prepare,
        )
    except AWAY as failure:
        if _nobody_listens(failure):
            raise ConnectionRefusedError from failure
        raise StoreDown(type(failure).__name__) from failure
    return Postgres(pool, migrations)


def _workspace(row: Any) -> Workspace:
    values = dict(row)
    for name in ("id", "parent_id"):
        values[name] = str(values[name]) if values[name] else None
    return Workspace(**values)


def _token(row: Any) -> Token:
    return Token(**{**dict(row), "id": str(row["id"])})


def _activity(row: Any) -> Activity:
    values = dict(row)
    for name in ("id", "workspace_id", "source_id", "target_id"):
        values[name] = str(values[name]) if values[name] else None
    return Activity(**values)


class Postgres:
    """A `Store` (its methods are described there) on a pool of connections."""

    def __init__(self, pool: Any, migrations: Path) -> None:
        self._pool = pool
        self._migrations = migrations

    async def _rows(self, query: str, *values: Any) -> list[Any]:
        async with _trouble():
            return list(await self._pool.fetch(query, *values))

    async def _value(self, query: str, *values: Any) -> Any:
        async with _trouble():
            return await self._pool.fetchval(query, *values)

    async def migrate(self) -> bool:
        """Apply what is missing, each file in one transaction with its record; files that undo others are never touched."""
        if not self._migrations.is_dir():
            return False
        async with _trouble(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations"
                " (filename text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
            )
            done = {row["filename"] for row in await connection.fetch("SELECT filename FROM schema_migrations")}
            for path in sorted(self._migrations.glob("*.sql")):
                if path.name not in done and not path.name.endswith(".down.sql"):
                    await connection.execute(path.read_text(encoding="utf-8"))
                    await connection.execute("INSERT INTO schema_migrations (filename) VALUES ($1)", path.name)
        return True

    async def close(self) -> None:
        # Seen: after the database cut a connection, the pool waits for it without end.
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._pool.close()
        except AWAY:
            self._pool.terminate()

    async def create(self, workspace: Workspace) -> None:
        values = {name: getattr(workspace, name) for name in COLUMNS}
        values["parent_id"] = checked(workspace.parent_id) if workspace.parent_id else None
        places = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
        await self._value(f"INSERT INTO workspaces ({', '.join(COLUMNS)}) VALUES ({places})", *values.values())

    async def get(self, workspace_id: str) -> Workspace | None:
        rows = await self._rows(f"{READ} WHERE id = $1", checked(workspace_id))
        return _workspace(rows[0]) if rows else None

    async def listing(self) -> list[Workspace]:
        return [_workspace(row) for row in await self._rows(f"{READ} WHERE status <> 'removed' ORDER BY position")]

    async def children(self, workspace_id: str) -> list[Workspace]:
        query = f"{READ} WHERE parent_id = $1 AND status <> 'removed' ORDER BY position"
        return [_workspace(row) for row in await self._rows(query, checked(workspace_id))]

    async def peers(self, workspace_id: str) -> list[Workspace]:
        query = f"""
            WITH own AS (SELECT id AS own_id, parent_id AS own_parent FROM workspaces WHERE id = $1)
            {READ}, own
            WHERE id <> own_id AND status <> 'removed'
              AND (parent_id IS NOT DISTINCT FROM own_parent OR parent_id = own_id OR id = own_parent)
            ORDER BY CASE WHEN id = own_parent THEN 3 WHEN parent_id = own_id THEN 2 ELSE 1 END, updated_at, position
        """
        return [_workspace(row) for row in await self._rows(query, checked(workspace_id))]

    async def register(self, workspace_id: str, changes: Changes) -> Workspace:
        known = checked(workspace_id)
        await self._value("INSERT INTO workspaces (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", known, known)
        await self.change(known, changes)
        workspace = await self.get(known)
        if workspace is None:
            raise StoreDown("a workspace vanished while it registered")
        return workspace

    async def change(self, workspace_id: str, changes: Changes) -> bool:
        unknown = set(changes) - CHANGEABLE
        if unknown:
            raise ValueError(f"no columns that may change: {', '.join(sorted(unknown))}")
        known, values = checked(workspace_id), dict(changes)
        if isinstance(parent := values.get("parent_id"), str):
            values["parent_id"] = checked(parent)
        sets = "".join(f", {name} = ${number}" for number, name in enumerate(values, 2))
        query = f"UPDATE workspaces SET updated_at = clock_timestamp(){sets} WHERE id = $1 RETURNING true"
        return bool(await self._value(query, known, *values.values()))

    async def purge(self, workspace_ids: list[str]) -> None:
        await self._value("DELETE FROM workspaces WHERE id = ANY($1::uuid[])", [checked(one) for one in workspace_ids])

    async def has_tokens(self, workspace_id: str | None = None) -> bool:
        if workspace_id is None:
            return bool(await self._value("SELECT EXISTS (SELECT FROM workspace_tokens)"))
        query = "SELECT EXISTS (SELECT FROM workspace_tokens WHERE workspace_id = $1)"
        return bool(await self._value(query, checked(workspace_id)))

    async def add_token(self, workspace_id: str, digest: str, prefix: str) -> None:
        query = "INSERT INTO workspace_tokens (workspace_id, digest, prefix) VALUES ($1, $2, $3)"
        await self._value(query, checked(workspace_id), digest, prefix)

    async def use_token(self, digest: str, workspace_id: str | None = None) -> bool:
        query = "UPDATE workspace_tokens SET last_used_at = clock_timestamp() WHERE digest = $1"
        if workspace_id is None:
            return bool(await self._value(f"{query} RETURNING true", digest))
        return bool(await self._value(f"{query} AND workspace_id = $2 RETURNING true", digest, checked(workspace_id)))

    async def tokens(self, workspace_id: str) -> list[Token]:
        query = "SELECT id, prefix, created_at, last_used_at FROM workspace_tokens WHERE workspace_id = $1 ORDER BY position DESC"
        return [_token(row) for row in await self._rows(query, checked(workspace_id))]

    async def revoke_tokens(self, workspace_ids: list[str], token_id: str | None = None) -> int:
        query = "DELETE FROM workspace_tokens WHERE workspace_id = ANY($1::uuid[]) AND ($2::uuid IS NULL OR id = $2) RETURNING id"
        owners = [checked(one) for one in workspace_ids]
        return len(await self._rows(query, owners, checked(token_id) if token_id else None))

    async def add_org_token(self, name: str, digest: str, prefix: str, created_by: str) -> str:
        query = "INSERT INTO org_tokens (name, digest, prefix, created_by) VALUES ($1, $2, $3, $4) RETURNING id"
        return str(await self._value(query, name, digest, prefix, created_by))

    async def use_org_token(self, digest: str) -> bool:
        query = "UPDATE org_tokens SET last_used_at = clock_timestamp() WHERE digest = $1 RETURNING true"
        return bool(await self._value(query, digest))

    async def org_tokens(self) -> list[Token]:
        query = "SELECT id, prefix, created_at, last_used_at, name, created_by FROM org_tokens ORDER BY position DESC"
        return [_token(row) for row in await self._rows(query)]

    async def revoke_org_token(self, token_id: str) -> bool:
        return bool(await self._value("DELETE FROM org_tokens WHERE id = $1 RETURNING true", checked(token_id)))

    async def add_activity(self, activity: Activity) -> None:
        values = [getattr(activity, name) for name in ACTIVITY]
        places = ", ".join(f"${number}" for number in range(1, len(ACTIVITY) + 1))
        await self._value(f"INSERT INTO activity_logs ({', '.join(ACTIVITY)}) VALUES ({places})", *values)

    async def activity_exists(self, workspace_id: str, activity_id: str) -> bool:
        query = "SELECT EXISTS (SELECT FROM activity_logs WHERE workspace_id = $1 AND id = $2)"
        return bool(await self._value(query, checked(workspace_id), checked(activity_id)))

    async def activities(self, query: ActivityQuery) -> list[Activity]:
        order = "ASC" if query.after_id else "DESC"
        text = f"""
            SELECT {", ".join(ACTIVITY)} FROM activity_logs
            WHERE workspace_id = $1
              AND ($2 = '' OR activity_type = $2)
              AND ($3 = '' OR ($3 = 'agent') = (source_id IS NOT NULL))
              AND ($4::uuid IS NULL OR source_id = $4 OR target_id = $4)
              AND ($5::timestamptz IS NULL OR created_at < $5)
              AND ($6::timestamptz IS NULL OR created_at >= $6)
              AND ($7::uuid IS NULL OR (created_at, id) > (SELECT created_at, id FROM activity_logs WHERE id = $7))
            ORDER BY created_at {order}, id {order}
            LIMIT $8
        """
        rows = await self._rows(
            text,
            checked(query.workspace_id),
            query.activity_type,
            query.source,
            uuid.UUID(query.peer_id) if query.peer_id else None,
            query.before,
            query.since,
            checked(query.after_id) if query.after_id else None,
            query.limit,
        )
        return [_activity(row) for row in rows]

    async def viewport(self) -> Viewport:
        rows = await self._rows("SELECT x, y, zoom FROM canvas_viewport")
        return Viewport(**dict(rows[0])) if rows else Viewport()

    async def save_viewport(self, viewport: Viewport) -> None:
        query = (
            "INSERT INTO canvas_viewport (x, y, zoom) VALUES ($1, $2, $3)"
            " ON CONFLICT (only_row) DO UPDATE SET x = excluded.x, y = excluded.y, zoom = excluded.zoom"
        )
        await self._value(query, viewport.x, viewport.y, viewport.zoom)
