"""What tests of the harness look at: what is on the engine by labels, a stranger that must stay, and an engine that can go away."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker

from benchkeeper import labels, processes
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SOCKET = "/var/run/docker.sock"


def client() -> docker.DockerClient:
    return docker.from_env(version="auto")


def owned() -> dict[str, list[str]]:
    """Everything of this checkout's tenant stack that belongs to a run, by run; and directories and processes."""
    with contextlib.closing(client()) as engine:
        return _owned(engine)


def _owned(engine: docker.DockerClient) -> dict[str, list[str]]:
    paths = checkout()
    wanted = {"label": [f"{labels.OWNER}={paths.checkout_id}", f"{labels.STACK}=tenant"]}
    found: dict[str, list[str]] = {}
    api = engine.api
    # Lists alone: what is looked at one by one may go in between.
    objects = [("container", one["Names"], one["Labels"]) for one in api.containers(all=True, filters=wanted)]
    objects += [("network", one["Name"], one["Labels"]) for one in api.networks(filters=wanted)]
    objects += [("volume", one["Name"], one["Labels"]) for one in api.volumes(filters=wanted)["Volumes"] or ()]
    objects += [("image", one["RepoTags"], one["Labels"]) for one in api.images(filters=wanted)]
    for kind, name, carried in objects:
        run = (carried or {}).get(labels.RUN, "")
        if run not in ("", labels.BENCH):
            found.setdefault(run, []).append(f"{kind} {name}")
    for marker in Path(tempfile.gettempdir()).glob("*/.benchkeeper.json"):
        with contextlib.suppress(OSError):
            text = marker.read_text(encoding="utf-8")
            if f'"{paths.checkout_id}"' in text and '"tenant"' in text:
                found.setdefault("directories", []).append(str(marker.parent))
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"BENCHKEEPER_OWNER={paths.checkout_id}".encode() in environ.read_bytes().split(b"\0"):
                found.setdefault("processes", []).append(environ.parent.name)
    return found


def eventually(ready: Callable[[], Any], seconds: float) -> Any:
    """Wait for something that others do; return the last answer."""
    end = time.monotonic() + seconds
    while not (found := ready()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


class Command:
    """A command of the bench that is going on, with what it printed so far."""

    def __init__(self, *words: str, **variables: str) -> None:
        # As a person's shell starts it: a test runner in the background would hand on an ignored SIGINT.
        argv = [sys.executable, "-c", RESET, str(ROOT / "bench"), *words]
        pipe = subprocess.PIPE
        environment = {**os.environ, **variables}
        self.process = subprocess.Popen(
            argv, cwd="/", env=environment, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.text = ""
        self.begun = time.monotonic()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                self.text += line.decode("utf-8", "replace")

    def until(self, pattern: str, seconds: float = 300.0) -> None:
        """Wait until it has printed something."""
        assert eventually(lambda: re.search(pattern, self.text) or self.process.poll() is not None, seconds), self.text[-3000:]
        assert re.search(pattern, self.text), f"ended with {self.process.poll()} before it said {pattern}:\n{self.text[-3000:]}"

    def wait(self, seconds: float = 600.0) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        print(f"-> {code} after {time.monotonic() - self.begun:.1f} s\n{self.text[-4000:]}")
        return code

    def watchers(self) -> list[int]:
        """Pids of watchers that look after it."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"benchkeeper.watcher" in words and int(path.parent.name) in self._family:
                    found.append(int(path.parent.name))
        return found

    @property
    def _family(self) -> set[int]:
        return {self.process.pid, *processes.descendants(self.process.pid)}

    def kill(self) -> None:
        """Kill it, not its watcher."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


RESET = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Relay:
    """A socket behind which the engine is, that can go away and come back."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bk-relay-"))
        self._path = self._folder / "docker.sock"
        self.host = f"unix://{self._path}"
        self._links: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        self.come_back()

    def come_back(self) -> None:
        """Listen, and pass on."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen(64)
        self._listeners.append(listener)
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(SOCKET)
                self._links += (link, engine)
                for pair in ((link, engine), (engine, link)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()

    def go_away(self) -> None:
        """Break every connection, and take no new one."""
        self._path.unlink(missing_ok=True)
        for one in (*self._listeners, *self._links):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._listeners.clear()
        self._links.clear()

    def close(self) -> None:
        """End it for good."""
        self.go_away()
        self._folder.rmdir()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while True:
            select.select([one], [], [])
            chunk = one.recv(65536)
            if not chunk:
                break
            other.sendall(chunk)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)
