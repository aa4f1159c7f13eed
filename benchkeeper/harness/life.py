"""The life of one harness: begun with a lease and a watcher, brought up and taken down by a playbook, ended with a proof.

Order is everything: the lease and the watcher come before the first file and the first container, so that whatever kills this
process, the watcher or the next command finds all of it.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchkeeper import images, owned, player, setup, watcher
from benchkeeper.console import phase, say
from benchkeeper.errors import UnfitError, UsageError
from benchkeeper.harness import edge, topology

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

    from benchkeeper.paths import Paths

STACK = "tenant"
DOCUMENT = "harness.json"  # what whoever uses the harness later has to know: tokens and ports, mode 0600
COMPOSE = "compose.json"
SCHEMA = 1


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a harness.

    Attributes:
        tenants: How many.
        kind: Kind of tenant, see `topology.KINDS`.
        image: Image of the tenant, for kind `image`.
        switches: What is wrong on purpose.
        rebuild: Nothing of an earlier build is used.
        install: What is missing on this computer may be installed.
        timeout: Seconds until everything must be healthy.
    """

    tenants: int = 2
    kind: str = topology.BUILTIN
    image: str = ""
    switches: topology.Switches = field(default_factory=topology.Switches)
    rebuild: bool = False
    install: bool = True
    timeout: int = 90


def check(wish: Wish) -> None:
    """Refuse a wish that makes no sense. Raises UsageError."""
    if wish.kind not in topology.KINDS:
        raise UsageError(f"unknown kind of tenant {wish.kind!r}; there are {', '.join(topology.KINDS)}")
    if (wish.kind == topology.IMAGE) != bool(wish.image):
        raise UsageError("kind `image` needs the name of an image, and no other kind has one")


