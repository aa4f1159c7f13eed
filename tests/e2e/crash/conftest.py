"""What every case of the battery begins and ends with: machines that are free, and of a case nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.crash.machine import PATHS, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

HOSTS = ("bench-0", "miner-0", "miner-1")
TIDY = 20.0  # seconds until what a restore still has to take away after it freed a machine is gone


@pytest.fixture(scope="session")
def up(bench: Any) -> None:
    """The bench is up, and every machine has its keeper. Both take a moment when it is so already."""
    assert bench.run("up").returncode == 0
    play = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "playbooks/keeper.yml",
        "-e",
        json.dumps({"targets": list(HOSTS)}),
    ]
    done = subprocess.run(play, cwd=PATHS.root, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture
def machine(up: None) -> Iterator[Callable[[str], Machine]]:
    """Hands out machines by name; at the end each is free, as it was, and nothing of ours is left on it."""
    known: dict[str, tuple[Machine, dict[str, str]]] = {}

    def get(name: str) -> Machine:
        if name not in known:
            one = Machine(name)
            assert one.traces() == [], f"{name} is not free before the case"
            known[name] = (one, one.world())
            one.begin()
        return known[name][0]

    yield get
    problems = []
    for one, before in known.values():
        try:
            one.until("nothing is left", one.tidy, TIDY)
        except AssertionError:
            problems.append(f"{one.name}: left: {one.traces()}")
        one.give_back()
        after = one.world()
        problems += [
            f"{one.name}: {key} was {before.get(key)!r}, is {after.get(key)!r}" for key in after if after[key] != before.get(key)
        ]
    assert problems == []


@pytest.fixture
def miner(machine: Callable[[str], Machine]) -> Machine:
    """The machine that most cases hurt."""
    return machine("miner-1")
