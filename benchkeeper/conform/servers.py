"""The real servers of a play: one PostgreSQL, one Redis, and an nginx for each recorded server that was asked through the edge.

They are containers of the run. Whoever starts a tenant reaches them through relays, so that a database can go away for one tenant
while it stays for the others.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import docker

    from benchkeeper.conform.listeners import Place

USER = "harness"
KEYSPACES = 200  # Redis databases: one for each server that is started
EDGE_PORT, POSTGRES_PORT, REDIS_PORT = 8080, 5432, 6379
PATIENCE = 60.0  # seconds until a server answers
BETWEEN = 0.05
_DATABASE = re.compile(r"[a-z][a-z0-9_]{0,50}\Z")


@dataclass(frozen=True)
class Databases:
    """Where PostgreSQL and Redis are, as the player reaches them; the password is of this play."""

    postgres: Place
    redis: Place
    password: str = field(repr=False)
    user: str = USER

    async def connect(self, database: str) -> Any:
        """Open a connection of our own."""
        import asyncpg  # noqa: PLC0415 - only a play needs it

        host, port = self.postgres
        return await asyncpg.connect(host=host, port=port, user=self.user, password=self.password, database=database, ssl=False)

    async def make(self, name: str) -> str:
        """Make an empty database and return its name."""
        if not _DATABASE.match(name):
            raise ValueError(f"{name!r} cannot be a database's name")
        connection = await self.connect("molecule")
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        return name


class Servers(Protocol):
    """The servers of a play."""

    @property
    def databases(self) -> Databases:
        """PostgreSQL and Redis."""

    @property
    def gateway(self) -> str:
        """Address at which an edge reaches what listens for it here."""

    @property
    def local(self) -> frozenset[str]:
        """Addresses that servers see where a client on their own computer would be 127.0.0.1."""

    async def edge(self, config: str) -> Place:
        """Start an nginx with this configuration and return where it listens."""


def container_address(container: Any, network: str) -> str:
    """Return a container's address in a network of the run."""
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


class Containers:
    """What a play makes on the engine, all of it with the run's labels."""

    def __init__(self, client: docker.DockerClient, labels: Mapping[str, str]) -> None:
        self.client, self._labels = client, dict(labels)
        self._name = f"bk-conform-{labels['benchkeeper.run'].lower()}"

    def network(self, name: str, *, internal: bool) -> tuple[str, str]:
        """Make a network that leads nowhere; return its name and its gateway, which is this computer."""
        full = f"{self._name}-{name}"
        # The engine publishes no port of an internal network; this one masquerades nothing, so nothing sent from it is answered.
        options = {} if internal else {"com.docker.network.bridge.enable_ip_masquerade": "false"}
        labels = {**self._labels, "benchkeeper.kind": "network"}
        made = self.client.networks.create(full, driver="bridge", internal=internal, options=options, labels=labels)
        made.reload()
        return full, str(made.attrs["IPAM"]["Config"][0]["Gateway"])

    def start(
        self,
        image: str,
        network: str,
        environment: Mapping[str, str],
        command: Sequence[str] | None = None,
        publish: int | None = None,
    ) -> Any:
        """Start a container and return it."""
        return self.client.containers.run(
            image,
            list(command) if command is not None else None,
            detach=True,
            environment=dict(environment),
            labels={**self._labels, "benchkeeper.kind": "container"},
            network=network,
            ports={f"{publish}/tcp": ("127.0.0.1", 0)} if publish else {},
            cap_drop=["NET_RAW"],
            security_opt=["no-new-privileges:true"],
        )

    def published(self, container: Any, port: int) -> Place:
        """Return where a published port is, on loopback. Raises UnfitError with its last lines when the container ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            container.reload()
            for bound in (container.attrs["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp") or ():
                return str(bound["HostIp"]), int(bound["HostPort"])
            if container.status == "exited":
                break
            time.sleep(BETWEEN)
        raise UnfitError(f"a server of the play did not come up:\n{last_lines(container)}")


def last_lines(container: Any) -> str:
    """Return the end of a container's log."""
    return str(container.logs(tail=15).decode("utf-8", "replace")).strip()


class EngineServers:
    """The servers as containers of an image that has all three."""

    def __init__(self, containers: Containers, image: str) -> None:
        self._containers, self._image = containers, image
        self._door, self.gateway = "", ""
        self.local: frozenset[str] = frozenset()
        self.databases = Databases(("", 0), ("", 0), secrets.token_hex(16))

    async def up(self) -> None:
        """Start PostgreSQL and Redis and wait until they answer."""
        await asyncio.to_thread(self._up)
        await self._ready()

    def _up(self) -> None:
        self._door, self.gateway = self._containers.network("door", internal=False)
        self.local = frozenset({self.gateway})
        words = {"POSTGRES_DB": "molecule", "POSTGRES_USER": USER, "POSTGRES_PASSWORD": self.databases.password}
        self._postgres = self._containers.start(self._image, self._door, words, ["database", "serve"], POSTGRES_PORT)
        keys = ["redis-server", "--save", "", "--protected-mode", "no", "--databases", str(KEYSPACES)]
        redis = self._containers.start(self._image, self._door, {}, keys, REDIS_PORT)
        places = self._containers.published(self._postgres, POSTGRES_PORT), self._containers.published(redis, REDIS_PORT)
        self.databases = Databases(*places, self.databases.password)

    async def _ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        why = ""
        while time.monotonic() < deadline:
            # Over the network and as the owner: while it is being furnished it listens on its socket only.
            try:
                await (await self.databases.connect("molecule")).close()
                break
            except Exception as failure:  # noqa: BLE001 - whatever the driver says while the server starts
                why = type(failure).__name__
                await asyncio.sleep(BETWEEN)
        else:
            raise UnfitError(f"PostgreSQL does not answer ({why}):\n{await asyncio.to_thread(last_lines, self._postgres)}")
        statement = f'ALTER ROLE "{USER}" CREATEDB'
        done = await asyncio.to_thread(self._postgres.exec_run, ["psql", "-q", "-d", "postgres", "-c", statement], user="postgres")
        if done.exit_code != 0:
            raise UnfitError(f"the database's owner may not make databases:\n{done.output.decode('utf-8', 'replace')}")

    async def edge(self, config: str) -> Place:
        """Start an nginx and wait until it listens."""
        start = self._containers.start
        container = await asyncio.to_thread(start, self._image, self._door, {"EDGE_CONFIG": config}, ["edge"], EDGE_PORT)
        place = await asyncio.to_thread(self._containers.published, container, EDGE_PORT)
        await self._answers(place, container)
        return place

    async def _answers(self, place: Place, container: Any) -> None:
        """Wait for nginx itself: the engine's own forwarder listens before it does."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                reader, writer = await asyncio.open_connection(*place)
                writer.write(b"GET /__edge/buildinfo HTTP/1.0\r\n\r\n")
                first = await reader.readline()
                writer.close()
                if first.startswith(b"HTTP/1.1 200"):
                    return
            except OSError:
                pass
            await asyncio.sleep(BETWEEN)
        raise UnfitError(f"the edge does not answer:\n{await asyncio.to_thread(last_lines, container)}")
