"""Leases of runs, the sweep that goes by them, and the module over both."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder, _owned_dirs, _owned_runs, _owned_sweep
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import RealFiles
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import OwnershipError, triple
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import Scope
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_runs import ALIVE, DEAD, KEPT, UNKNOWN, RunLease
from ansible_collections.benchkeeper.core.plugins.modules import owned_directory, owned_prune

from tests.unit.owned.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = "20260131T120000Z-0a1b2c"
OTHER = "20260131T120000Z-ffffff"


def holder(pid: int | None = None) -> dict[str, Any]:
    return _keeper_holder.describe(pid or os.getpid())


def ended() -> dict[str, Any]:
    """A holder that was there and is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = holder(process.pid)
    process.communicate(b"\n")
    return found


def lease(run: str = RUN, who: dict[str, Any] | None = None, **more: Any) -> RunLease:
    return RunLease("0a1b2c3d", "spawner", run, who or holder(), _owned_runs.boot_id(), "/sock", **more)


GONE = ended()
STATES: dict[str, tuple[RunLease, str]] = {
    "its process is at work": (lease(), ALIVE),
    "its process ended": (lease(who=GONE), DEAD),
    "its number belongs to another process now": (lease(who={**holder(), "start_time": 1}), DEAD),
    "it lived in another boot": (dataclasses.replace(lease(), boot_id="another"), DEAD),
    "nobody wrote down the boot": (dataclasses.replace(lease(), boot_id=""), ALIVE),
    "it lives on another computer": (lease(who={**GONE, "controller_id": "elsewhere"}), UNKNOWN),
    "it is not named": (dataclasses.replace(lease(), holder={}), UNKNOWN),
    "half of its name is missing": (lease(who={key: value for key, value in GONE.items() if key != "start_time"}), UNKNOWN),
    "its lease cannot be read": (dataclasses.replace(lease(who=GONE), trouble="broken"), UNKNOWN),
    "it is kept": (lease(who=GONE, kept_until=2000.0), KEPT),
    "it was kept until a while ago": (lease(who=GONE, kept_until=999.0), DEAD),
    "a living one is not kept but alive": (lease(kept_until=2000.0), ALIVE),
}


@pytest.mark.parametrize("name", STATES)
def test_what_is_known_of_a_run(name: str) -> None:
    one, word = STATES[name]
    assert _owned_runs.state(one, now=1000.0) == word


def test_a_lease_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = lease(roots=("/a", "/b"), kept_until=5.0)
    path = _owned_runs.write(tmp_path / "owned", one)
    assert path.stat().st_mode & 0o777 == 0o600
    assert _owned_runs.read(path) == one
    assert _owned_runs.names(tmp_path / "owned") == [RUN]
    assert _owned_runs.names(tmp_path / "nowhere") == []
    assert _owned_runs.read(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({"schema": 1, "owner": "a", "stack": "b", "run": RUN}),
        json.dumps({"schema": 1, "owner": "a", "stack": "", "run": RUN, "holder": {}}),
        json.dumps({"schema": 1, "owner": "a", "stack": "*", "run": RUN, "holder": {}}),
        json.dumps({"schema": 1, "owner": "a", "stack": "b", "run": "bench", "holder": {}}),
        json.dumps({"schema": 1, "owner": "a", "stack": "b", "run": OTHER, "holder": {}}),
        json.dumps({"schema": 2, "owner": "a", "stack": "b", "run": RUN, "holder": {}}),
        json.dumps({"schema": 1, "owner": "a", "stack": "b", "run": RUN, "holder": 7}),
    ],
)
def test_a_lease_that_is_not_whole_says_nothing(text: str) -> None:
    one = _owned_runs.parse(RUN, text)
    assert one.trouble
    assert _owned_runs.state(one, 0.0) == UNKNOWN


