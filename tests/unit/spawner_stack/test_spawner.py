"""The stand-in as a program: its engines carry the triple, both ports are awaited, its reconciler sees what a cleanup did to it."""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned_dirs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine as Client
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import RealFiles
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import Ownership, triple
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import Means, Outcome, Prune, Scope
from spawner import games, push
from spawner.engine import Engine, EngineFailure, demultiplex
from spawner.games import CANCELLED, RUNNING, Game, Games, LabelRefused
from spawner.settings import Settings, SettingsError, read, seconds
from testenv import start
from testenv.start import NotReady, Options, Refused

from tests.unit.owned.world import World
from tests.unit.spawner_stack.conftest import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = triple("0a1b2c3d", "spawner", "20260131T120000Z-0a1b2c")
SANDBOX = triple("0a1b2c3d", "sandbox", "20251224T000000Z-5a5a5a")
ENV = {
    "BACKEND_STACK_LABEL": "integration",
    "BACKEND_GAME_STATE_ROOT": "/srv/state",
    "BACKEND_GAME_IMAGE": "debian:trixie-slim",
    "BENCHKEEPER_OWNER": "0a1b2c3d",
    "BENCHKEEPER_STACK": "spawner",
    "BENCHKEEPER_RUN": OURS.run,
}


# Settings and labels


