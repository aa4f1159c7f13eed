"""The life of one harness: begun with a lease and a watcher, brought up, switched, taken down with a proof.

Order is everything: the lease and the watcher come before the first file and the first container, so that whatever kills this
process, the watcher or the next command finds all of it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import requests
import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned_dirs, _owned_runs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import RealFiles
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import OwnershipError

from benchkeeper import engine as engines
from benchkeeper import images, owned, setup, watcher
from benchkeeper.console import phase, say
from benchkeeper.errors import BenchError, UnfitError, UsageError
from benchkeeper.harness import edge, place, topology
from benchkeeper.harness.place import Place, TenantPlace, write_private
from benchkeeper.harness.services import ServiceError, Services, address_of, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchkeeper.engine import Engine
    from benchkeeper.paths import Paths

STACK = "tenant"
COMPOSE = "compose.json"
TIMEOUT = 90.0  # seconds until everything must answer
GONE = "the container engine does not answer any more; what is left is not known. Once it is back: ./bench reap"
_ENGINE_ERRORS = (EngineError, docker.errors.DockerException, requests.RequestException)


class TenantError(BenchError):
    """The tenant that is tested did not come up: that is its own fault, not the bench's."""


class LeftError(BenchError):
    """Something is left of a harness, or may be."""

    exit_code = 4


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a harness.

    Attributes:
        tenants: How many tenants replays share.
        spares: How many more, which a replay has for itself.
        closed: How many of those more without an admin token.
        kind: Kind of tenant, see `topology.KINDS`.
        image: Image of the tenant, for kind `image`.
        binary: Program of the tenant, or a folder with one called `tenant`, for kind `binary`.
        build_id: What a tenant of another kind says that it was built of; empty when that is not known.
        switches: What is wrong on purpose.
        port: Loopback port of the edge; 0 for one that the engine chooses.
        rebuild: Nothing of an earlier build is used.
        install: What is missing on this computer may be installed.
    """

    tenants: int = 2
    spares: int = 1
    closed: int = 1
    kind: str = topology.BUILTIN
    image: str = ""
    binary: Path | None = None
    build_id: str = ""
    switches: topology.Switches = field(default_factory=topology.Switches)
    port: int = 0
    rebuild: bool = False
    install: bool = True


def check(wish: Wish) -> None:
    """Refuse a wish that makes no sense. Raises UsageError."""
    if wish.kind not in (topology.BUILTIN, topology.IMAGE, topology.BINARY):
        raise UsageError(f"a harness has tenants of kind builtin, image or binary, not {wish.kind!r}")
    if (wish.kind == topology.IMAGE) != bool(wish.image):
        raise UsageError("kind image needs --image NAME, and no other kind has one")
    if (wish.kind == topology.BINARY) != bool(wish.binary):
        raise UsageError("kind binary needs --binary PATH, and no other kind has one")
    if wish.binary is not None and not os.access(program_of(wish.binary), os.X_OK):
        raise UsageError(f"{program_of(wish.binary)} is no program that can be run")
    if wish.kind == topology.BUILTIN and wish.build_id:
        raise UsageError("the builtin tenant is built now, under an id of this run")
    topology.tenants(wish.tenants)
    topology.tenants(wish.tenants + wish.spares)
    if wish.closed not in (0, 1):
        raise UsageError(f"a harness has at most one tenant without an admin token, not {wish.closed}")


def program_of(binary: Path) -> Path:
    """Return the program that is meant by a path: itself, or `tenant` in a folder."""
    return binary / "tenant" if binary.is_dir() else binary


class Harness:
    """One harness that this process holds.

    Args:
        paths: The checkout.
        wish: What is wanted.
        run: The run, whose lease is written.
        watch: Its watcher.
        stop: Asked again and again: whether to give up.
    """

    def __init__(self, paths: Paths, wish: Wish, run: owned.OwnedRun, watch: watcher.Watch, stop: Callable[[], bool]) -> None:
        self.paths = paths
        self.wish = wish
        self.run = run
        self.watch = watch
        self._stop = stop
        self.folder = Path(run.state_directory())
        self.seconds: dict[str, float] = {}
        self._services: Services | None = None
        self._plan: topology.Plan | None = None
        self._place: Place | None = None

    @property
    def project(self) -> str:
        """Name of the compose project."""
        return f"bk-{self.run.lease.run.lower()}"

    @property
    def place(self) -> Place:
        """What its users have to know. Raises UnfitError when it is not up."""
        if self._place is None:
            raise UnfitError("the harness is not up")
        return self._place

    @property
    def plan(self) -> topology.Plan:
        """What it consists of. Raises UnfitError when it is not up."""
        if self._plan is None:
            raise UnfitError("the harness is not up")
        return self._plan

    def up(self) -> Place:
        """Bring everything up; return what its users have to know.

        Raises:
            TenantError: The tenant does not come up; everything else did, or would have.
            UnfitError: The bench does not.
        """
        begun = time.monotonic()
        engine, tags = setup.prepare_images(self.paths, STACK, install=self.wish.install)
        self.seconds["setup"] = time.monotonic() - begun
        sources = self.paths.stacks / STACK / "reference"
        built = topology.check_build_id(f"{self.run.lease.run}-{images.tree_hash(sources)[:12]}")
        tag = f"benchkeeper/harness:{self.run.lease.run.lower()}"
        tenant = self.wish.image or (f"{tag}-binary" if self.wish.binary else tag)
        if self.wish.image:
            self._need_image(engine, tenant)
        build = {tag: _once(lambda: self._build(engine, tag, sources, {"BASE": tags["runtime"], "GIT_SHA": built}))}
        if self.wish.binary:
            build[tenant] = _once(lambda: self._package(engine, tenant, tags["runtime"]))
        begun = time.monotonic()
        self._plan = self._make_plan(topology.Images(tags["services"], tag, tenant), self.wish.build_id or built)
        self._services = Services(engine.client, self._write(self._plan), self._plan.environments(), self._stop)
        with phase("harness", f"bringing {len(self._plan.tenants)} tenants, their servers and the edge up"):
            self._blamed(lambda: self.services.up(TIMEOUT, build))
        self.seconds["up"] = time.monotonic() - begun
        return self._describe()

    def stopped(self) -> bool:
        """Return whether somebody asked to stop."""
        return self._stop()

    @property
    def services(self) -> Services:
        """What runs. Raises UnfitError when it is not up."""
        if self._services is None:
            raise UnfitError("the harness is not up")
        return self._services

    def _blamed(self, act: Callable[[], object]) -> None:
        """Do something with the services; a tenant that does not come up is not the bench's fault."""
        try:
            act()
        except ServiceError as error:
            if error.service.startswith("tenant-"):
                raise TenantError(str(error)) from error
            raise

    def switch(self, switches: topology.Switches) -> list[str]:
        """Bring bugs back, or take them away: services that are to behave otherwise are made anew. Return their names."""
        begun = time.monotonic()
        plan = self.plan
        table = edge_table(self.paths)
        changed = replace(plan, switches=switches, edge=edge.read(table, switches.edge_profile, switches.edge))
        self._plan = changed
        names: list[str] = []
        self._blamed(lambda: names.extend(self.services.again(self._write(changed), changed.environments(), TIMEOUT)))
        if names:
            self._describe()
        self.seconds["switch"] = self.seconds.get("switch", 0.0) + time.monotonic() - begun
        return names

    def _need_image(self, engine: Engine, name: str) -> None:
        if images.find(engine.client, name) is None:
            raise UsageError(f"there is no image {name} on this computer's engine; load it, or build it, and try again")

    def _build(self, engine: Engine, tag: str, context: Path, arguments: Mapping[str, str]) -> None:
        command = [str(engine.program), "build", "--tag", tag]
        for key, value in {**self.run.labels, "benchkeeper.kind": "image"}.items():
            command += ["--label", f"{key}={value}"]
        for key, value in arguments.items():
            command += ["--build-arg", f"{key}={value}"]
        if self.wish.rebuild:
            command.append("--no-cache")
        images.checked([*command, str(context)], None, tag, self.paths.work / "logs" / "build-harness.log")

    def _package(self, engine: Engine, tag: str, base: str) -> None:
        """Put a program from outside into an image, on what our own parts run on."""
        binary = self.wish.binary or Path()
        context = self.folder / "binary"
        context.mkdir(mode=0o700)
        if binary.is_dir():
            shutil.copytree(binary, context / "app")
        else:
            (context / "app").mkdir()
            shutil.copy2(binary, context / "app" / "tenant")
        lines = ("ARG BASE", "FROM ${BASE}", "COPY app /app", "WORKDIR /app", 'CMD ["/app/tenant"]')
        (context / "Dockerfile").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._build(engine, tag, context, {"BASE": base})

    def _make_plan(self, chosen: topology.Images, build_id: str) -> topology.Plan:
        switches = self.wish.switches
        plan = topology.Plan(
            project=self.project,
            labels=self.run.labels,
            images=chosen,
            tenants=[*topology.tenants(self.wish.tenants + self.wish.spares), *([topology.closed()] if self.wish.closed else [])],
            switches=switches,
            edge=edge.read(edge_table(self.paths), switches.edge_profile, switches.edge),
            build_id=build_id,
            key=base64.b64encode(os.urandom(32)).decode("ascii"),
            mask=secrets.token_hex(16),
            port=self.wish.port,
        )
        return plan.with_env_files(self.folder)

    def _write(self, plan: topology.Plan) -> dict[str, object]:
        """Write down what compose needs to look at it, or to take it down; return the document."""
        document = plan.document()
        for name, values in plan.environments().items():
            lines = "".join(f"{key}={value}\n" for key, value in sorted(values.items()))
            write_private(Path(plan.env_files[name]), lines)
        write_private(self.folder / COMPOSE, json.dumps(document, indent=1, sort_keys=True))
        return document

    def _describe(self) -> Place:
        plan, services = self.plan, self.services
        inside = f"{self.project}_inside"
        front = services.container("edge")
        ports = topology.PORTS

        def described(one: topology.Tenant) -> TenantPlace:
            base = f"postgres-{one.name}"
            return TenantPlace(
                name=one.name,
                host=one.host,
                org=one.org,
                direct=f"http://{services.address(one.service)}:{ports['tenant']}",
                admin_token=one.admin_token,
                database=f"postgres://harness:{one.database_password}@{services.address(base)}:{ports['postgres']}/molecule",
            )

        everybody = [described(one) for one in plan.tenants]
        shared, spare = self.wish.tenants, self.wish.tenants + self.wish.spares
        self._place = Place(
            run=self.run.lease.run,
            kind=self.wish.kind,
            build_id=plan.build_id if self.wish.kind == topology.BUILTIN else self.wish.build_id,
            edge=f"http://127.0.0.1:{published(front, ports['edge'])}",
            edge_direct=f"http://{address_of(front, inside)}:{ports['edge']}",
            stub=f"http://{services.address('stub')}:{ports['stub']}",
            redis=f"redis://{services.address('redis')}:{ports['redis']}",
            tenants=tuple(everybody[:shared]),
            spares=tuple(everybody[shared:spare]),
            closed=tuple(everybody[spare:]),
        )
        place.write(self.folder, self._place)
        return self._place

    def save_logs(self, folder: Path) -> None:
        """Keep what every service printed, without secrets, as far as it can be had; before anything is taken down."""
        with contextlib.suppress(*_ENGINE_ERRORS, OSError):
            self._save_logs(folder)

    def _save_logs(self, folder: Path) -> None:
        if self._services is None or self._plan is None:
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor  # noqa: PLC0415 - on failure only

        known = [value for one in self._plan.tenants for value in (one.admin_token, one.database_password, one.usage_token)]
        redactor = Redactor([*known, self._plan.key, self._plan.mask])
        for name in self._plan.document()["services"]:
            text = self._services.logs(name)
            if text:
                (folder / f"{name}.log").write_text(redactor.text(text), encoding="utf-8")

    def down(self) -> list[str]:
        """Take everything down and prove that nothing is left; return what is, and what was made without the run's labels."""
        begun = time.monotonic()
        with phase("harness", "taking everything down"):
            left = end(self.run, self.watch)
        self.seconds["down"] = time.monotonic() - begun
        return left

    def keep(self) -> None:
        """Leave it as it is until somebody takes it down."""
        self.run.keep()
        self.watch.dismiss()
        say("harness", f"it stays, at {self.place.edge}; take it down with: ./bench harness down --run {self.run.lease.run}")