class Scene:
    """Two runs on one engine, each with a box, a network and a directory; and a stranger."""

    def __init__(self, place: Path) -> None:
        self.world = World()
        self.leases = place / "owned"
        self.root = place / "state"
        self.root.mkdir()
        self.world.box("stranger", {"galaxy.backend": "1"})

    def run(self, run: str, who: dict[str, Any], **more: Any) -> None:
        one = lease(run, who, roots=(str(self.root),), **more)
        _owned_runs.write(self.leases, one)
        labels = one.ownership().mapping()
        self.world.box(f"box-{run}", labels, nets=(self.world.net(f"net-{run}", labels),))
        _owned_dirs.make(RealFiles(), str(self.root), one.ownership(), f"{1:032x}", (os.geteuid(), os.getegid()))

    def sweep(self, scope: Scope | None = None, **more: Any) -> _owned_sweep.Swept:
        how = _owned_sweep.How(lambda _socket: self.world, lambda _seconds: None, time.time(), **more)
        return _owned_sweep.sweep(self.leases, scope or Scope(), how)

    def there(self) -> set[str]:
        boxes = {str(box["name"]) for box in self.world.boxes.values()}
        return boxes | {path.name for path in self.root.iterdir()} | {path.stem for path in self.leases.iterdir()}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def all_of(run: str) -> set[str]:
    return {f"box-{run}", f"benchkeeper-{run}-{1:032x}", run}


def test_a_dead_run_goes_and_a_live_one_and_a_stranger_stay(scene: Scene) -> None:
    scene.run(RUN, GONE)
    scene.run(OTHER, holder())
    swept = scene.sweep()
    assert swept.clean
    assert {one["run"]: one["state"] for one in swept.runs} == {RUN: DEAD, OTHER: ALIVE}
    assert scene.there() == {"stranger"} | all_of(OTHER)
    assert [one["kind"] for one in swept.outcome.as_json()["removed"]] == ["container", "network", "directory"]
    again = scene.sweep()
    assert (again.outcome.removed, again.clean) == ([], True)


def test_nothing_of_a_live_run_is_touched_while_it_is_looked_at(scene: Scene) -> None:
    scene.run(RUN, holder())
    for _turn in range(3):
        scene.sweep()
    assert scene.there() == {"stranger"} | all_of(RUN)
    assert scene.world.log == []


def test_a_run_of_another_computer_is_left_alone(scene: Scene) -> None:
    scene.run(RUN, {**GONE, "controller_id": "elsewhere"})
    assert scene.sweep().runs[0]["state"] == UNKNOWN
    assert scene.there() == {"stranger"} | all_of(RUN)


def test_the_processes_end_before_the_objects_go(scene: Scene) -> None:
    scene.run(RUN, GONE)
    seen: list[tuple[str, int]] = []
    scene.sweep(first=lambda one: seen.append((one.run, len(scene.world.boxes))))
    assert seen == [(RUN, 2)]


def test_a_dry_run_ends_nothing_and_keeps_the_lease(scene: Scene) -> None:
    scene.run(RUN, GONE)
    before = scene.there()
    swept = scene.sweep(Scope(dry=True), first=lambda _one: pytest.fail("a process was ended"))
    assert len(swept.outcome.removed) == 3
    assert scene.there() == before


def test_a_lease_stays_until_nothing_is_left(scene: Scene) -> None:
    scene.run(RUN, GONE)
    scene.world.refused["remove container"] = (500, "no")
    assert not scene.sweep().clean
    assert RUN in scene.there()
    scene.world.refused.clear()
    assert scene.sweep().clean
    assert scene.there() == {"stranger"}


def test_a_lease_stays_when_only_some_kinds_were_removed(scene: Scene) -> None:
    scene.run(RUN, GONE)
    scene.sweep(Scope(kinds=("container",)))
    assert RUN in scene.there()
    assert f"box-{RUN}" not in scene.there()


def test_an_engine_that_does_not_answer_is_told_and_the_next_run_is_swept(scene: Scene) -> None:
    scene.run(RUN, GONE)
    scene.run(OTHER, GONE)
    asked: list[str] = []

    def engine(socket: str) -> World:
        asked.append(socket)
        scene.world.down = len(asked) == 1
        return scene.world

    swept = _owned_sweep.sweep(scene.leases, Scope(), _owned_sweep.How(engine, lambda _seconds: None, time.time()))
    assert len(swept.failed) == 1
    assert RUN in swept.failed[0]
    assert not swept.clean
    assert scene.there() == {"stranger"} | all_of(RUN)
    assert "Connection refused" in _owned_sweep.complaint(swept)


# The module


def play(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str], *, dry: bool = False) -> dict[str, Any]:
    with patch_module_args({**arguments, "_ansible_check_mode": dry}), pytest.raises(SystemExit):
        owned_prune.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


WORDS = triple("0a1b2c3d", "spawner", RUN).words()


