"""Starts a backend and hands it out only when both of its ports answer.

Three things went wrong where this comes from: options that were applied last could overwrite the label that says whose the engines
are; only the HTTP port was waited for; a backend that had crashed was noticed after a minute, without its logs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from spawner.engine import Engine, EngineFailure
from spawner.push import answers
from spawner.settings import OWNERSHIP

HTTP, PUSH = "8080/tcp", "8081/tcp"
RESERVED = frozenset({*OWNERSHIP, "BACKEND_STACK_LABEL", "BACKEND_GAME_STATE_ROOT", "BACKEND_DOCKER_NETWORK", "DOCKER_HOST"})
"""What ties the backend's engines to their run; nobody may overwrite it, be it with nothing."""


class Refused(Exception):
    """The options would start something that nobody owns, or that somebody else does. Nothing was made."""


class NotReady(Exception):
    """The backend ended, or was not ready in time; the message says which port was waited for, and what it said last."""


@dataclass(frozen=True)
class Options:
    """How a backend is started.

    Attributes:
        image: Its image.
        game_image: Image of the engines that it starts.
        labels: The ownership triple; goes on the backend, and through it on every engine.
        stack_label: What `galaxy.stack` says.
        state_directory: A directory of this start alone, made by the caller; the same path inside.
        socket: What the backend uses as the engine's socket, on the engine's host.
        network: Network that backend and engines join; empty for none.
        extra: Further environment.
    """

    image: str
    game_image: str
    labels: Mapping[str, str]
    stack_label: str
    state_directory: str
    socket: str
    network: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """A backend that is ready: its container, and where its ports are on this computer."""

    container: str
    http: tuple[str, int]
    push: tuple[str, int]


def environment(options: Options) -> dict[str, str]:
    """Return the environment of the backend.

    Raises:
        Refused: When a label of the triple is missing or empty, or when the extra environment touches what is reserved.
    """
    lacking = [label for label in OWNERSHIP.values() if not options.labels.get(label)]
    if lacking:
        raise Refused(f"a backend without {', '.join(lacking)} would make engines that nobody owns")
    touched = sorted(RESERVED & {name.upper() for name in options.extra})
    if touched:
        raise Refused(f"the extra environment may not set {', '.join(touched)}")
    return {
        **options.extra,
        **{name: options.labels[label] for name, label in OWNERSHIP.items()},
        "BACKEND_HTTP_LISTEN_ADDR": ":8080",
        "BACKEND_GRPC_PUSH_LISTEN_ADDR": ":8081",
        "BACKEND_STACK_LABEL": options.stack_label,
        "BACKEND_GAME_STATE_ROOT": options.state_directory,
        "BACKEND_GAME_IMAGE": options.game_image,
        "BACKEND_DOCKER_NETWORK": options.network,
        "DOCKER_HOST": "unix:///var/run/docker.sock",
    }


def body(options: Options) -> dict[str, Any]:
    """Return what the engine is asked to make. Raises Refused."""
    loopback = [{"HostIp": "127.0.0.1", "HostPort": ""}]
    state = options.state_directory
    return {
        "Image": options.image,
        "Labels": {**options.labels, "benchkeeper.kind": "container"},
        "Env": [f"{name}={value}" for name, value in sorted(environment(options).items())],
        "ExposedPorts": {HTTP: {}, PUSH: {}},
        "User": "0:0",
        "HostConfig": {
            "Binds": [f"{options.socket}:/var/run/docker.sock", f"{state}:{state}"],
            "PortBindings": {HTTP: loopback, PUSH: loopback},
            "NetworkMode": options.network or "bridge",
        },
    }


async def start(engine: Engine, name: str, options: Options, deadline: float = 60.0) -> Backend:
    """Start a backend and return it when it is ready; one that does not become ready is removed.

    Args:
        engine: Where.
        name: Name of its container.
        options: How.
        deadline: Seconds.

    Raises:
        Refused: Before anything was made.
        NotReady: With the reason and the last lines of its log.
        EngineFailure: When the engine refuses.
    """
    container = await engine.create(name, body(options))
    try:
        await engine.start(container)
        return await ready(engine, container, deadline)
    except BaseException:
        await engine.remove(container)
        raise


async def ready(engine: Engine, container: str, deadline: float) -> Backend:
    """Wait until both ports of a container answer; end early when it ended."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + deadline
    http = push = False
    while True:
        document = await engine.inspect(container)
        if not document["State"]["Running"]:
            why = f"it ended with {document['State'].get('ExitCode')} before it was ready"
            raise NotReady(f"{why}; it said: {await _said(engine, container)}")
        ports = (document.get("NetworkSettings") or {}).get("Ports") or {}
        where = {inner: _published(ports, inner) for inner in (HTTP, PUSH)}
        http, push = await asyncio.gather(_healthy(where[HTTP]), _speaks(where[PUSH]))
        if http and push:
            return Backend(container, where[HTTP] or ("", 0), where[PUSH] or ("", 0))
        if loop.time() >= limit:
            pending = [name for name, there in (("HTTP /healthz on 8080", http), ("gRPC push on 8081", push)) if not there]
            why = f"not ready within {deadline:g} s, still waiting for {' and '.join(pending)}"
            raise NotReady(f"{why}; it said: {await _said(engine, container)}")
        await asyncio.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - jitter


def _published(ports: Mapping[str, Any], inner: str) -> tuple[str, int] | None:
    bindings = ports.get(inner) or []
    return (str(bindings[0]["HostIp"]), int(bindings[0]["HostPort"])) if bindings else None


async def _healthy(where: tuple[str, int] | None) -> bool:
    if where is None:
        return False
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session,
            session.get(f"http://{where[0]}:{where[1]}/healthz") as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def _speaks(where: tuple[str, int] | None) -> bool:
    return where is not None and await answers(*where)


async def _said(engine: Engine, container: str) -> str:
    try:
        return (await engine.logs(container)).strip() or "nothing"
    except EngineFailure as error:
        return f"(no log: {error})"