def edge_table(paths: Paths) -> object:
    """Return the table of headers that the edge is configured from."""
    return yaml.safe_load((paths.stacks / STACK / "harness" / "edge.yml").read_text(encoding="utf-8"))


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Return what does something once, whoever asks first; who asks meanwhile waits, and a failure is everybody's."""
    lock, done, failed = threading.Lock(), threading.Event(), []

    def call() -> None:
        with lock:
            if not done.is_set():
                done.set()
                try:
                    act()
                except UnfitError as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    return call


@contextlib.contextmanager
def engine_needed() -> Iterator[None]:
    """Turn what the engine's clients raise into an UnfitError."""
    try:
        yield
    except _ENGINE_ERRORS as error:
        raise UnfitError(f"the container engine does not answer as it should: {error}") from error


def end(run: owned.OwnedRun, watch: watcher.Watch) -> list[str]:
    """End a run; return what is left of it and what it made without its labels. Only when nothing is left its watcher goes, too."""
    try:
        outcome = run.end()
    except _ENGINE_ERRORS:
        return [GONE]
    if not outcome.left:
        watch.dismiss()
    left = [f"{one['kind']} {one['name']} is left: {one['why']}" for one in outcome.left]
    return left + [f"{one['kind']} {one['name']} has not the run's labels: {one['why']}" for one in outcome.strays]