@pytest.mark.parametrize("name", ENV)
def test_a_backend_that_would_make_engines_nobody_owns_does_not_start(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read({**ENV, name: ""})


@pytest.mark.parametrize(
    "more",
    [
        {"BACKEND_STACK_LABEL": " "},
        {"BENCHKEEPER_RUN": "a=b"},
        {"BACKEND_GAME_STATE_ROOT": "state"},
        {"BACKEND_HTTP_LISTEN_ADDR": "8080"},
        {"BACKEND_GRPC_PUSH_LISTEN_ADDR": ":99999"},
        {"BACKEND_RECONCILE_INTERVAL": "soon"},
        {"SPAWNER_BREAK": "nonsense"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(more: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        read({**ENV, **more})


def test_settings_are_read_as_the_product_spells_them() -> None:
    found = read({**ENV, "BACKEND_HTTP_LISTEN_ADDR": "127.0.0.1:0", "BACKEND_RECONCILE_INTERVAL": "500ms"})
    assert (found.http, found.push[1], found.reconcile) == (("127.0.0.1", 0), 8081, 0.5)
    assert (seconds("2s"), seconds("1m")) == (2.0, 60.0)
    assert found.labels() == {
        "galaxy.backend": "1",
        "galaxy.stack": "integration",
        **OURS.mapping(),
        "benchkeeper.kind": "container",
    }


@pytest.mark.parametrize(
    "asked",
    [
        {"galaxy.stack": "dev"},
        {"galaxy.stack": "integration"},
        {"benchkeeper.run": ""},
        {"benchkeeper.new": "x"},
        {"GALAXY.stack": "x"},
    ],
)
def test_whoever_asks_for_a_game_may_not_say_whose_it_is(asked: dict[str, str]) -> None:
    with pytest.raises(LabelRefused):
        games.merged(read(ENV).labels(), {"fine": "x", **asked})
    assert games.merged(read(ENV).labels(), {"fine": "x"})["fine"] == "x"


def test_logs_lose_their_frames() -> None:
    assert demultiplex(b"\1\0\0\0\0\0\0\2hi" + b"\2\0\0\0\0\0\0\1!") == b"hi!"
    assert demultiplex(b"plain text") == b"plain text"


# The reconciler


def settings(**more: Any) -> Settings:
    return Settings(("", 0), ("", 0), "integration", "", "/srv/state", "", "", OURS.mapping(), **more)


class Listed(Engine):
    """An engine whose lists are made up."""

    def __init__(self, answer: Callable[[], list[dict[str, Any]]]) -> None:
        super().__init__("")
        self._answer = answer

    async def list(self, labels: Any) -> list[dict[str, Any]]:
        del labels
        return self._answer()


def reconciled(there: dict[str, Game], answer: Callable[[], list[dict[str, Any]]]) -> dict[str, str]:
    backend = Games(settings(), Listed(answer))
    backend.games.update(there)
    asyncio.run(backend.reconcile())
    return {name: game.status for name, game in backend.games.items()}


def test_a_game_whose_container_disappeared_is_cancelled() -> None:
    there = {"a": Game("a", "c1", RUNNING), "b": Game("b", "c2", RUNNING), "c": Game("c", "c3", games.FINISHED)}
    assert reconciled(there, lambda: [{"Id": "c1"}]) == {"a": RUNNING, "b": CANCELLED, "c": games.FINISHED}
    assert there["b"].reason == "container disappeared"


def test_an_engine_that_does_not_answer_cancels_nothing() -> None:
    def broken() -> list[dict[str, Any]]:
        raise EngineFailure(0, "no answer")

    assert reconciled({"a": Game("a", "c1", RUNNING)}, broken) == {"a": RUNNING}


def test_a_game_that_starts_while_the_list_is_made_is_not_on_it() -> None:
    there = {"a": Game("a", "c1", games.STARTING)}

    def starts() -> list[dict[str, Any]]:
        there["a"].status = RUNNING
        return []

    assert reconciled(there, starts) == {"a": RUNNING}


# The push port


def test_a_port_that_only_accepts_is_no_push_port() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def story() -> None:
        async with (
            await asyncio.start_server(silent, "127.0.0.1", 0) as mute,
            await asyncio.start_server(push.answer, "127.0.0.1", 0) as speaking,
        ):
            ports = [server.sockets[0].getsockname()[1] for server in (mute, speaking)]
            assert [await push.answers("127.0.0.1", port, 0.3) for port in ports] == [False, True]
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[1])
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0)  # the other ends close, too

    asyncio.run(story())


# What may be asked of a start


def options(**more: Any) -> Options:
    given = {"labels": OURS.mapping(), "state_directory": "/srv/state/x", "stack_label": "integration", **more}
    return Options(image="backend:1", game_image="debian:trixie-slim", socket="/sock", **given)


@pytest.mark.parametrize("name", [*sorted(start.RESERVED), "backend_stack_label"])
@pytest.mark.parametrize("value", ["", "dev", "integration"])
def test_extra_environment_cannot_change_whose_the_engines_are(name: str, value: str) -> None:
    with pytest.raises(Refused, match=name.upper()):
        start.body(options(extra={name: value}))


@pytest.mark.parametrize("label", [*OURS.mapping()])
def test_a_start_without_the_whole_triple_is_refused(label: str) -> None:
    for labels in ({**OURS.mapping(), label: ""}, {key: value for key, value in OURS.mapping().items() if key != label}):
        with pytest.raises(Refused, match=label):
            start.body(options(labels=labels))


def test_the_state_directory_has_one_path_inside_and_outside() -> None:
    body = start.body(options(extra={"BACKEND_LOGGING_LEVEL": "info"}))
    assert "/srv/state/x:/srv/state/x" in body["HostConfig"]["Binds"]
    assert "BACKEND_GAME_STATE_ROOT=/srv/state/x" in body["Env"]
    assert {one[0]["HostIp"] for one in body["HostConfig"]["PortBindings"].values()} == {"127.0.0.1"}


# On an engine whose containers are processes


def eventually(ready: Callable[[], Any], limit: float = 20.0) -> Any:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


class Scene:
    """An engine on which a container of the backend's image is a real process of this computer."""

    def __init__(self, place: Path, socket: str, world: World) -> None:
        self.place, self.socket, self.world = place, socket, world
        self.root = place / "state"
        self.root.mkdir()
        self.processes: list[subprocess.Popen[str]] = []
        self.followers: list[threading.Thread] = []
        self.seen_by_backends = ""
        world.img("sha256:backend", tags=("backend:1",))
        world.starter = self._start

    def _start(self, box: dict[str, Any]) -> None:
        if box["image"] != "sha256:backend":
            return
        env = dict(word.split("=", 1) for word in box["env"])
        with sockets.socket() as one, sockets.socket() as two:
            for each in (one, two):
                each.bind(("127.0.0.1", 0))
            ports = [each.getsockname()[1] for each in (one, two)]
        env.update(
            PYTHONPATH=str(REFERENCE),
            PATH=os.environ["PATH"],
            BACKEND_HTTP_LISTEN_ADDR=f"127.0.0.1:{ports[0]}",
            BACKEND_GRPC_PUSH_LISTEN_ADDR=f"127.0.0.1:{ports[1]}",
            BACKEND_RECONCILE_INTERVAL="50ms",
            DOCKER_HOST=f"unix://{self.seen_by_backends or self.socket}",
        )
        box["ports"] = {
            inner: [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
            for inner, port in zip((start.HTTP, start.PUSH), ports, strict=True)
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "spawner"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.processes.append(process)
        self.followers.append(threading.Thread(target=self._follow, args=(process, box)))
        self.followers[-1].start()

    @staticmethod
    def _follow(process: subprocess.Popen[str], box: dict[str, Any]) -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                box["log"] += line
        box["code"] = process.wait()
        box["state"] = "exited"

    def filter(self, own: Ownership) -> None:
        """From now on backends reach the engine through a filter, as a program of its own."""
        self.seen_by_backends = str(self.place / "filter.sock")
        marks = {"OWNER": own["benchkeeper.owner"], "STACK": own["benchkeeper.stack"], "RUN": own.run}
        env = {f"BENCHKEEPER_{name}": value for name, value in marks.items()}
        env.update(FILTER_LISTEN=f"unix:{self.seen_by_backends}", FILTER_ROOTS=str(self.root), DOCKER_SOCKET=self.socket)
        env.update(PYTHONPATH=str(REFERENCE), PATH=os.environ["PATH"])
        process = subprocess.Popen([sys.executable, "-P", "-m", "socket_filter"], env=env, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("socket filter: unix:")
        self.processes.append(process)
        box = {"log": ""}
        self.followers.append(threading.Thread(target=self._follow, args=(process, box)))
        self.followers[-1].start()

    def options(self, own: Ownership, stack_label: str, **extra: str) -> Options:
        token = f"{len(list(self.root.iterdir())) + 1:032x}"
        state = _owned_dirs.make(RealFiles(), str(self.root), own, token, (os.geteuid(), os.getegid()))
        return options(labels=own.mapping(), state_directory=state, stack_label=stack_label, extra=extra)

    def backend(self, own: Ownership, stack_label: str, **extra: str) -> start.Backend:
        given = self.options(own, stack_label, **extra)

        async def play() -> start.Backend:
            async with Engine(self.socket) as engine:
                return await start.start(engine, f"backend-{own['benchkeeper.stack']}", given)

        return asyncio.run(play())

    def clean(self, own: Ownership) -> Outcome:
        """What every cleanup does, by the real client over the socket."""
        scope = Scope(roots=(str(self.root),))
        return Prune(own, scope, Means(Client(self.socket), lambda _seconds: None, mounted=list)).run()

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for follower in self.followers:
            follower.join(10)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    world = World()
    with world.on(tmp_path) as socket:
        one = Scene(tmp_path, socket, world)
        yield one
        one.close()


def ask(backend: start.Backend, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    url = f"http://{backend.http[0]}:{backend.http[1]}{path}"
    request = urllib.request.Request(url, method=verb, data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - ours
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def status_of(backend: start.Backend) -> list[str]:
    """What the reconciler itself says, after it has looked twice more."""
    looks = ask(backend, "GET", "/status")[1]["reconciled"]
    eventually(lambda: ask(backend, "GET", "/status")[1]["reconciled"] >= looks + 2)
    return [game["status"] for game in ask(backend, "GET", "/status")[1]["games"]]


def test_engines_that_the_backend_makes_carry_the_triple_and_go_with_the_run(scene: Scene) -> None:
    sandbox, ours = scene.backend(SANDBOX, "dev"), scene.backend(OURS, "integration")
    for backend in (sandbox, ours):
        assert [ask(backend, "POST", "/games", {"labels": {"size": "big"}})[0] for _turn in range(2)] == [201, 201]
    engines = [box for box in scene.world.boxes.values() if box["name"].startswith("galaxy-game-")]
    assert [OURS.owns(box["labels"]) for box in engines] == [False, False, True, True]
    assert {(box["labels"]["galaxy.stack"], box["labels"]["size"]) for box in engines} == {("dev", "big"), ("integration", "big")}
    assert all(os.path.isdir(path) for box in engines for path in box["binds"])  # noqa: PTH112 - texts
    outcome = scene.clean(OURS)
    assert (outcome.clean, len(outcome.removed)) == (True, 4)
    assert len([box for box in scene.world.boxes.values() if SANDBOX.owns(box["labels"])]) == len(scene.world.boxes) == 3
    assert status_of(sandbox) == [RUNNING, RUNNING], "its own status, not only the list of containers"
    assert [path.name for path in scene.root.iterdir()] == [f"benchkeeper-{SANDBOX.run}-{1:032x}"]


def test_the_incident_itself_turns_the_sandbox_red(scene: Scene) -> None:
    """A cleanup by one label, as it was: the assertion above can fail."""
    sandbox = scene.backend(SANDBOX, "dev")
    ask(sandbox, "POST", "/games", {})
    client = Client(scene.socket)
    for one in client.containers({"galaxy.backend": "1"}):
        client.remove(one["Id"], force=True)
    assert status_of(sandbox) == [CANCELLED]


def test_engines_without_the_triple_are_found_by_their_ancestry(scene: Scene) -> None:
    backend = scene.backend(OURS, "integration", SPAWNER_BREAK="no-ownership")
    game = ask(backend, "POST", "/games", {})[1]
    outcome = scene.clean(OURS)
    assert [one["id"] for one in outcome.strays] == [game["container"]]
    assert "uses the run's directory" in outcome.strays[0]["why"]
    assert not outcome.clean
    assert list(scene.world.boxes) == [game["container"]]


def test_behind_the_filter_even_an_old_backend_makes_engines_of_ours(scene: Scene) -> None:
    scene.filter(OURS)
    backend = scene.backend(OURS, "integration", SPAWNER_BREAK="no-ownership")
    game = ask(backend, "POST", "/games", {})[1]
    assert OURS.owns(scene.world.boxes[game["container"]]["labels"])
    assert status_of(backend) == [RUNNING]
    assert ask(backend, "DELETE", f"/games/{game['id']}")[1]["status"] == games.FINISHED
    assert ask(backend, "POST", "/games", {})[0] == 201
    assert scene.clean(OURS).clean
    assert scene.world.boxes == {}


def test_a_game_ends_when_it_is_asked_to_and_labels_are_refused(scene: Scene) -> None:
    backend = scene.backend(OURS, "integration")
    game = ask(backend, "POST", "/games", {})[1]
    assert ask(backend, "POST", "/games", {"labels": {"galaxy.stack": "dev"}})[0] == 400
    assert ask(backend, "POST", "/games", {"labels": ["x"]})[0] == 400
    assert ask(backend, "GET", f"/games/{game['id']}")[1]["status"] == RUNNING
    assert ask(backend, "DELETE", f"/games/{game['id']}")[1]["status"] == games.FINISHED
    assert ask(backend, "GET", "/games/nope")[0] == 404
    assert status_of(backend) == [games.FINISHED]
    assert [box["name"] for box in scene.world.boxes.values()] == ["backend-spawner"]


# Readiness


def test_a_backend_that_ends_at_once_is_told_at_once_with_its_log(scene: Scene) -> None:
    begun = time.monotonic()
    with pytest.raises(NotReady, match="ended with 3 before it was ready; it said: backend: panic: planted"):
        scene.backend(OURS, "integration", SPAWNER_BREAK="exit-at-once")
    assert time.monotonic() - begun < 20
    assert scene.world.boxes == {}


@pytest.mark.parametrize(
    ("fault", "pending", "says"), [("never-ready", "HTTP /healthz on 8080", "push"), ("push-never", "gRPC push on 8081", "http")]
)
def test_a_backend_that_is_never_ready_is_told_with_the_port(scene: Scene, fault: str, pending: str, says: str) -> None:
    given = scene.options(OURS, "integration", SPAWNER_BREAK=fault)

    async def play() -> None:
        async with Engine(scene.socket) as engine:
            container = await engine.create("backend", start.body(given))
            await engine.start(container)
            await asyncio.to_thread(eventually, lambda: f"{says} 127.0.0.1" in scene.world.boxes[container]["log"])
            await start.ready(engine, container, 0.5)

    with pytest.raises(NotReady, match=f"not ready within 0.5 s, still waiting for {pending}; it said: http"):
        asyncio.run(play())


def test_a_push_port_that_listens_late_is_waited_for(scene: Scene) -> None:
    backend = scene.backend(OURS, "integration", SPAWNER_BREAK="push-late=1s")
    assert asyncio.run(push.answers(*backend.push))


def test_a_start_that_is_refused_makes_nothing(scene: Scene) -> None:
    with pytest.raises(Refused):
        scene.backend(OURS, "integration", BACKEND_STACK_LABEL="dev")
    assert scene.world.boxes == {}
