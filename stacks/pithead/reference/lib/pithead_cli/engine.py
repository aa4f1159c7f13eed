"""The container engine: changes through `docker compose`, looks through its socket (a look takes milliseconds there)."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pithead_cli.host import Place, ask, run
from pithead_cli.say import Refusal

PROJECT = "pithead"
SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True)
class Container:
    """One container of the project. `health` is '' when it has no health check, `config_hash` is compose's own."""

    service: str
    state: str
    health: str
    config_hash: str = ""


class Compose:
    """`docker compose` for one installation."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def extra(self) -> dict[str, str]:
        """Give the variables that are not in .env."""
        return {
            "STACK_VERSION": self.place.stack_version(),
            "PITHEAD_DIRECTORY": str(self.place.directory),
            "COMPOSE_ANSI": "never",
            "COMPOSE_PROGRESS": "plain",
        }

    def argv(self, *arguments: str) -> list[str]:
        """Build a command line; interpolation only ever sees this installation's .env."""
        files = ["--project-directory", str(self.place.directory), "--env-file", str(self.place.env)]
        return ["docker", "compose", *files, *arguments]

    def do(self, *arguments: str, quiet: bool = False) -> None:
        """Run compose; Refusal when it fails."""
        code = run(self.argv(*arguments), extra=self.extra(), quiet=quiet, cwd=self.place.directory)
        if code:
            message = f"docker compose {arguments[0]} failed with exit code {code}"
            raise Refusal(message)

    def services(self) -> list[str]:
        """Name the services that this configuration wants."""
        return ask(self.argv("config", "--services"), extra=self.extra(), cwd=self.place.directory).split()

    def hashes(self) -> dict[str, str]:
        """Give compose's hash of every wanted service's configuration."""
        lines = ask(self.argv("config", "--hash", "*"), extra=self.extra(), cwd=self.place.directory).splitlines()
        return dict(line.split(maxsplit=1) for line in lines if " " in line)

    def up_only(self, services: list[str]) -> None:
        """Create or start these services and leave every other alone; compose would recreate all that depend on them."""
        self.do("up", "--detach", "--no-build", "--no-deps", *services)

    def up(self, *services: str) -> None:
        """Create and start what is missing or changed; never builds, never pulls."""
        self.do("up", "--detach", "--no-build", *services)

    def build(self) -> None:
        """Build the first-party images of this checkout."""
        extra = self.extra() | {"PITHEAD_REVISION": self.place.revision()}
        code = run(self.argv("--profile", "*", "build", "--quiet"), extra=extra, cwd=self.place.directory)
        if code:
            message = f"the images could not be built (docker compose build: {code})"
            raise Refusal(message)


class _Engine(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect to the engine's socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(SOCKET)


def engine_get(path: str) -> Any:
    """Ask the engine; Refusal when it does not answer."""
    connection = _Engine("docker")
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        message = f"the container engine does not answer: {error}"
        raise Refusal(message) from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        message = f"the container engine answered {response.status}"
        raise Refusal(message)
    return json.loads(body)


def containers() -> dict[str, Container]:
    """Give the project's containers by service, one-off containers left out."""
    wanted = urllib.parse.quote(json.dumps({"label": [f"com.docker.compose.project={PROJECT}", "com.docker.compose.oneoff=False"]}))
    found: dict[str, Container] = {}
    for item in engine_get(f"/containers/json?all=1&filters={wanted}"):
        service = item["Labels"].get("com.docker.compose.service", "")
        found[service] = Container(
            service, item["State"], health_of(item.get("Status", "")), item["Labels"].get("com.docker.compose.config-hash", "")
        )
    return found


def health_of(status: str) -> str:
    """Read the health out of the engine's status text, such as `Up 3 seconds (health: starting)`."""
    for text, health in (("(healthy)", "healthy"), ("(unhealthy)", "unhealthy"), ("(health: starting)", "starting")):
        if text in status:
            return health
    return ""


def live_directory() -> Path | None:
    """Give the directory that drives the running stack, by its dashboard's label."""
    labels = [f"com.docker.compose.project={PROJECT}", "com.docker.compose.service=dashboard"]
    for item in engine_get("/containers/json?filters=" + urllib.parse.quote(json.dumps({"label": labels}))):
        return Path(item["Labels"]["com.docker.compose.project.working_dir"])
    return None


def dashboard_state(timeout: float = 3.0) -> dict[str, Any] | None:
    """Give the dashboard's state document, None when it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open("http://127.0.0.1:8000/api/state", timeout=timeout) as response:
            state = json.load(response)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return state if isinstance(state, dict) else None
