"""What bringing the harness up and taking it down costs, against what cannot be beaten: the engine's own time, in turns."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from harness_world import client

from benchkeeper import owned
from benchkeeper.harness import life
from benchkeeper.harness.services import PROBES, READY, Services
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from benchkeeper.harness.topology import Plan

LOOK = 0.005


def compare(rounds: int) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Return seconds of ours and of the floor, for bring-up and for teardown, measured in turns.

    The floor of bring-up: every container is made and started by a thread of its own as soon as what it needs answers, asked every
    5 ms, with the images, environments and networks of a real run. That of teardown: ``docker compose down -v -t 0`` of the same
    services, which leaves the image that ours removes as well.
    """
    up: tuple[list[float], list[float]] = ([], [])
    down: tuple[list[float], list[float]] = ([], [])
    for _round in range(rounds):
        harness = life.begin(checkout(), life.Wish())
        harness.up()
        up[0].append(harness.seconds["up"])
        begun = time.monotonic()
        assert harness.down() == []
        down[0].append(time.monotonic() - begun)
        harness = life.begin(checkout(), life.Wish())
        harness.up()
        plan = harness.plan
        command = ["docker", "compose", "-p", harness.project, "-f", str(harness.folder / life.COMPOSE), "down", "-v", "-t", "0"]
        begun = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        down[1].append(time.monotonic() - begun)
        up[1].append(_floor(plan))
        assert harness.down() == []
    print(f"bring-up: ours {_shown(up[0])}, floor {_shown(up[1])}; teardown: ours {_shown(down[0])}, compose {_shown(down[1])}")
    assert not list(owned.directory(checkout()).glob("*.json"))
    return up, down


def _shown(seconds: list[float]) -> str:
    return "/".join(f"{one:.2f}" for one in seconds)


def _floor(plan: Plan) -> float:
    document, environments = plan.document(), plan.environments()
    engine = client()
    bare = _Bare(engine, document, environments)
    begun = time.monotonic()
    bare.go()
    return time.monotonic() - begun


class _Bare(Services):
    """The engine's calls and nothing else."""

    def go(self) -> None:
        self._networks = self._make_networks()
        services: dict[str, Any] = self._document["services"]
        ready: dict[str, Any] = {}
        with ThreadPoolExecutor(max_workers=len(services)) as pool:
            for name in sorted(services, key=lambda one: bool(services[one].get("depends_on"))):
                ready[name] = pool.submit(self._start, name, services[name], dict(ready))
            for one in ready.values():
                one.result()

    def _start(self, name: str, wanted: Any, ready: dict[str, Any]) -> None:
        identity = self._create(name, wanted)
        for other in wanted.get("depends_on", {}):
            ready[other].result()
        self._api.start(identity)
        said = wanted[READY]
        probe, address = PROBES[said["speaks"]], self.address(name)
        while not probe(address, int(said["port"]), str(said.get("path", ""))):
            time.sleep(LOOK)