def begin(paths: Paths, wish: Wish, stop: Callable[[], bool] = lambda: False) -> Harness:
    """Sweep what dead runs left, then begin a run: nothing was made before its lease and its watcher are there."""
    check(wish)
    watcher.sweep_left_over(paths)
    if engines.connect() is None:
        engines.ensure(install=wish.install)  # the watcher asks the engine before it says that it watches
    run = owned.begin(paths, STACK)
    return Harness(paths, wish, run, watcher.watch(run), stop)


def kept(paths: Paths, run_id: str | None) -> _owned_runs.RunLease:
    """Return the lease of the harness that stays. Raises UsageError when there is none, or more than one and none is named."""
    directory = owned.directory(paths)
    found = []
    for name in _owned_runs.names(directory):
        lease = _owned_runs.read(_owned_runs.where(directory, name))
        if lease is not None and lease.stack == STACK and not lease.trouble and run_id in (None, lease.run):
            state = _owned_runs.state(lease, time.time())
            if state == _owned_runs.KEPT or (run_id and state != _owned_runs.DEAD):
                found.append(lease)
    if not found:
        raise UsageError(f"there is no harness{f' {run_id}' if run_id else ''} that stays; bring one up: ./bench harness up")
    if len(found) > 1:
        raise UsageError(f"more than one harness stays; name one with --run: {', '.join(one.run for one in found)}")
    return found[0]


def folder_of(lease: _owned_runs.RunLease) -> Path:
    """Return the directory of a run's harness. Raises UnfitError when it is gone."""
    try:
        directories = _owned_dirs.find(RealFiles(), lease.roots, lease.ownership())
    except (OSError, OwnershipError) as error:
        raise UnfitError(f"the directory of run {lease.run} cannot be looked for: {error}") from error
    for one in directories:
        if (Path(one.path) / place.FILE).is_file():
            return Path(one.path)
    raise UnfitError(f"the directory of run {lease.run} is gone; remove the rest: ./bench harness down --run {lease.run}")


def take_down(paths: Paths, run_id: str | None) -> list[str]:
    """Take a harness down that stayed; return what is left of it."""
    lease = kept(paths, run_id)
    run = owned.take_over(paths, lease.run)
    with phase("harness", f"taking {lease.run} down"):
        return end(run, watcher.watch(run))
