"""Kinds of tenant: how one is started with an environment, where it listens, what its log lines mean, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import yaml

from benchkeeper.conform import starts
from benchkeeper.conform.player import UnplayableError
from benchkeeper.conform.servers import container_address
from benchkeeper.errors import UnfitError, UsageError
from benchkeeper.harness.life import program_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchkeeper.conform.listeners import Place
    from benchkeeper.conform.servers import Containers

BUILTIN, IMAGE, BINARY, URL = "builtin", "image", "binary", "url"
KINDS = (BUILTIN, IMAGE, BINARY, URL)
READY_LIMIT = 60.0  # seconds until a server must answer or have ended
STOP_LIMIT = 15.0  # seconds for an orderly end
BETWEEN = 0.02
PORTS = (20000, 32000)  # below those that kernels give to clients
LAUNCH = Path(__file__).with_name("launch.py")
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")  # what a process gets of our own environment


@dataclass(frozen=True)
class Facts:
    """What has to be known of a program besides how it is started; see stacks/tenant/conform.yml.

    Attributes:
        events: Regular expression of a log line by the event that it means; None when lines are JSON objects with `event`.
        own_tables: Whether its tables are not those of the recorded program.
        unsent: Names in the environment of a start that it does not send.
        stamp: Variable with its build id, empty without one.
        migrations: Variable with its folder of migrations, empty without one.
    """

    events: Mapping[str, re.Pattern[str]] | None = None
    own_tables: bool = True
    unsent: frozenset[str] = frozenset()
    stamp: str = ""
    migrations: str = ""

    def said(self, log: str) -> list[str]:
        """Give the events that a log tells."""
        if self.events is not None:
            return [event for line in log.splitlines() for event, pattern in self.events.items() if pattern.search(line)]
        found = []
        for line in log.splitlines():
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict) and isinstance(value.get("event"), str):
                    found.append(value["event"])
        return found


def facts(path: Path, kind: str) -> Facts:
    """Read what is known of a kind. Raises UsageError when the file says nothing usable."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))[kind]
        events = raw["events"]
        meanings = None if events == "json" else {event: re.compile(pattern) for event, pattern in events.items()}
        if raw["tables"] not in ("own", "recorded"):
            raise UsageError(f"{path}: {kind}: tables is `own` or `recorded`")
        return Facts(meanings, raw["tables"] == "own", frozenset(raw["unsent"]), str(raw["stamp"]), str(raw["migrations"]))
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, re.error) as failure:
        raise UsageError(f"{path}: nothing usable about kind {kind}: {type(failure).__name__}: {failure}") from failure


class Running(starts.Started, Protocol):
    """A server that was started."""

    async def kill(self) -> None:
        """End it at once, whatever it does; nothing happens when it has ended."""

    def log(self) -> str:
        """Give what it has written."""


class Kind(Protocol):
    """A kind of tenant."""

    name: str
    address: str
    """Address at which it reaches what listens for it here."""
    facts: Facts
    closed: bool
    """Whether there is no way from it to anywhere but us."""

    async def start(self, label: str, env: Mapping[str, str]) -> Running:
        """Start a server; it chooses a port when the environment names none. Raises UnplayableError."""


@dataclass
class Process:
    """A program that runs on this computer."""

    process: asyncio.subprocess.Process
    place: Place
    file: Path
    facts: Facts

    async def ready(self) -> bool:
        """See `Running`."""
        deadline = time.monotonic() + READY_LIMIT
        while self.process.returncode is None and time.monotonic() < deadline:
            if self.place[1] and await starts.listens(self.place):
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.process.wait()), BETWEEN)
        return False

    async def stop(self) -> int | None:
        """See `Running`."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), STOP_LIMIT)
        code = self.process.returncode
        await self.kill()
        return code

    async def kill(self) -> None:
        """See `Running`."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    def log(self) -> str:
        """See `Running`."""
        return self.file.read_text(encoding="utf-8", errors="replace")

    def events(self) -> list[str]:
        """See `Running`."""
        return self.facts.said(self.log())


