"""What the cleanup tests need of the real engine: images, things to plant, a stranger's sandbox, and a look at what is left.

Runs are begun as a harness begins them, with a lease and a watcher, so a killed test session leaves nothing of them. What carries
less than the ownership triple, because a stranger's does, carries `PLANTED`: it is removed by that, and by nothing of the project.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _owned_runs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import KIND, RUN, labels_of, name_of
from spawner.engine import Engine as SpawnerEngine
from testenv import start

from benchkeeper import engine as engines
from benchkeeper import images, owned, owned_processes, setup, watcher
from benchkeeper.paths import Paths, checkout
from tests.unit.owned.test_sweep import ended
from tests.unit.spawner_stack.test_spawner import ask, eventually, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PLANTED = "benchkeeper-test.checkout"
ROOT = checkout()
LOOKS = "250ms"  # between two looks of a reconciler: a test waits for two of them


@dataclass(frozen=True)
class Images:
    """Images by what they are for. `bare` has no label of ours: what is made from it inherits nothing."""

    standin: str
    game: str
    bare: str


def make_images(engine: engines.Engine, client: Engine) -> Images:
    """Build what is missing; it is cached by content, as all images of this checkout are."""
    with setup.only_one(ROOT):
        wanted = {"runtime": images.recipes(ROOT, "tenant", [])["runtime"]}
        runtime = images.ensure(engine, ROOT, wanted, install=True)["runtime"]
        reference = ROOT.stacks / "spawner" / "reference"
        ours = {
            "standin": images.Recipe("spawner-standin", reference, "spawner", {"RUNTIME": runtime}),
            "game": images.recipes(ROOT, "spawner", [])["game"],
        }
        made = images.ensure(engine, ROOT, ours, install=True)
    return Images(made["standin"], made["game"], _without_labels(engine, client))


def _without_labels(engine: engines.Engine, client: Engine) -> str:
    """Return an image that is nobody's: labels of an image come down to its containers, and the base has all three of ours."""
    tag = bare_tag()
    if images.find(engine.client, tag):
        return tag
    base = client.post("/containers/create", body={"Image": images.base_tag(), "Cmd": ["true"], "Labels": {PLANTED: mark()}})
    with subprocess.Popen([str(engine.program), "export", base["Id"]], stdout=subprocess.PIPE) as out:
        subprocess.run([str(engine.program), "import", "-", tag], stdin=out.stdout, check=True, capture_output=True)
    client.remove(base["Id"], force=True)
    return tag


def mark() -> str:
    """Return what `PLANTED` says: another checkout's tests may be at work on the same engine."""
    return ROOT.checkout_id


def sweep_planted(client: Engine) -> None:
    """Remove what strangers made for tests of this checkout."""
    labelled = {PLANTED: mark()}
    for one in client.containers(labelled):
        with contextlib.suppress(EngineError):  # somebody else was faster; who is still there is seen at the end
            client.remove(one["Id"], force=True, volumes=True)
    for one in client.networks(labelled):
        client.remove_network(one["Id"])
    for one in client.volumes(labelled):
        client.remove_volume(one["Name"])


def bare_tag() -> str:
    """Return the name of the image without labels: it is all that says whose it is."""
    return f"bare-of-labels:{mark()}"


def forget_images(client: Engine) -> None:
    """Remove the image that is nobody's."""
    with contextlib.suppress(EngineError):  # in use: its containers are named at the end of their test
        client.remove_image(bare_tag(), noprune=True)


def another_checkout(place: Path) -> Paths:
    """Return a checkout with this one's code and an id of its own: the runs of tests are then nobody else's, and `down` is safe."""
    place.mkdir()
    # Where the package stands is where the checkout is.
    subprocess.run(["cp", "-r", str(ROOT.root / "benchkeeper"), str(place)], check=True)
    for name in ("ansible.cfg", "collections", "inventories", "keeper", "playbooks", "plugins", "roles", "stacks"):
        (place / name).symlink_to(ROOT.root / name)
    return Paths(place.resolve())


