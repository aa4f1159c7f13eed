"""`./bench reap`: who is dead, who is not, and what a person is told."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder, _owned_runs
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import triple

from benchkeeper import cli, owned, reap, watcher
from benchkeeper.errors import BusyError, UnfitError

if TYPE_CHECKING:
    from benchkeeper.paths import Paths
    from tests.unit.owned.world import World


def begin(paths: Paths, world: World, *, dead: bool) -> owned.OwnedRun:
    """A run with a box and a directory; its holder is this process, or one that ended."""
    run = owned.begin(paths, "spawner")
    world.box(f"box-{run.lease.run}", run.labels)
    run.state_directory()
    if dead:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        lease = dataclasses.replace(run.lease, holder=_keeper_holder.describe(process.pid))
        process.communicate(b"\n")
        _owned_runs.write(owned.directory(paths), lease)
    return run


def boxes(world: World) -> set[str]:
    return {str(box["name"]) for box in world.boxes.values()}


def test_the_dead_go_and_the_living_stay(paths: Paths, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    dead, alive = begin(paths, world, dead=True), begin(paths, world, dead=False)
    world.box("stranger", {"galaxy.backend": "1"})
    assert reap.reap(paths, None, dry=True, as_json=False) == 0
    said = capsys.readouterr().out
    assert f"would remove   container box-{dead.lease.run}" in said
    assert said.splitlines()[-1] == "nothing was removed: this was a dry run"
    assert len(world.boxes) == 3
    assert reap.reap(paths, None, dry=False, as_json=False) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "everything that dead runs left is gone"
    assert f"run {alive.lease.run} (spawner): alive, held by" in said
    assert boxes(world) == {f"box-{alive.lease.run}", "stranger"}
    assert reap.reap(paths, None, dry=False, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing to reap"


def test_scripts_get_one_document(paths: Paths, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(paths, world, dead=True)
    assert reap.reap(paths, None, dry=False, as_json=True) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(document) == {
        "schema", "dry_run", "exit_code", "changed", "removed", "left", "spared", "strays", "runs", "failed", "diff",
    }  # fmt: skip
    assert [one["kind"] for one in document["removed"]] == ["container", "directory"]
    assert document["runs"][0]["run"] == run.lease.run


def test_a_named_run_that_lives_is_refused(paths: Paths, world: World) -> None:
    run = begin(paths, world, dead=False)
    with pytest.raises(BusyError, match=f"pid {os.getpid()}, which is alive"):
        reap.reap(paths, run.lease.run, dry=False, as_json=False)
    assert len(world.boxes) == 1


def test_a_named_run_of_another_computer_is_refused(paths: Paths, world: World) -> None:
    run = begin(paths, world, dead=True)
    path = owned.directory(paths)
    _owned_runs.write(path, dataclasses.replace(run.lease, holder={**run.lease.holder, "controller_id": "elsewhere"}))
    with pytest.raises(BusyError, match="cannot be asked"):
        reap.reap(paths, run.lease.run, dry=False, as_json=False)


def test_a_kept_run_stays_until_it_is_named(paths: Paths, world: World) -> None:
    run = begin(paths, world, dead=True)
    lease = _owned_runs.read(run.file)
    assert lease is not None
    _owned_runs.write(owned.directory(paths), dataclasses.replace(lease, kept_until=owned.FOREVER))
    assert reap.reap(paths, None, dry=False, as_json=False) == 0
    assert len(world.boxes) == 1
    assert reap.reap(paths, run.lease.run, dry=False, as_json=False) == 0
    assert world.boxes == {}
    assert not run.file.exists()


def test_a_run_without_a_lease_is_told_and_goes_only_when_it_is_named(
    paths: Paths, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin(paths, world, dead=True)
    run.file.unlink()
    machine = triple(paths.checkout_id, "bench", "x").mapping() | {"benchkeeper.run": "bench"}
    world.box("machine", machine)
    assert reap.reap(paths, None, dry=False, as_json=False) == 4
    assert f"run {run.lease.run} (spawner): unknown" in capsys.readouterr().out
    assert boxes(world) == {f"box-{run.lease.run}", "machine"}
    assert reap.reap(paths, run.lease.run, dry=False, as_json=False) == 0
    assert boxes(world) == {"machine"}
    assert os.listdir(run.lease.roots[0]) == []  # noqa: PTH208 - names are enough


def test_another_checkouts_run_without_a_lease_is_none_of_ours(paths: Paths, world: World) -> None:
    run = "20260131T120000Z-0a1b2c"
    world.box("theirs", triple("deadbeef", "spawner", run).mapping())
    assert reap.reap(paths, None, dry=False, as_json=False) == 0
    assert reap.reap(paths, run, dry=False, as_json=False) == 0
    assert boxes(world) == {"theirs"}


def test_strays_are_1_and_leftovers_are_4(paths: Paths, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run = begin(paths, world, dead=True)
    child = world.box("child", {"galaxy.parent": next(iter(world.boxes))})
    assert reap.reap(paths, None, dry=False, as_json=False) == 1
    said = capsys.readouterr().out
    assert "without labels container child: names a container of the run as its maker (galaxy.parent)" in said
    assert list(world.boxes) == [child]
    assert not run.file.exists()
    begin(paths, world, dead=True)
    world.refused["remove container"] = (500, "no")
    assert reap.reap(paths, None, dry=True, as_json=False) == 0


def test_an_engine_that_is_gone_is_never_nothing_to_do(
    paths: Paths, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(paths, world, dead=True)
    world.down = True
    assert reap.reap(paths, None, dry=False, as_json=False) == 4
    assert reap.reap(paths, run.lease.run, dry=False, as_json=False) == 4
    assert "NOT everything" in capsys.readouterr().out
    run.forget()
    with pytest.raises(UnfitError, match="not known"):
        reap.reap(paths, None, dry=False, as_json=False)
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    with pytest.raises(UnfitError, match="tcp"):
        reap.reap(paths, None, dry=False, as_json=False)


def test_the_command_judges_the_id_first(capsys: pytest.CaptureFixture[str]) -> None:
    for bad in ("bench", "../x", "", "*"):
        assert cli.main(["reap", "--run", bad]) == 2
    assert "not a run id" in capsys.readouterr().err


# What later commands do first


def test_a_later_command_sweeps_first(paths: Paths, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    begin(paths, world, dead=True)
    alive = begin(paths, world, dead=False)
    assert watcher.sweep_left_over(paths).clean
    assert boxes(world) == {f"box-{alive.lease.run}"}
    assert "removed 2 objects" in capsys.readouterr().err


def test_without_leases_a_sweep_asks_nobody(paths: Paths, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.down = True
    assert watcher.sweep_left_over(paths).clean
    assert capsys.readouterr().err == ""


def test_a_sweep_that_fails_is_told_and_stops_nobody(paths: Paths, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    begin(paths, world, dead=True)
    world.down = True
    assert not watcher.sweep_left_over(paths).clean
    assert "left over from dead runs" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["up"], ["down"], ["setup"], ["e2e", "main"]], ids=lambda words: words[0])
def test_commands_that_make_or_remove_something_sweep_first(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def swept(_paths: Paths) -> None:
        raise UnfitError("swept first")

    def touched(*_: object, **__: object) -> None:
        pytest.fail("something was done before the sweep")

    monkeypatch.setattr(watcher, "sweep_left_over", swept)
    for name in ("benchkeeper.setup.up", "benchkeeper.setup.down", "benchkeeper.setup.prepare", "benchkeeper.repo.ensure"):
        monkeypatch.setattr(name, touched)
    assert cli.main(words) == 3