@dataclass
class Programs:
    """Starts programs whose output goes to files of the run.

    Attributes:
        folder: Where the files are.
        marks: What marks a process as the run's, in its environment.
    """

    folder: Path
    marks: Mapping[str, str]
    _started: list[Process] = field(default_factory=list)

    async def start(self, label: str, argv: list[str], env: Mapping[str, str], place: Place, known: Facts) -> Process:
        """Start one."""
        file = self.folder / f"{label}.log"
        own = {name: os.environ[name] for name in KEPT if name in os.environ}
        with file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**own, **self.marks, **env},
                cwd=self.folder,
                start_new_session=True,
            )
        started = Process(process, place, file, known)
        self._started.append(started)
        return started

    async def part(self, label: str, folder: Path, module: str, env: Mapping[str, str]) -> Place:
        """Start one of our own parts on loopback, wait until it listens, and return where. Raises UnfitError."""
        place = ("127.0.0.1", free_port())
        env = {"PORT": str(place[1]), **env, "PYTHONPATH": str(folder)}
        part = await self.start(label, [sys.executable, "-P", str(LAUNCH), module], env, place, Facts())
        deadline = time.monotonic() + READY_LIMIT
        while time.monotonic() < deadline and part.process.returncode is None:
            if await starts.listens(place):
                return place
            await asyncio.sleep(BETWEEN)
        raise UnfitError(f"the {module} did not start:\n{part.log()[-2000:]}")

    async def end(self) -> None:
        """End all of them."""
        for one in self._started:
            await one.kill()


_ports = itertools.count(random.SystemRandom().randrange(*PORTS))


def free_port() -> int:
    """Give a port of loopback that nobody has at this moment, and that was not given before.

    None of those that the kernel gives to clients: a program takes a second until it listens, and by then one would be gone.
    """
    for number in _ports:
        port = PORTS[0] + (number - PORTS[0]) % (PORTS[1] - PORTS[0])
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is no end of numbers")


class OnThisComputer:
    """Kinds `builtin` and `binary`: a program as a process on loopback, found by its port."""

    address = "127.0.0.1"

    def __init__(self, name: str, programs: Programs, argv: list[str], more: Mapping[str, str], known: Facts) -> None:
        self.name, self.facts, self.closed = name, known, name == BUILTIN
        self._programs, self._argv, self._more = programs, argv, dict(more)

    async def start(self, label: str, env: Mapping[str, str]) -> Running:
        """Start the program."""
        for name, port in (("DATABASE_URL", 5432), ("REDIS_URL", 6379)):
            if name not in env and await starts.listens((self.address, port)):
                raise UnplayableError(f"without {name} it asks port {port} of this computer, and somebody listens there")
        text = env.get("PORT") or str(free_port())
        number = int(text) if text.isascii() and text.isdigit() else 0
        if number and await starts.listens((self.address, number)):  # whoever answers there is not the program
            number = 0
        env = {**env, "PORT": text, **self._more}
        return await self._programs.start(label, self._argv, env, ("127.0.0.1", number), self.facts)


def builtin(programs: Programs, reference: Path, known: Facts) -> OnThisComputer:
    """Our own tenant."""
    argv = [sys.executable, "-P", str(LAUNCH), "tenant"]
    return OnThisComputer(BUILTIN, programs, argv, {"PYTHONPATH": str(reference)}, known)


def program(path: str) -> Path:
    """Return the place of a program, or of the one in a folder. Raises UsageError when it is none."""
    found = program_of(Path(path).absolute())
    if not found.is_file() or not os.access(found, os.X_OK):
        raise UsageError(f"{path!r} is no program that can be executed")
    return found


def binary(programs: Programs, path: str, known: Facts) -> OnThisComputer:
    """A program that somebody gave us. Raises UsageError when it is none."""
    return OnThisComputer(BINARY, programs, [str(program(path))], {}, known)