class Harness:
    """One harness that this process holds."""

    def __init__(self, paths: Paths, wish: Wish, run: owned.OwnedRun, watch: watcher.Watch) -> None:
        self.paths = paths
        self.wish = wish
        self.run = run
        self.watch = watch
        self.folder = Path(run.state_directory())
        self.seconds: dict[str, float] = {}
        self.document: dict[str, Any] = {}

    @property
    def project(self) -> str:
        """Name of the compose project."""
        return f"bk-{self.run.lease.run.lower()}"

    def up(self) -> dict[str, Any]:
        """Bring everything up; return what its users have to know, which is also in the run's directory."""
        begun = time.monotonic()
        engine, tags = setup.prepare(self.paths, STACK, install=self.wish.install)
        build_id = topology.check_build_id(f"{self.run.lease.run}-{images.tree_hash(self._sources)[:12]}")
        tag = f"benchkeeper/harness:{self.run.lease.run.lower()}"
        plan = self._plan(tags, tag, build_id)
        for name, values in plan.environments().items():
            _private(Path(plan.env_files[name]), "".join(f"{key}={value}\n" for key, value in sorted(values.items())))
        _private(self.folder / COMPOSE, json.dumps(plan.document(), indent=1, sort_keys=True))
        build = {"name": tag, "context": str(self._sources), "args": {"BASE": tags["runtime"], "GIT_SHA": build_id}}
        self.seconds["setup"] = time.monotonic() - begun
        begun = time.monotonic()
        with phase("harness", f"bringing {len(plan.tenants)} tenants up"):
            self._play("present", builds=[build], rebuild=self.wish.rebuild, timeout=self.wish.timeout)
        self.seconds["up"] = time.monotonic() - begun
        self.document = self._describe(engine.client, plan)
        _private(self.folder / DOCUMENT, json.dumps(self.document, indent=1, sort_keys=True))
        return self.document

    @property
    def _sources(self) -> Path:
        return self.paths.stacks / STACK / "reference"

    def _plan(self, tags: Mapping[str, str], parts: str, build_id: str) -> topology.Plan:
        table = yaml.safe_load((self.paths.stacks / STACK / "harness" / "edge.yml").read_text(encoding="utf-8"))
        switches = self.wish.switches
        plan = topology.Plan(
            project=self.project,
            labels=self.run.labels,
            images=topology.Images(tags["services"], parts, self.wish.image or parts),
            tenants=topology.tenants(self.wish.tenants),
            switches=switches,
            edge=edge.read(table, switches.edge_profile, switches.edge),
            build_id=build_id,
            key=base64.b64encode(os.urandom(32)).decode("ascii"),
            mask=secrets.token_hex(16),
        )
        return plan.with_env_files(self.folder)

    def _play(self, state: str, **more: Any) -> None:
        values = {"state": state, "folder": str(self.folder), "project": self.project, "owned_labels": self.run.labels, **more}
        piece = player.Play(
            playbook=self.paths.root / "playbooks" / "harness.yml",
            inventory=self.paths.inventory,  # only this computer itself is played on
            root=self.paths.root,
            values=values,
            private=self.folder / "runner",
            events=self.folder / f"events-{state}.jsonl",
        )
        log = self.folder / f"{state}.log"
        code = player.play_through(piece, lambda: None, log)
        if code != 0:
            last = "\n".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-15:])
            raise UnfitError(f"the harness is not {'up' if state == 'present' else 'down'} (exit {code}):\n{last}")

    def _describe(self, client: docker.DockerClient, plan: topology.Plan) -> dict[str, Any]:
        ports = published(client, self.project)
        return {
            "schema": SCHEMA,
            "run": self.run.lease.run,
            "project": self.project,
            "build_id": plan.build_id,
            "kind": self.wish.kind,
            "edge": f"http://127.0.0.1:{ports['edge']}",
            "stub": f"http://127.0.0.1:{ports['stub']}",
            "redis": f"redis://127.0.0.1:{ports['redis']}",
            "switches": {
                key: sorted(value) if isinstance(value, frozenset) else value for key, value in asdict(plan.switches).items()
            },
            "tenants": [
                {
                    "name": one.name,
                    "host": one.host,
                    "org": one.org,
                    "admin_token": one.admin_token,
                    "direct": f"http://127.0.0.1:{ports[one.service]}",
                    "database": f"postgres://harness:{one.database_password}@127.0.0.1:{ports[f'postgres-{one.name}']}/molecule",
                }
                for one in plan.tenants
            ],
        }

    def down(self) -> list[str]:
        """Take everything down and prove that nothing is left; return what is."""
        begun = time.monotonic()
        if (self.folder / COMPOSE).exists():
            with phase("harness", "taking it down"):
                self._play("absent")
        outcome = self.run.end()
        self.seconds["down"] = time.monotonic() - begun
        if not outcome.left:
            self.watch.dismiss()
        return [str(one) for one in outcome.left]

    def keep(self) -> None:
        """Leave it as it is until somebody takes it down."""
        self.run.keep()
        self.watch.dismiss()
        say("harness", f"it stays: ./bench harness down --run {self.run.lease.run}")


def begin(paths: Paths, wish: Wish) -> Harness:
    """Sweep what dead runs left, then begin a run: nothing was made before its lease and its watcher are there."""
    check(wish)
    watcher.sweep_left_over(paths)
    run = owned.begin(paths, STACK)
    return Harness(paths, wish, run, watcher.watch(run))


def published(client: docker.DockerClient, project: str) -> dict[str, int]:
    """Return the loopback port of each service of a project that has one."""
    found: dict[str, int] = {}
    for container in client.containers.list(filters={"label": [f"com.docker.compose.project={project}"]}):
        service = str(container.labels["com.docker.compose.service"])
        for bound in (container.attrs["NetworkSettings"]["Ports"] or {}).values():
            for one in bound or ():
                if one["HostIp"] == "127.0.0.1":
                    found[service] = int(one["HostPort"])
    return found


def _private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
