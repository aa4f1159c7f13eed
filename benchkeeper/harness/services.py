"""Services of a compose document on this computer's engine: all are made at once, and each starts when what it needs answers.

A document that this reads is one that `docker compose` reads, too (`compose.json` in the directory of a run), and the containers
carry compose's labels, so that a person can use `docker compose ps`, `logs` and `down` on them. It knows what `topology` writes.

Readiness is asked of the service itself, over its own protocol, and not of the engine's health checks: those begin a program for
every question, which on two cores costs more than the services take to start.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import struct
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import docker
import requests

from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from docker.models.containers import Container

READY = "x-ready"  # compose leaves keys that begin so alone
LOOK = 0.02  # seconds between two questions to a service that starts
STATE_LOOK = 0.5  # seconds between two looks whether its container still runs
ANSWER = 2.0  # seconds that one answer may take
TAIL = 15  # lines of a service's output in a message
_STARTUP = b"user\0harness\0database\0molecule\0\0"  # PostgreSQL's start packet says who wants what
_PROTOCOL = 196608  # PostgreSQL's protocol 3.0


class ServiceError(UnfitError):
    """A service did not come up; ``service`` is its name."""

    def __init__(self, service: str, text: str) -> None:
        super().__init__(f"{service}: {text}")
        self.service = service


class StoppedError(UnfitError):
    """Somebody asked to stop before everything was up."""


def speaks_http(address: str, port: int, path: str) -> bool:
    """Tell whether a path answers 200."""
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _says(address: str, port: int, asked: bytes) -> bytes:
    try:
        with socket.create_connection((address, port), timeout=ANSWER) as link:
            link.sendall(asked)
            return link.recv(16)
    except OSError:
        return b""


def speaks_postgres(address: str, port: int, _path: str = "") -> bool:
    """Tell whether PostgreSQL asks for a password: while it starts it refuses everybody before that."""
    return _says(address, port, struct.pack("!ii", 8 + len(_STARTUP), _PROTOCOL) + _STARTUP).startswith(b"R")


def speaks_redis(address: str, port: int, _path: str = "") -> bool:
    """Tell whether Redis answers a ping."""
    return _says(address, port, b"PING\r\n").startswith(b"+PONG")


PROBES: dict[str, Callable[[str, int, str], bool]] = {
    "http": speaks_http,
    "postgres": speaks_postgres,
    "redis": speaks_redis,
}


@dataclass
class _Gate:
    """How far one service is."""

    started: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)
    waits_for: str = ""


class Services:
    """The services of one document.

    Args:
        client: The engine.
        document: The compose document.
        environments: What is in the environment files that the document names, by service.
        stop: Asked several times a second: whether to give up.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        document: Mapping[str, Any],
        environments: Mapping[str, Mapping[str, str]],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._api = client.api
        self._document = document
        self._environments = environments
        self._stop = stop
        self._abort = threading.Event()
        self._gates: dict[str, _Gate] = {}
        self._networks: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    @property
    def project(self) -> str:
        """Name of the project."""
        return str(self._document["name"])

    def container_name(self, service: str) -> str:
        """Return the name of a service's container, as compose gives it."""
        return f"{self.project}-{service}-1"

    def up(self, timeout: float, images: Mapping[str, Callable[[], None]] | None = None) -> None:
        """Make and start everything; return when all of it answers.

        Args:
            timeout: Seconds for all of it.
            images: By image, what returns when it is there; called by whoever needs it first, once.

        Raises:
            ServiceError: One did not come up; the rest is left as it is, for its logs.
            StoppedError: `stop` said so.
        """
        self._networks = self._make_networks()
        self._run(list(self._document["services"]), timeout, dict(images or {}))

    def again(self, document: Mapping[str, Any], environments: Mapping[str, Mapping[str, str]], timeout: float) -> list[str]:
        """Make anew the services that another document describes otherwise, and return their names once they answer."""
        names = [
            name
            for name, wanted in document["services"].items()
            if wanted != self._document["services"].get(name) or environments.get(name) != self._environments.get(name)
        ]
        self._document, self._environments = document, environments
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            list(pool.map(self._remove, names))
        if names:
            self._run(names, timeout, {})
        return names

    def container(self, service: str) -> Container:
        """Return a service's container."""
        return self._client.containers.get(self.container_name(service))

    def address(self, service: str) -> str:
        """Return a service's address on the network that leads nowhere: this computer reaches it, nobody else does."""
        return address_of(self.container(service), f"{self.project}_inside")

    def _address_or_none(self, service: str) -> str:
        """Return a service's address, empty while it has none: one that ended at once has lost it again."""
        try:
            return self.address(service)
        except UnfitError:
            return ""

    def logs(self, service: str, lines: int = 10000) -> str:
        """Return the end of what a service printed, empty when there is no such container."""
        try:
            return self.container(service).logs(tail=lines).decode("utf-8", "replace")
        except (docker.errors.DockerException, requests.RequestException):
            return ""

    # Networks

    def _make_networks(self) -> dict[str, str]:
        wanted = dict(self._document["networks"])
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            made = pool.map(lambda name: self._make_network(name, wanted[name]), wanted)
            return dict(zip(wanted, made, strict=True))

    def _make_network(self, name: str, wanted: Mapping[str, Any]) -> str:
        title = f"{self.project}_{name}"
        labels = {"com.docker.compose.project": self.project, "com.docker.compose.network": name, **wanted.get("labels", {})}
        try:
            self._api.create_network(
                title,
                driver=wanted.get("driver", "bridge"),
                internal=bool(wanted.get("internal")),
                options=wanted.get("driver_opts"),
                labels=labels,
                check_duplicate=True,
            )
        except docker.errors.APIError as error:
            raise UnfitError(f"the engine makes no network for the harness: {error.explanation}") from error
        return title

    # Containers

    def _run(self, names: Collection[str], timeout: float, images: dict[str, Callable[[], None]]) -> None:
        begun = time.monotonic()
        self._abort.clear()
        for name in self._document["services"]:
            if name in names or name not in self._gates:
                self._gates[name] = _Gate()
        others = [gate for name, gate in self._gates.items() if name not in names]
        for gate in others:
            gate.started.set()
            gate.ready.set()
        deadline = begun + timeout
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            jobs = [pool.submit(self._bring, name, begun, deadline, images) for name in names]
            done, _open = wait(jobs, return_when=FIRST_EXCEPTION)
            failed = [job.exception() for job in done if job.exception()]
            if failed:
                self._abort.set()
        errors = [error for job in jobs if (error := job.exception()) is not None]
        # Who gave up because another failed has nothing to tell.
        told = [error for error in errors if not isinstance(error, StoppedError)]
        for error in told or errors:
            raise error

    def _bring(self, name: str, begun: float, deadline: float, images: Mapping[str, Callable[[], None]]) -> None:
        wanted, gate = self._document["services"][name], self._gates[name]
        try:
            if wanted["image"] in images:
                gate.waits_for = f"image {wanted['image']}"
                images[wanted["image"]]()
            identity = self._create(name, wanted)
            for other, how in wanted.get("depends_on", {}).items():
                gate.waits_for = other
                event = self._gates[other].ready if how["condition"] == "service_healthy" else self._gates[other].started
                while not event.wait(0.1):
                    self._check(name, deadline)
            gate.waits_for = ""
            self._check(name, deadline)
            self._api.start(identity)
            gate.started.set()
            self._await(name, wanted, identity, deadline)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise ServiceError(name, _explained(error)) from error
        self.seconds[name] = time.monotonic() - begun
        gate.ready.set()

    def _create(self, name: str, wanted: Mapping[str, Any]) -> str:
        first, *others = wanted["networks"]
        written = {key: value.replace("$$", "$") for key, value in wanted.get("environment", {}).items()}  # as compose reads it
        environment = {**self._environments.get(name, {}), **written}
        ports = wanted.get("ports", [])
        bindings: dict[int | str, Any] = {int(one["target"]): (one["host_ip"], one.get("published")) for one in ports}
        config = self._api.create_host_config(
            cap_drop=wanted.get("cap_drop"),
            security_opt=wanted.get("security_opt"),
            network_mode=self._networks_of(first),
            port_bindings=bindings or None,
            restart_policy={"Name": "no"},
        )
        endpoints: dict[str, Any] = {self._networks_of(first): self._api.create_endpoint_config(aliases=[name])}
        made = self._api.create_container(
            wanted["image"],
            command=wanted.get("command"),
            name=self.container_name(name),
            environment=environment,
            ports=list(bindings),
            labels={
                "com.docker.compose.project": self.project,
                "com.docker.compose.service": name,
                "com.docker.compose.container-number": "1",
                "com.docker.compose.oneoff": "False",
                "com.docker.compose.config-hash": hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest(),
                **wanted["labels"],
            },
            host_config=config,
            networking_config={"EndpointsConfig": endpoints},  # what the library's own helper makes
            stop_signal=wanted.get("stop_signal"),
        )
        for other in others:
            self._api.connect_container_to_network(made["Id"], self._networks_of(other), aliases=[name])
        return str(made["Id"])

    def _networks_of(self, name: str) -> str:
        return f"{self.project}_{name}"

    def _remove(self, name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self._api.remove_container(self.container_name(name), force=True, v=True)

    def _check(self, name: str, deadline: float) -> None:
        if self._stop() or self._abort.is_set():
            raise StoppedError("stopped before everything was up")
        if time.monotonic() > deadline:
            waits = self._gates[name].waits_for
            raise ServiceError(name, f"did not come up in time{f', it waited for {waits}' if waits else ''}")

    def _await(self, name: str, wanted: Mapping[str, Any], identity: str, deadline: float) -> None:
        ready = wanted.get(READY)
        if not ready:
            return
        probe = PROBES[ready["speaks"]]
        self._gates[name].waits_for = f"{ready['speaks']} on port {ready['port']}"
        looked, address = time.monotonic(), self._address_or_none(name)
        while not (address and probe(address, int(ready["port"]), str(ready.get("path", "")))):
            if not address or time.monotonic() - looked > STATE_LOOK:
                looked, address = time.monotonic(), self._address_or_none(name)
                state = self._api.inspect_container(identity)["State"]
                if not state["Running"]:
                    words = self.logs(name, TAIL).strip()
                    raise ServiceError(name, f"ended with exit code {state['ExitCode']} while it started:\n{words}")
            try:
                self._check(name, deadline)
            except ServiceError as error:
                raise ServiceError(name, f"{str(error).partition(': ')[2]}:\n{self.logs(name, TAIL).strip()}") from None
            time.sleep(LOOK)
        self._gates[name].waits_for = ""


def address_of(container: Container, network: str) -> str:
    """Return a container's address in a network. Raises UnfitError when it has none."""
    networks: Mapping[str, Any] = container.attrs["NetworkSettings"]["Networks"]
    address = str((networks.get(network) or {}).get("IPAddress") or "")
    if not address:
        raise UnfitError(f"{container.name} has no address in {network}: it does not run")
    return address


def _explained(error: Exception) -> str:
    if isinstance(error, docker.errors.APIError):
        return str(error.explanation or error)
    if isinstance(error, requests.RequestException):
        return "the engine does not answer any more"
    return str(error)


def published(container: Container, port: int) -> int:
    """Return the loopback port of this computer at which a container's port is. Raises UnfitError when there is none."""
    bound: Sequence[Mapping[str, str]] = (container.attrs["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp") or ()
    for one in bound:
        if one["HostIp"] == "127.0.0.1":
            return int(one["HostPort"])
    raise UnfitError(f"{container.name} has no port on loopback")