@dataclass
class Contained:
    """A program in a container of its own."""

    container: Any
    place: Place
    facts: Facts
    _log: str = ""
    _gone: bool = False

    async def ready(self) -> bool:
        """See `Running`."""
        deadline = time.monotonic() + READY_LIMIT
        while time.monotonic() < deadline:
            if self.place[1] and await starts.listens(self.place):
                return True
            if not await asyncio.to_thread(self._runs):
                return False
            await asyncio.sleep(BETWEEN)
        return False

    def _runs(self) -> bool:
        self.container.reload()
        return bool(self.container.status in ("created", "running"))

    async def stop(self) -> int | None:
        """See `Running`."""
        return await asyncio.to_thread(self._stop)

    def _stop(self) -> int | None:
        if self._runs():
            self.container.stop(timeout=int(STOP_LIMIT))
        self.container.reload()
        code = int(self.container.attrs["State"]["ExitCode"])
        self._log = self.log()
        self._remove()
        return None if code == 128 + signal.SIGKILL else code

    async def kill(self) -> None:
        """See `Running`."""
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        if not self._gone:
            self.container.remove(force=True, v=True)
            self._gone = True

    def log(self) -> str:
        """See `Running`."""
        return self._log or str(self.container.logs().decode("utf-8", "replace"))

    def events(self) -> list[str]:
        """See `Running`."""
        return self.facts.said(self.log())


class InContainers:
    """Kind `image`: a container on a network that leads to this computer and nowhere else."""

    name = IMAGE
    closed = True
    PORT = "8080"

    def __init__(self, containers: Containers, image: str, network: str, gateway: str, known: Facts) -> None:
        self._containers, self._image, self._network = containers, image, network
        self.address, self.facts = gateway, known

    async def start(self, label: str, env: Mapping[str, str]) -> Running:  # noqa: ARG002 - a container has an id
        """Start a container."""
        text = env.get("PORT") or self.PORT
        if text == self.address_port(env):
            raise UnplayableError("in a container of its own no port is taken")
        for name in ("DATABASE_URL", "REDIS_URL"):
            if name not in env:  # seen: one of the two addresses of that name is refused, the other is no address there
                raise UnplayableError(
                    f"without {name} it asks localhost, and a container has only one of that name's two addresses"
                )
        number = int(text) if text.isascii() and text.isdigit() else 0
        container = await asyncio.to_thread(self._containers.start, self._image, self._network, {**env, "PORT": text})
        host = await asyncio.to_thread(container_address, container, self._network)
        return Contained(container, (host, number), self.facts)

    @staticmethod
    def address_port(env: Mapping[str, str]) -> str:
        """Give the UI's port: a recorded start wants to listen there, and on this computer it is taken."""
        return str(urlsplit(env.get("CANVAS_PROXY_URL", "")).port or "")


@dataclass
class Elsewhere:
    """A server that somebody else runs."""

    place: Place

    async def ready(self) -> bool:
        """See `Running`."""
        return await starts.listens(self.place)

    async def stop(self) -> int | None:
        """See `Running`."""
        return None

    async def kill(self) -> None:
        """It is not ours to end."""

    def log(self) -> str:
        """See `Running`."""
        return ""

    def events(self) -> list[str]:
        """See `Running`."""
        return []


class AtUrl:
    """Kind `url`: a server that is there already. Nothing of it can be changed, and nothing of what it sends be seen."""

    name = URL
    address = ""
    closed = False

    def __init__(self, url: str, known: Facts) -> None:
        self.facts = known
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError as failure:
            raise UsageError(f"{url!r} is no URL: {failure}") from failure
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
            raise UsageError("--url is http://HOST[:PORT], nothing else: requests are sent as raw bytes, without TLS")
        self.place: Place = (parts.hostname, port)

    async def start(self, label: str, env: Mapping[str, str]) -> Running:  # noqa: ARG002 - it runs already
        """Give it as it is."""
        return Elsewhere(self.place)
