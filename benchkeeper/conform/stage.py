"""One server of a play with its own surroundings: taps, relays, database, keys, and its edge. A `player.Stage`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchkeeper.conform import compare, notes, wire
from benchkeeper.conform.kinds import free_port
from benchkeeper.conform.listeners import Listener, Place, Tap
from benchkeeper.conform.player import LIMIT, UnplayableError
from benchkeeper.conform.surroundings import Addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from benchkeeper.conform.kinds import Kind, Running
    from benchkeeper.conform.recording import Case
    from benchkeeper.conform.servers import Databases
    from benchkeeper.conform.symbols import Symbols

ARRIVE_LIMIT = 3.0  # seconds for what upstreams still have to receive
QUIET = 0.1  # seconds without traffic after which a request's work is over
LATER_QUIET = 0.25  # the same where a start goes on behind the answer
QUIET_LIMIT = 5.0
LOOK = 0.01
AT_ONCE = 1.0  # seconds
READS = ("GET", "HEAD", "OPTIONS")
FORWARDED = frozenset({"x-forwarded-for", "x-real-ip"})
OWN_TABLES = "the tables and migrations of this kind are its own, not the recorded program's"
SCHEMA = {
    "migrations_recorded": "SELECT count(*)::int FROM schema_migrations",
    "down_files_recorded": "SELECT count(*)::int FROM schema_migrations WHERE filename LIKE '%.down.sql'",
    "first": "SELECT min(filename) FROM schema_migrations",
    "last": "SELECT max(filename) FROM schema_migrations",
    "pgvector_installed": "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')",
}
TRACKING = (
    "SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = 'schema_migrations'"
    " ORDER BY ordinal_position"
)
TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


@dataclass(frozen=True)
class Backs:
    """What stands behind the taps and relays of all servers of a play.

    Attributes:
        stub: The control-plane stub.
        canvas: The UI.
        databases: PostgreSQL and Redis.
        local: Addresses that are seen where a client on the server's own computer would be 127.0.0.1.
    """

    stub: Place
    canvas: Place
    databases: Databases
    local: frozenset[str]


class Around:
    """The surroundings of one server."""

    def __init__(self, address: str, backs: Backs, database: str, keyspace: int) -> None:
        self._noted: list[compare.Saw] = []
        self.backs, self.database, self.keyspace = backs, database, keyspace
        self.plane = Tap("cp", address, backs.stub, self._noted)
        self.canvas = Tap("canvas", address, backs.canvas, self._noted)
        self.postgres = Listener(address, backs.databases.postgres)
        self.redis = Listener(address, backs.databases.redis)
        self._address = address

    @property
    def _by_name(self) -> dict[str, Listener]:
        return {notes.CONTROL_PLANE: self.plane, notes.CANVAS: self.canvas, notes.POSTGRES: self.postgres, notes.REDIS: self.redis}

    async def up(self) -> None:
        """Let everything listen."""
        for one in self._by_name.values():
            await one.mend()

    async def end(self) -> None:
        """Let nothing listen any more."""
        for one in self._by_name.values():
            await one.cut()

    @property
    def hosts(self) -> dict[str, str]:
        """Where the upstreams are."""
        return {"cp": self.plane.place, "canvas": self.canvas.place}

    @property
    def addresses(self) -> Addresses:
        """Where everything is, for the server."""
        databases = self.backs.databases
        return Addresses(
            control_plane=self.plane.place,
            canvas=self.canvas.place,
            postgres=self.postgres.place,
            redis=self.redis.place,
            dead=f"{self._address}:{free_port()}",
            database=self.database,
            credentials=f"{databases.user}:{databases.password}",
            keyspace=self.keyspace,
        )

    async def arrange(self, needs: notes.Needs) -> None:
        """Make them such as a case needs them, and everything else whole."""
        for name, one in self._by_name.items():
            await (one.cut() if name in needs.down else one.mend())
        self.plane.scripts = needs.scripts
        if needs.wait:
            await asyncio.sleep(needs.wait)

    def forget(self) -> None:
        """Begin anew to note."""
        self._noted.clear()

    def saw(self) -> list[compare.Saw]:
        """What upstreams received, as if the server and its clients were on one computer, as recorded."""
        return [replace(one, headers=[(name, self._here(name, value)) for name, value in one.headers]) for one in self._noted]

    def _here(self, name: str, value: str) -> str:
        if name.lower() not in FORWARDED:
            return value
        return ", ".join("127.0.0.1" if hop in self.backs.local else hop for hop in value.split(", "))

    @property
    def touched(self) -> float:
        """When something last passed."""
        return max(one.touched for one in self._by_name.values())


async def until(done: Callable[[], bool], limit: float) -> None:
    """Wait until something is so, at most so many seconds; whoever asks looks again."""
    deadline = time.monotonic() + limit
    while True:
        if done() or time.monotonic() >= deadline:
            return
        await asyncio.sleep(LOOK)


async def no_way(where: str) -> bool:
    """Say whether a connection fails at once, without one being there."""
    host, _, port = where.partition(":")
    try:
        async with asyncio.timeout(AT_ONCE):
            _reader, writer = await asyncio.open_connection(host, int(port or 80))
    except TimeoutError:
        return False
    except OSError:
        return True
    writer.close()
    return False


class RealStage:
    """A server with its surroundings.

    Args:
        around: Its surroundings.
        running: The server.
        kind: Its kind.
        edge: Where its edge is, None without one.
    """

    def __init__(self, around: Around, running: Running, kind: Kind, edge: Place | None = None) -> None:
        self._around, self._running, self._kind, self._edge = around, running, kind, edge
        self._begun = 0.0

    @property
    def hosts(self) -> dict[str, str]:
        """See `player.Stage`."""
        return self._around.hosts

    async def arrange(self, needs: notes.Needs) -> None:
        """See `player.Stage`."""
        if needs.nowhere and not self._kind.closed and not await no_way(needs.nowhere):
            raise UnplayableError(f"there is a way to {needs.nowhere} from this computer, and the recorder had none")
        await self._around.arrange(needs)

    async def insert(self, rows: Sequence[notes.Row]) -> None:
        """See `player.Stage`."""
        now = datetime.now(UTC)
        values = [
            (row.id, row.workspace_id, row.activity_type, row.source_id, row.method, row.summary, now - timedelta(seconds=row.age))
            for row in rows
        ]
        names = "id, workspace_id, activity_type, source_id, method, summary, created_at"
        await self._sql(
            lambda connection: connection.executemany(
                f"INSERT INTO activity_logs ({names}) VALUES ($1, $2, $3, $4, $5, $6, $7)",  # noqa: S608 - no value in it
                values,
            ),
        )

    async def _sql(self, ask: Any) -> Any:
        databases = self._around.backs.databases
        try:
            connection = await databases.connect(self._around.database)
            try:
                return await ask(connection)
            finally:
                await connection.close()
        except Exception as failure:
            # The driver's texts hold rows.
            raise UnplayableError(
                f"the database refused what has to be arranged or looked at: {type(failure).__name__}"
            ) from failure

    def saw(self) -> list[compare.Saw]:
        """See `player.Stage`."""
        return self._around.saw()

    def forget(self) -> None:
        """See `player.Stage`."""
        self._around.forget()
        self._begun = time.monotonic()

    def _place(self, case: Case) -> Place:
        if case.via != "edge":
            return self._running.place
        if self._edge is None:
            raise UnplayableError("there is no edge in front of it")
        return self._edge

    async def send(self, case: Case, symbols: Symbols) -> wire.Answer:
        """See `player.Stage`."""
        host, port = self._place(case)
        return await wire.exchange(port, case.request.method, wire.encode(case.request, symbols), LIMIT, host)

    @contextlib.asynccontextmanager
    async def stream(self, case: Case, symbols: Symbols) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """See `player.Stage`."""
        host, port = self._place(case)
        async with wire.opened(port, host) as (reader, writer):
            writer.write(wire.encode(case.request, symbols))
            yield reader, writer

    def passed(self, _case: Case, headers: wire.Headers) -> wire.Headers:
        """See `player.Stage`."""
        return headers

    async def settle(self, case: Case) -> None:
        """Wait for what upstreams still have to receive, then until the server asks nobody anything any more."""
        around = self._around
        if case.later:
            await until(lambda: len(around.saw()) >= len(case.upstream_saw), ARRIVE_LIMIT)
        if case.request.method in READS or around.touched < self._begun:
            return
        # What was learnt behind an answer is written down: a start that nobody noted in the database is not over.
        behind = case.later or any(saw.get("path") == notes.PROVISION[1] for saw in case.upstream_saw)
        if behind:
            await until(lambda: around.postgres.touched >= around.plane.touched, QUIET_LIMIT)
        quiet = LATER_QUIET if behind or case.group == "cp-client" else QUIET
        await until(lambda: time.monotonic() - around.touched >= quiet, QUIET_LIMIT)

    async def keys(self, prefix: str) -> dict[str, tuple[str, int]]:
        """See `player.Stage`."""
        import redis.asyncio  # noqa: PLC0415 - only a play needs it

        host, port = self._around.backs.databases.redis
        client = redis.asyncio.Redis(host=host, port=port, db=self._around.keyspace, decode_responses=True)
        try:
            found = {}
            async for name in client.scan_iter(match=f"{prefix}*"):
                found[str(name)] = (str(await client.get(name)), int(await client.ttl(name)))
            return found
        finally:
            await client.aclose()

    async def tables(self) -> dict[str, Any]:
        """See `player.Stage`."""
        if self._kind.facts.own_tables:
            raise UnplayableError(OWN_TABLES)

        async def ask(connection: Any) -> dict[str, Any]:
            found = {name: await connection.fetchval(query) for name, query in SCHEMA.items()}
            found["tracking_columns"] = [row[0] for row in await connection.fetch(TRACKING)]
            found["tables"] = [row[0] for row in await connection.fetch(TABLES)]
            return found

        return dict(await self._sql(ask))


class DistantStage:
    """A server that somebody else runs: it can be asked, and nothing else. A `player.Stage`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.hosts: dict[str, str] = {}

    async def arrange(self, needs: notes.Needs) -> None:
        """See `player.Stage`."""
        if needs != notes.NOTHING:
            raise UnplayableError("it needs surroundings that nobody can change here")

    async def insert(self, rows: Sequence[notes.Row]) -> None:
        """See `player.Stage`."""
        raise UnplayableError(f"{len(rows)} rows would have to be inserted into its database")

    def saw(self) -> list[compare.Saw]:
        """See `player.Stage`."""
        return []

    def forget(self) -> None:
        """Nothing was noted."""

    def _check(self, case: Case) -> None:
        if case.via != "direct":
            raise UnplayableError("it was recorded through an edge, and there is none of ours in front of it")
        if case.upstream_saw:
            raise UnplayableError("what its upstreams receive cannot be seen")

    async def send(self, case: Case, symbols: Symbols) -> wire.Answer:
        """See `player.Stage`."""
        self._check(case)
        return await wire.exchange(self._place[1], case.request.method, wire.encode(case.request, symbols), LIMIT, self._place[0])

    @contextlib.asynccontextmanager
    async def stream(self, case: Case, symbols: Symbols) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """See `player.Stage`."""
        self._check(case)
        async with wire.opened(self._place[1], self._place[0]) as (reader, writer):
            writer.write(wire.encode(case.request, symbols))
            yield reader, writer

    def passed(self, _case: Case, headers: wire.Headers) -> wire.Headers:
        """See `player.Stage`."""
        return headers

    async def settle(self, _case: Case) -> None:
        """Nobody knows when it is done."""

    async def keys(self, _prefix: str) -> dict[str, tuple[str, int]]:
        """See `player.Stage`."""
        raise UnplayableError("its Redis cannot be looked into")

    async def tables(self) -> dict[str, Any]:
        """See `player.Stage`."""
        raise UnplayableError("its database cannot be looked into")
