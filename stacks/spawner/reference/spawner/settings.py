"""What the backend is told by its environment, judged before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

OWNERSHIP = {
    "BENCHKEEPER_OWNER": "benchkeeper.owner",
    "BENCHKEEPER_STACK": "benchkeeper.stack",
    "BENCHKEEPER_RUN": "benchkeeper.run",
}
"""Variables that hand the ownership triple to whatever the backend makes, and their labels."""
BREAKS = ("no-ownership", "never-ready", "exit-at-once", "push-never", "push-late")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


class SettingsError(Exception):
    """The environment cannot be used; the message names the variable."""


@dataclass(frozen=True)
class Settings:
    """Everything the backend knows when it starts.

    Attributes:
        http: Address of the API, (host, port).
        push: Address of the gRPC push port.
        stack: Value of the label `galaxy.stack`.
        network: Network that engines join; empty for none.
        state_root: Directory for games; the same path for the engine's host and for us.
        socket: The container engine's socket.
        image: Image of a game's engine.
        ownership: Labels of the ownership triple.
        reconcile: Seconds between two looks at the engines.
        breaks: Planted faults, with their argument.
    """

    http: tuple[str, int]
    push: tuple[str, int]
    stack: str
    network: str
    state_root: str
    socket: str
    image: str
    ownership: Mapping[str, str]
    reconcile: float = 1.0
    breaks: Mapping[str, str] = field(default_factory=dict)

    def labels(self) -> dict[str, str]:
        """Return the labels of every engine container; nobody who asks for a game may change one of them."""
        ours = {} if "no-ownership" in self.breaks else {**self.ownership, "benchkeeper.kind": "container"}
        return {"galaxy.backend": "1", "galaxy.stack": self.stack, **ours}


def seconds(text: str) -> float:
    """Return a duration as Go writes it, `500ms`, `2s`."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise SettingsError(f"not a duration: {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def address(text: str, name: str) -> tuple[str, int]:
    """Return (host, port) of a listen address; without a host it listens everywhere."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) < 65536:
        raise SettingsError(f"{name} is no address: {text!r}")
    return host or "0.0.0.0", int(port)  # noqa: S104 - in a container; what is published is the harness's choice


def read(env: Mapping[str, str]) -> Settings:
    """Return the settings of an environment.

    Raises:
        SettingsError: When one is missing or cannot be meant.
    """
    needed = ("BACKEND_STACK_LABEL", "BACKEND_GAME_STATE_ROOT", "BACKEND_GAME_IMAGE", *OWNERSHIP)
    missing = [name for name in needed if not env.get(name)]
    if missing:
        raise SettingsError(f"not set: {', '.join(missing)}")
    for name in ("BACKEND_STACK_LABEL", *OWNERSHIP):
        if not _VALUE.fullmatch(env[name]):
            raise SettingsError(f"{name} is no value of a label: {env[name]!r}")
    if not env["BACKEND_GAME_STATE_ROOT"].startswith("/"):
        raise SettingsError("BACKEND_GAME_STATE_ROOT must be absolute: the engine's host uses the same path")
    breaks = dict(word.partition("=")[::2] for word in env.get("SPAWNER_BREAK", "").split(",") if word)
    unknown = set(breaks) - set(BREAKS)
    if unknown:
        raise SettingsError(f"SPAWNER_BREAK knows no {', '.join(sorted(unknown))}")
    return Settings(
        http=address(env.get("BACKEND_HTTP_LISTEN_ADDR", ":8080"), "BACKEND_HTTP_LISTEN_ADDR"),
        push=address(env.get("BACKEND_GRPC_PUSH_LISTEN_ADDR", ":8081"), "BACKEND_GRPC_PUSH_LISTEN_ADDR"),
        stack=env["BACKEND_STACK_LABEL"],
        network=env.get("BACKEND_DOCKER_NETWORK", ""),
        state_root=env["BACKEND_GAME_STATE_ROOT"],
        socket=env.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"),
        image=env["BACKEND_GAME_IMAGE"],
        ownership={label: env[name] for name, label in OWNERSHIP.items()},
        reconcile=seconds(env.get("BACKEND_RECONCILE_INTERVAL", "1s")),
        breaks=breaks,
    )