class Rig:
    """One test's share of the engine. `paths` is its checkout, `place` where its state directories are made."""

    def __init__(self, client: Engine, made: Images, paths: Paths, place: Path) -> None:
        self.engine, self.images, self.paths, self.place = client, made, paths, place
        self._runs: list[tuple[owned.OwnedRun, watcher.Watch]] = []
        self._known: list[str] = []
        self._strangers: dict[str, str] = {}

    # Runs

    def begin(self, stack: str = "spawner") -> owned.OwnedRun:
        """Begin a run, with a watcher."""
        run = owned.begin(self.paths, stack, (str(self.place),))
        self._runs.append((run, watcher.watch(run)))
        self._known.append(run.lease.run)
        return run

    def adopt(self, run_id: str) -> None:
        """Make a run that somebody else holds one of those of which nothing may be left."""
        self._known.append(run_id)

    def die(self, run: owned.OwnedRun, **more: Any) -> None:
        """Let a run's holder be one that is gone, as after a kill -9 of supervisor and watcher."""
        run.lease = dataclasses.replace(run.lease, holder=ended(), **more)
        _owned_runs.write(owned.directory(self.paths), run.lease)

    def bench(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Do what `./bench` does with these words in this checkout."""
        code = [str(self.paths.root), str(self.paths.root / "collections")]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "benchkeeper", *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(code), **environment},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        print(f"$ ./bench {' '.join(words)}  -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    # Planting

    def box(self, own: Mapping[str, str], state: str = "running", image: str = "", env: Sequence[str] = (), **host: Any) -> str:
        """Make a container in some state and return its id."""
        command = {"exited": ["true"], "restarting": ["false"]}.get(state, ["sleep", "600"])
        if state == "restarting":
            host["RestartPolicy"] = {"Name": "always"}
        body = {
            "Image": image or self.images.bare,
            "Cmd": command,
            "Env": list(env),
            "Labels": dict(own),
            "HostConfig": {"NetworkMode": "none", **host},
        }
        identity = str(self.engine.post("/containers/create", body=body)["Id"])
        if state != "created":
            self.engine.start(identity)
        if state == "paused":
            self.engine.pause(identity)
        if state in ("exited", "restarting"):
            eventually(lambda: self.state(identity) == state)
        return identity

    def boxes(self, wanted: Mapping[str, tuple[Mapping[str, str], str]]) -> dict[str, str]:
        """Make several containers at the same time, `{name: (labels, state)}`; return their ids by name."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = {name: pool.submit(self.box, own, state) for name, (own, state) in wanted.items()}
            return {name: job.result() for name, job in jobs.items()}

    def stranger(self, own: Mapping[str, str], state: str = "running", image: str = "", **host: Any) -> str:
        """Make a container that must still be there, in the same state, when the test is over."""
        identity = self.box({**own, PLANTED: mark()}, state, image, **host)
        self._strangers[identity] = state
        return identity

    def let_go(self, identity: str) -> None:
        """Take a stranger's container away, as its owner would."""
        del self._strangers[identity]
        self.engine.remove(identity, force=True)

    def network(self, own: Mapping[str, str], *, internal: bool = True) -> str:
        """Make a network and return its name. The engine publishes no port of one that is internal."""
        name = f"bk-test-{secrets.token_hex(6)}"
        body = {"Name": name, "Driver": "bridge", "Internal": internal, "Labels": dict(own)}
        self.engine.post("/networks/create", body=body)
        return name

    def volume(self, own: Mapping[str, str]) -> str:
        """Make a volume and return its name."""
        return str(
            self.engine.post("/volumes/create", body={"Name": f"bk-test-{secrets.token_hex(6)}", "Labels": dict(own)})["Name"]
        )

    def image(self, run: owned.OwnedRun) -> str:
        """Make an image of a run, named after it, and return its tag."""
        base = self.box(run.labels, "created")
        tag = f"bk-test:{run.lease.run.lower()}"
        repository, _colon, word = tag.partition(":")
        said = {"Labels": {**run.labels, KIND: "image"}}
        self.engine.post("/commit", {"container": base, "repo": repository, "tag": word}, said)
        self.engine.remove(base, force=True)
        return tag

    def everything(self, run: owned.OwnedRun) -> dict[str, str]:
        """Make one of each kind that hang on each other; return their ids or names by kind."""
        net, vol, tag, path = self.network(run.labels), self.volume(run.labels), self.image(run), run.state_directory()
        binds = [f"{path}:{path}", f"{vol}:/data"]
        box = self.box({**run.labels, KIND: "container"}, image=tag, NetworkMode=net, Binds=binds)
        return {"container": box, "network": net, "volume": vol, "image": tag, "directory": path}

    # Backends

    def options(self, own: Mapping[str, str], state: str, label: str, **more: Any) -> start.Options:
        """Return how a backend is started."""
        extra = {"BACKEND_RECONCILE_INTERVAL": LOOKS, **more.pop("extra", {})}
        given = {"socket": owned.socket(), "extra": extra, **more}
        return start.Options(self.images.standin, self.images.game, dict(own), label, state, **given)

    def backend(self, given: start.Options, deadline: float = 60.0) -> start.Backend:
        """Start a backend and wait until it is ready."""
        return asyncio.run(_started(given, deadline))

    def socket_filter(self, run: owned.OwnedRun) -> str:
        """Start the socket filter for a run, in a container of the run; return the socket that it listens on."""
        state, engine = run.state_directory(), owned.socket()
        path = f"{state}/filter.sock"
        env = {**run.environment, "FILTER_LISTEN": f"unix:{path}", "FILTER_ROOTS": str(self.place), "DOCKER_SOCKET": engine}
        body = {
            "Image": self.images.standin,
            "Cmd": ["socket_filter"],
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Labels": {**run.labels, KIND: "container"},
            # What it may let be mounted it must see, at the same path.
            "HostConfig": {"NetworkMode": "none", "Binds": [f"{engine}:{engine}", f"{self.place}:{self.place}"]},
        }
        self.engine.start(str(self.engine.post("/containers/create", body=body)["Id"]))

        def listens() -> bool:
            with contextlib.suppress(EngineError):
                return bool(Engine(path).version())
            return False

        eventually(listens)
        return path

    @staticmethod
    def game(backend: start.Backend, **asked: Any) -> dict[str, Any]:
        """Start a game, and wait until its engine has written where its state is."""
        code, game = ask(backend, "POST", "/games", asked)
        assert code == 201, game
        return dict(game)

    # Looking

    def state(self, identity: str) -> str:
        """Return what the engine says of a container, `gone` when there is none."""
        try:
            return str(self.engine.inspect(identity)["State"]["Status"])
        except EngineError as error:
            if error.status != 404:
                raise
            return "gone"

    def there(self, found: Mapping[str, str]) -> set[str]:
        """Return the kinds of those objects that are there."""
        look: dict[str, Callable[[str], Any]] = {
            "container": self.engine.inspect,
            "network": self.engine.network,
            "volume": self.engine.volume,
            "image": self.engine.image,
            "directory": os.stat,
        }
        kinds = set()
        for kind, one in found.items():
            try:
                look[kind](one)
            except FileNotFoundError:
                continue
            except EngineError as error:
                if error.status == 404:
                    continue
                raise
            kinds.add(kind)
        return kinds

    def left(self, run_id: str) -> list[str]:
        """Return what of a run is on the engine (by the one label), on the disk and among the processes."""
        labelled = {RUN: run_id}
        lists: dict[str, list[dict[str, Any]]] = {
            "container": self.engine.containers(labelled),
            "network": self.engine.networks(labelled),
            "volume": self.engine.volumes(labelled),
            "image": self.engine.images(labelled),
        }
        found = [f"{kind} {name_of(one)}" for kind, some in lists.items() for one in some if PLANTED not in labels_of(one)]
        found += [f"directory {path}" for path in self.place.glob(f"*{run_id}*")]
        found += [f"lease {path}" for path in owned.directory(self.paths).glob(f"{run_id}*")]
        return found + [f"process {pid}" for pid in _processes(run_id)]

    def kinds_left(self, run: owned.OwnedRun) -> set[str]:
        """Return the kinds of what is left of a run."""
        return {one.split()[0] for one in self.left(run.lease.run)}

    # The end

    def close(self) -> None:
        """End what is not ended, then see that nothing of any run is left and that every stranger is as it was."""
        for run, watch in reversed(self._runs):
            if run.file.exists():
                run.end()
            watch.dismiss()
        left = [f"{run_id}: {one}" for run_id in self._known for one in self.left(run_id)]
        strangers = {identity: self.state(identity) for identity in self._strangers}
        sweep_planted(self.engine)
        assert left == []
        assert strangers == self._strangers, "a stranger's was touched"
        assert self.engine.containers({PLANTED: mark()}) == []
        # Fails when something is in it.
        self.place.rmdir()


async def _started(given: start.Options, deadline: float) -> start.Backend:
    async with SpawnerEngine(owned.socket()) as engine:
        return await start.start(engine, f"bk-test-{secrets.token_hex(6)}", given, deadline)


def _processes(run_id: str) -> Iterable[int]:
    word = f"{owned_processes.NAMES['run']}={run_id}".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            # Those in containers, too: they carry it when somebody handed it to them.
            if entry.name.isdigit() and word in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


class Sandbox:
    """A stranger's environment: its own checkout, user, backend and game, for as long as all tests last."""

    def __init__(self, client: Engine, made: Images, paths: Paths, place: Path) -> None:
        self.rig = Rig(client, made, paths, place)
        self.run = self.rig.begin("sandbox")
        self.network = self.rig.network(self.run.labels, internal=False)
        given = self.rig.options(self.run.labels, self.run.state_directory(), "dev", network=self.network)
        self.backend = self.rig.backend(given)
        self.played = self.rig.game(self.backend)
        self.volume = self.rig.volume(self.run.labels)

    def view(self) -> list[str]:
        """What its reconciler itself says of its games, after two more looks."""
        return status_of(self.backend)

    def close(self) -> None:
        """End it, as its owner would."""
        outcome = self.run.end()
        assert outcome.clean, (outcome.left, outcome.strays)
        self.rig.close()
