"""A runner that is killed, a reaper that comes while one lives, an engine that refuses: the real engine, the real commands."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from benchkeeper import processes, watcher
from tests.unit.owned.test_watcher import Supervisor
from tests.unit.spawner_stack.test_spawner import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.owned.engine_rig import Rig


@pytest.fixture
def supervisor(rig: Rig) -> Iterator[Supervisor]:
    """A process that holds a run, with a watcher, a directory and a command of the run."""
    one = Supervisor(rig.paths)
    rig.adopt(one.labels["benchkeeper.run"])
    yield one
    one.close()


def fill(rig: Rig, one: Supervisor) -> dict[str, str]:
    """Give the run something of each kind, a backend that makes games itself among it."""
    own = one.labels
    net = rig.network(own, internal=False)
    backend = rig.backend(rig.options(own, one.directory.as_posix(), "integration", network=net))
    game = rig.game(backend)
    return {
        "container": game["container"],
        "network": net,
        "volume": rig.volume(own),
        "directory": str(one.directory),
    }


def test_kill_9_of_the_supervisor_leaves_nothing(rig: Rig, supervisor: Supervisor) -> None:
    made, run = fill(rig, supervisor), supervisor.labels["benchkeeper.run"]
    assert rig.there(made) == set(made)
    assert {one.split()[0] for one in rig.left(run)} == {"container", "network", "volume", "directory", "lease", "process"}
    supervisor.kill()
    eventually(lambda: not rig.left(run), 40.0)
    eventually(lambda: not supervisor.watched_over())
    assert not supervisor.working()
    assert rig.there(made) == set()


def test_kill_9_of_supervisor_and_watcher_is_cleaned_up_by_the_next_command(rig: Rig, supervisor: Supervisor) -> None:
    made, run = fill(rig, supervisor), supervisor.labels["benchkeeper.run"]
    processes.send({supervisor.watcher: supervisor.known[supervisor.watcher]}, signal.SIGKILL)
    supervisor.kill()
    eventually(lambda: not supervisor.watched_over())
    assert rig.there(made) == set(made), "nobody is there to clean up"
    # Nothing of its own to remove: what it sweeps first is all that it does.
    done = rig.bench("down")
    assert done.returncode == 0
    assert f"objects that {run} left" in done.stderr
    assert rig.left(run) == []
    assert rig.there(made) == set()
    assert rig.bench("reap").stdout.splitlines()[-1] == "nothing to reap"


def test_a_reaper_that_comes_while_a_run_lives_removes_nothing(rig: Rig, supervisor: Supervisor) -> None:
    run = supervisor.labels["benchkeeper.run"]
    with ThreadPoolExecutor(max_workers=2) as pool:
        filled = pool.submit(fill, rig, supervisor)
        looks = 0
        while not filled.done():
            assert watcher.sweep_left_over(rig.paths).outcome.removed == []
            looks += 1
        made = filled.result()
    assert looks > 1
    done = rig.bench("reap")
    assert done.returncode == 0
    assert f"run {run} (spawner): alive, held by" in done.stdout
    assert rig.bench("reap", "--run", run).returncode == 75
    assert rig.there(made) == set(made)
    supervisor.say("end")
    assert rig.left(run) == []


def test_the_second_cleanup_changes_nothing(rig: Rig) -> None:
    dead, alive = rig.begin(), rig.begin()
    found, others = rig.everything(dead), rig.everything(alive)
    rig.die(dead)
    assert rig.bench("reap", "--dry-run").returncode == 0
    assert rig.there(found) == set(found)
    reports = []
    for _turn in range(2):
        done = rig.bench("reap", "--json")
        assert done.returncode == 0
        reports.append(json.loads(done.stdout))
    assert [one["changed"] for one in reports] == [True, False]
    assert [one["kind"] for one in reports[0]["removed"]] == ["container", "network", "volume", "image", "directory"]
    assert rig.there(found) == set()
    assert rig.there(others) == set(others)


def test_an_engine_that_cannot_be_reached_is_never_nothing_to_do(rig: Rig) -> None:
    done = rig.bench("reap", DOCKER_HOST=f"unix://{rig.place}/nowhere.sock")
    assert done.returncode == 3
    assert "nothing to reap" not in done.stdout
    run = rig.begin()
    found, engine = rig.everything(run), run.lease.engine
    rig.die(run, engine=f"{rig.place}/nowhere.sock")
    done = rig.bench("reap")
    assert done.returncode == 4
    assert f"not known: {run.lease.run}:" in done.stdout
    assert done.stdout.splitlines()[-1] == "NOT everything of dead runs is known to be gone"
    assert rig.there(found) == set(found)
    assert run.file.exists()
    rig.die(run, engine=engine)
    assert rig.bench("reap").returncode == 0
    assert rig.there(found) == set()


def test_an_engine_that_refuses_to_remove_is_told_with_its_reason(rig: Rig) -> None:
    """The filter of another run lets look and lets nothing of this one be touched: an engine to which we may only say please."""
    other, run = rig.begin(), rig.begin()
    net, box = rig.network(run.labels), rig.box(run.labels, "created")
    engine = run.lease.engine
    rig.die(run, engine=rig.socket_filter(other))
    done = rig.bench("reap")
    assert done.returncode == 4
    said = [line for line in done.stdout.splitlines() if line.startswith("still there")]
    assert [line.split()[2] for line in said] == ["container", "network"]
    assert all("is not of this run" in line for line in said)
    assert rig.engine.network(net)["Name"] == net
    assert rig.state(box) == "created"
    assert run.file.exists()
    rig.die(run, engine=engine)
    assert rig.bench("reap").returncode == 0