def test_the_module_removes_one_run(tmp_path: Path, scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run(RUN, GONE)
    scene.run(OTHER, GONE)
    with scene.world.on(tmp_path) as socket:
        arguments = {"labels": WORDS, "socket": socket, "roots": [str(scene.root)]}
        dry = play(arguments, capsys, dry=True)
        assert (dry["changed"], len(dry["removed"])) == (True, 3)
        assert all_of(RUN) <= scene.there()
        wet = play(arguments, capsys)
        assert (wet["changed"], wet["removed"], wet["left"], wet["strays"], wet["spared"]) == (True, dry["removed"], [], [], [])
        assert wet["diff"]["before"].splitlines()[0] == f"container box-{RUN}"
        assert wet["diff"]["after"] == ""
        assert "runs" not in wet
        assert play(arguments, capsys)["changed"] is False
    assert scene.there() == {"stranger", RUN} | all_of(OTHER)


def test_the_module_sweeps_by_leases(tmp_path: Path, scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with scene.world.on(tmp_path) as socket:
        scene.run(RUN, GONE)
        path = _owned_runs.where(scene.leases, RUN)
        path.write_text(path.read_text().replace("/sock", socket))
        result = play({"leases": str(scene.leases)}, capsys)
    assert (result["changed"], [one["state"] for one in result["runs"]]) == (True, [DEAD])
    assert scene.there() == {"stranger"}


@pytest.mark.parametrize("labels", [[], WORDS[:1], WORDS[:2], [*WORDS[:2], "benchkeeper.stack"], [*WORDS, WORDS[0]]])
def test_the_module_refuses_what_could_match_more(labels: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result = play({"labels": labels, "socket": "/nowhere"}, capsys)
    assert result["failed"]
    assert "removed" not in result


def test_the_module_never_calls_an_engine_that_is_gone_clean(capsys: pytest.CaptureFixture[str]) -> None:
    result = play({"labels": WORDS, "socket": "/nowhere.sock"}, capsys)
    assert result["failed"]
    assert "not known" in result["msg"]
    assert "removed" not in result


def leftover(scene: Scene) -> None:
    scene.world.refused["remove network"] = (403, "has active endpoints")


def stray(scene: Scene) -> None:
    scene.world.box("child", nets=(next(iter(scene.world.nets)),), state="exited")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned_prune.time, "sleep", lambda _seconds: None)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("trouble", "name"), [(leftover, "left"), (stray, "strays")])
def test_the_module_fails_and_says_why(
    trouble: Callable[[Scene], None],
    name: str,
    tmp_path: Path,
    scene: Scene,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene.run(RUN, GONE)
    trouble(scene)
    with scene.world.on(tmp_path) as socket:
        result = play({"labels": WORDS, "socket": socket}, capsys)
    assert (result["failed"], len(result[name])) == (True, 1)
    assert result[name][0]["name"] in result["msg"]
    assert result["changed"]


def test_the_place_of_leases_is_absolute() -> None:
    with pytest.raises(OwnershipError):
        _owned_sweep.place("owned")


# The module that makes state directories


def make(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str], *, dry: bool = False) -> dict[str, Any]:
    with patch_module_args({"labels": WORDS, **arguments, "_ansible_check_mode": dry}), pytest.raises(SystemExit):
        owned_directory.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_start_gets_a_directory_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (make({"root": str(tmp_path)}, capsys) for _turn in range(2))
    assert first["changed"]
    assert first["path"] != second["path"]
    named = {"root": str(tmp_path), "token": "0" * 16}
    assert make(named, capsys, dry=True)["changed"]
    assert len(list(tmp_path.iterdir())) == 2
    assert [make(named, capsys)["changed"] for _turn in range(2)] == [True, False]
    world = World()
    with world.on(tmp_path) as socket:
        removed = play({"labels": WORDS, "socket": socket, "roots": [str(tmp_path)]}, capsys)["removed"]
    assert len(removed) == 3


@pytest.mark.parametrize(
    "more",
    [{"labels": WORDS[:2]}, {"token": "../../etc"}, {"root": "/nowhere/at/all"}, {"root": "state"}, {"token": "f" * 16}],
    ids=lambda more: next(iter(more)),
)
def test_a_directory_that_would_be_nobodys_is_refused(
    more: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / f"benchkeeper-{RUN}-{'f' * 16}"
    taken.mkdir()
    (taken / "theirs").write_text("x")
    assert make({"root": str(tmp_path), **more}, capsys)["failed"]
    assert list(tmp_path.iterdir()) == [taken]
