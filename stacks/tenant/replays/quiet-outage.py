#!/usr/bin/env python3
# /// replay
# issue: "contract 12: auth"
# bug_class: trouble of ours that looks like a mistake of the client
# timeout: 60
# needs: own-tenant
# break: { tenant: [quiet-outage] }
# ///
"""When the database is away every route says so, in the same words, and when it is back everything goes on by itself.

It is taken away as its owner can: nobody may connect any more, and who is connected is cut off. It is given back whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from _harness import Replay, SkipError, Tenant, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TIMEOUT = 10.0  # seconds for one statement
GO = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user"


async def _tell(url: str, statements: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    import asyncpg  # noqa: PLC0415 - only where there is a database to look into

    # From beside it: nobody can shut the database that they are in.
    beside = urlsplit(url)._replace(path="/postgres").geturl()
    connection = await asyncpg.connect(beside, timeout=TIMEOUT, command_timeout=TIMEOUT)
    try:
        for text, values in statements:
            await connection.execute(text, *values)
    finally:
        await connection.close()


@contextlib.contextmanager
def away(url: str) -> Iterator[None]:
    """Let a database be away for a while."""
    name = urlsplit(url).path.lstrip("/")
    quoted = '"' + name.replace('"', '""') + '"'
    shut, opened = (f"ALTER DATABASE {quoted} WITH ALLOW_CONNECTIONS {word}" for word in ("false", "true"))
    try:
        asyncio.run(_tell(url, [(shut, ()), (GO, (name,))]))
        yield
    finally:
        asyncio.run(_tell(url, [(opened, ())]))


def seen(tenant: Tenant, asked: Sequence[tuple[str, str, str]]) -> dict[str, tuple[int, str]]:
    """Return status and code of each request, by method and path with the id taken out."""
    found = {}
    for method, path, token in asked:
        answer = tenant.call(method, path, {"workspace_id": path} if method == "POST" else None, token=token)
        said = answer.json if isinstance(answer.json, dict) else {}
        found[f"{method} {path}"] = (answer.status, str(said.get("code", "")))
    return found


def play(replay: Replay) -> None:
    """Look before, while and after."""
    tenant = replay.own()
    if not (tenant.database and tenant.token):
        raise SkipError("OWN_DATABASE_FILE or OWN_TOKEN_FILE is not given")
    workspace = replay.workspace(tenant)
    token = replay.agent_token(tenant, workspace)
    asked = (
        ("GET", "/workspaces", tenant.token),
        ("GET", f"/workspaces/{workspace}", ""),
        ("GET", f"/workspaces/{workspace}/activity", token),
        ("GET", f"/workspaces/{workspace}/tokens", token),
        ("GET", f"/workspaces/{workspace}/state", token),
        ("GET", f"/registry/{workspace}/peers", token),
        ("GET", "/canvas/viewport", ""),
    )
    for what, got in seen(tenant, asked).items():
        replay.check(got[0] == 200, f"{what} works before ({got[0]})")
    with away(tenant.database):
        for what, got in seen(tenant, asked).items():
            replay.check(got == (503, "platform_unavailable"), f"{what} says that the database is away ({got})")
        health = tenant.call("GET", "/health", org="", token="").status
        replay.check(health == 200, f"the process itself is healthy ({health})")
    until(lambda: all(got[0] == 200 for got in seen(tenant, asked).values()), "all of it works again when the database is back")
    replay.check(condition=True, message="all of it works again when the database is back")


run(play)
