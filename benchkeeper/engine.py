"""The container engine of this computer: found, started when it is only asleep, installed where we may.

What is needed of it: the API on its socket, a client with BuildKit, Compose v2 for people. Measured facts behind the choices
stand in the architecture records.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from benchkeeper.console import phase, say
from benchkeeper.engine_packages import install_engine
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = Path("/var/run/docker.sock")
START_DEADLINE = 60.0
LOG = Path("/var/log/benchkeeper-engine.log")


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Attributes:
        client: The engine's API.
        program: The command line client whose plugins (buildx, compose) were seen to answer.
    """

    client: docker.DockerClient
    program: Path


def connect(timeout: int = 5) -> docker.DockerClient | None:
    """Return the engine's API if it answers within `timeout` seconds, else None."""
    try:
        client = docker.from_env(timeout=timeout)
        client.ping()
    except (docker.errors.DockerException, OSError):
        return None
    # Everything that is slow on purpose (stop, wait) passes its own limit; a hung engine shall not hang us for ever.
    client.api.timeout = 120
    return client


def packaged_client() -> Path | None:
    """Return the client to call: the packaged one first, since a stray one earlier on PATH may lack the plugins."""
    candidates = [Path("/usr/bin/docker"), *(Path(found) for found in [shutil.which("docker")] if found)]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def plugin_answers(program: Path, plugin: str) -> bool:
    """Tell whether `docker PLUGIN version` runs, and for Compose that it is version 2 or later."""
    answer = subprocess.run(
        [str(program), plugin, "version"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return answer.returncode == 0 and not (plugin == "compose" and "version 1." in answer.stdout)


def missing_parts(program: Path | None) -> list[str]:
    """Name what the engine's command line lacks."""
    if program is None:
        return ["the docker client"]
    names = {"buildx": "docker buildx", "compose": "Docker Compose v2"}
    return [text for plugin, text in names.items() if not plugin_answers(program, plugin)]


def ensure(*, install: bool) -> Engine:
    """Return an engine that answers; start or install one where that is possible, else raise UnfitError."""
    client = connect()
    if client is None:
        if shutil.which("dockerd") is None:
            _install("no container engine answers and none is installed", install=install)
        client = connect() or _start()
    program = packaged_client()
    missing = missing_parts(program)
    if missing:
        _install(f"missing: {', '.join(missing)}", install=install)
        program = packaged_client()
        missing = missing_parts(program)
    if "docker buildx" in missing or program is None:
        raise UnfitError(f"still missing after the installation: {', '.join(missing)}")
    if missing:
        # Only machines run compose projects, with their own; a person's convenience is no reason to stop.
        say("engine", f"goes on without {', '.join(missing)}: this distribution has no package of it")
    return Engine(client, program)


def _install(why: str, *, install: bool) -> None:
    if not install:
        raise UnfitError(f"{why}; --no-install was given, so nothing was installed")
    if os.environ.get("DOCKER_HOST"):
        raise UnfitError(f"{why}; DOCKER_HOST points elsewhere ({os.environ['DOCKER_HOST']}), nothing can be installed there")
    if os.geteuid() != 0:
        raise UnfitError(f"{why}; install Docker with Compose v2 and buildx, or run this once as root")
    with phase("engine", f"installing the container engine ({why})"):
        install_engine(with_systemd=has_systemd())


def has_systemd() -> bool:
    """Tell whether systemd runs this computer."""
    return Path("/run/systemd/system").is_dir()


def _start() -> docker.DockerClient:
    if os.environ.get("DOCKER_HOST"):
        raise UnfitError(f"no container engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    if os.geteuid() != 0:
        if SOCKET.exists() and not os.access(SOCKET, os.R_OK | os.W_OK):
            raise UnfitError(f"{SOCKET} cannot be opened by this user; join the group docker or run this as root")
        raise UnfitError("the container engine does not run; start it (systemctl start docker) or run this as root")
    if has_systemd():
        with phase("engine", "starting docker.service"):
            subprocess.run(["systemctl", "start", "docker.service"], check=False, stdin=subprocess.DEVNULL)
            return wait_until_it_answers(lambda: None)
    with phase("engine", f"starting dockerd in a session of its own, log in {LOG}"):
        _forget_dead_engine()
        _make_room_in_cgroup()
        with LOG.open("ab") as log:
            # Its life is not ours: it must go on when this command ends, and not hear our terminal's signals.
            daemon = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        return wait_until_it_answers(daemon.poll)


def wait_until_it_answers(died: Callable[[], int | None], deadline: float = START_DEADLINE) -> docker.DockerClient:
    """Wait until the engine's socket answers; end early with the last log lines when `died` gives an exit code."""
    limit = time.monotonic() + deadline
    while time.monotonic() < limit:
        client = connect(2)
        if client is not None:
            return client
        code = died()
        # Somebody else may have started one at the same moment; ours then ends and theirs answers soon.
        if code is not None and not _another_engine():
            raise UnfitError(f"dockerd ended with code {code}:\n{_log_tail()}")
        time.sleep(random.uniform(0.1, 0.3))  # noqa: S311 -- jitter, not a secret
    raise UnfitError(f"the container engine did not answer within {deadline:.0f} s:\n{_log_tail()}")


def _log_tail() -> str:
    with suppress(OSError):
        return "\n".join(LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
    return "(no log)"


def _program_of(pid_file: Path) -> str | None:
    with suppress(OSError, ValueError):
        return Path(f"/proc/{int(pid_file.read_text(encoding='ascii'))}/comm").read_text(encoding="utf-8").strip()
    return None


def _another_engine() -> bool:
    return _program_of(Path("/var/run/docker.pid")) == "dockerd"


def _forget_dead_engine() -> None:
    """Remove the pid files of a killed engine: after a restart the number may belong to anybody, and dockerd gives up."""
    for name, program in (("docker.pid", "dockerd"), ("docker/containerd/containerd.pid", "containerd")):
        path = Path("/var/run") / name
        if path.exists() and _program_of(path) != program:
            path.unlink(missing_ok=True)


def _make_room_in_cgroup() -> None:
    """On a unified hierarchy inside a container, leave the root group: the kernel delegates only from an empty one."""
    group = Path("/sys/fs/cgroup")
    if not (group / "cgroup.controllers").is_file() or not os.access(group / "cgroup.subtree_control", os.W_OK):
        return
    processes = group / "cgroup.procs"
    # The real root of a computer has no cgroup.type and needs no room.
    if not (group / "cgroup.type").exists() or not processes.read_text(encoding="ascii").strip():
        return
    below = group / "init"
    below.mkdir(exist_ok=True)
    for pid in processes.read_text(encoding="ascii").split():
        with suppress(OSError):
            (below / "cgroup.procs").write_text(pid, encoding="ascii")
    with suppress(OSError):
        names = (group / "cgroup.controllers").read_text(encoding="ascii").split()
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names), encoding="ascii")
