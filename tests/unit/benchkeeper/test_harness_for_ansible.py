"""Modules harness and replays without an engine: what is asked of the harness, what is said, and that no secret is."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import docker
import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _harness_call

from benchkeeper.errors import BenchError, UnfitError, UsageError
from benchkeeper.harness import for_ansible, life, place, stay, suite
from benchkeeper.harness.place import Place, TenantPlace

if TYPE_CHECKING:
    from pathlib import Path

PARAMS: dict[str, Any] = {
    "tenants": 2,
    "kind": "builtin",
    "image": "",
    "binary": None,
    "build_id": "",
    "version": "current",
    "breaks": [],
    "edge_profile": "plain",
    "port": 0,
    "rebuild": False,
    "install": False,
    "state": "present",
    "run_id": "",
    "names": [],
    "folder": "",
    "prove": False,
}
WHERE = Place(
    *("r1", "builtin", "b1", "http://127.0.0.1:1", "http://10.0.0.9:8080", "http://10.0.0.3:9090", "redis://10.0.0.4:6379"),
    (TenantPlace("alpha", "a.localhost", "org-a", "http://10.0.0.2:8080", "secret-token", "postgres://h:secret-word@10.0.0.5/m"),),
)


class World:
    """A harness that is nowhere, and what was done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.fails: BaseException | None = None
        self.left: list[str] = []
        self.stays = False

    def kept(self, _paths: Any, run_id: str | None) -> Any:
        if not self.stays:
            raise UsageError("there is no harness")
        return SimpleNamespace(run=run_id or "r1")

    def begin(self, _paths: Any, wish: Any, _stop: Any) -> Any:
        self.done.append(f"begin {wish.kind} {wish.tenants}")
        done = self.done
        run = SimpleNamespace(lease=SimpleNamespace(run="r1"))

        def up() -> Place:
            done.append("up")
            if self.fails:
                raise self.fails
            place.write(self.folder, WHERE)
            return WHERE

        def down() -> list[str]:
            done.append("down")
            return self.left

        return SimpleNamespace(
            up=up,
            place=WHERE,
            keep=lambda: done.append("keep"),
            down=down,
            save_logs=lambda _folder: done.append("logs"),
            run=run,
            folder=self.folder,
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(for_ansible.life, "kept", made.kept)
    monkeypatch.setattr(for_ansible.life, "begin", made.begin)
    monkeypatch.setattr(for_ansible.life, "folder_of", lambda _lease: tmp_path)
    monkeypatch.setattr(for_ansible.life, "take_down", lambda _paths, run: made.done.append(f"take down {run}") or [])
    monkeypatch.setattr(stay.gate, "wait_until_reachable", lambda _place: made.done.append("reachable"))
    monkeypatch.setattr(stay.gate, "check", lambda _harness: made.done.append("gate"))
    monkeypatch.setattr(stay.seed, "seed", lambda _place: made.done.append("seed"))
    return made


def test_it_is_brought_up_proven_seeded_and_stays(world: World) -> None:
    said = for_ansible.apply_state({**PARAMS, "tenants": 3}, dry_run=False)
    assert world.done == ["begin builtin 3", "up", "reachable", "gate", "seed", "keep"]
    assert (said["changed"], said["run"], said["edge"]) == (True, "r1", "http://127.0.0.1:1")
    assert "secret" not in json.dumps({**said, "file": ""})


def test_what_stays_is_left_alone_and_a_dry_run_makes_nothing(world: World) -> None:
    assert for_ansible.apply_state(PARAMS, dry_run=True) == {"changed": True}
    assert world.done == []
    place.write(world.folder, WHERE)
    world.stays = True
    said = for_ansible.apply_state(PARAMS, dry_run=False)
    assert (said["changed"], said["build_id"], world.done) == (False, "b1", [])


def test_what_does_not_come_up_is_taken_down_with_its_logs_kept(world: World) -> None:
    world.fails = life.TenantError("the tenant does not start")
    with pytest.raises(life.TenantError, match="does not start"):
        for_ansible.apply_state(PARAMS, dry_run=False)
    assert world.done[-2:] == ["logs", "down"]


def test_an_engine_that_goes_away_meanwhile_makes_it_unfit(world: World) -> None:
    world.fails = docker.errors.DockerException("connection refused")
    with pytest.raises(UnfitError, match="connection refused"):
        for_ansible.apply_state(PARAMS, dry_run=False)
    assert world.done[-2:] == ["logs", "down"]


@pytest.mark.parametrize("fails", [life.TenantError("no"), RuntimeError("a mistake of ours")])
def test_what_is_left_of_one_that_did_not_come_up_is_graver_than_why(world: World, fails: Exception) -> None:
    world.fails, world.left = fails, ["container x is left: busy"]
    with pytest.raises(life.LeftError, match="container x is left: busy") as error:
        for_ansible.apply_state(PARAMS, dry_run=False)
    assert error.value.exit_code == 4


@pytest.mark.parametrize("fails", [None, UnfitError("the services were stopped")])
def test_one_that_was_asked_to_stop_says_so_whatever_it_came_to(world: World, fails: BenchError | None) -> None:
    world.fails = fails
    with pytest.raises(stay.StoppedError):
        stay.bring_up(SimpleNamespace(results=world.folder), life.Wish(), lambda: True)  # type: ignore[arg-type]
    assert world.done[-2:] == ["logs", "down"]
    assert "keep" not in world.done


def test_it_is_taken_down_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert for_ansible.apply_state({**PARAMS, "state": "absent"}, dry_run=False) == {"changed": False}
    world.stays = True
    assert for_ansible.apply_state({**PARAMS, "state": "absent"}, dry_run=True) == {"changed": True}
    assert world.done == []
    assert for_ansible.apply_state({**PARAMS, "state": "absent"}, dry_run=False) == {"changed": True}
    assert world.done == ["take down r1"]
    monkeypatch.setattr(for_ansible.life, "take_down", lambda _paths, _run: ["container x: busy"])
    with pytest.raises(life.LeftError, match="container x: busy") as error:
        for_ansible.apply_state({**PARAMS, "state": "absent"}, dry_run=False)
    assert error.value.exit_code == 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "image"}, "needs --image"),
        ({"breaks": ["tenant"]}, "PART|tenant:NAME"),
        ({"breaks": ["edge:none"]}, "has no break none"),
        ({"edge_profile": "none"}, "no profile"),
        ({"tenants": 0}, "1 to 8"),
        ({"build_id": "dev", "kind": "image", "image": "x"}, "is no build id"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything(world: World, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        for_ansible.apply_state({**PARAMS, **more}, dry_run=False)
    assert world.done == []


def test_replays_say_what_they_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sh"
    path.write_text(
        '#!/bin/sh\n# /// replay\n# issue: "1"\n# bug_class: x\n# timeout: 5\n# needs: shared\n# break: { tenant: [x] }\n# ///\n'
    )
    path.chmod(0o755)
    asked = []

    def run(_paths: Any, order: suite.Order) -> suite.Record:
        asked.append(order)
        return suite.Record(
            run="r1", outcomes=[suite.Outcome("a", "fail", why="no", code=1, tail="x")], problems=["p"], exit_code=1
        )

    monkeypatch.setattr(for_ansible.suite, "run", run)
    said = for_ansible.play({**PARAMS, "folder": str(tmp_path), "prove": True})
    assert (asked[0].prove, [one.name for one in asked[0].chosen]) == (True, ["a"])
    assert (said["exit_code"], said["problems"], said["changed"]) == (1, ["p"], False)
    assert said["outcomes"] == [{"name": "a", "verdict": "fail", "seconds": 0.0, "why": "no", "code": 1}]


def test_what_goes_wrong_is_a_failure_of_the_module(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"params": {**PARAMS, "kind": "image"}, "dry_run": False}
    said = for_ansible.answer("harness", request)
    assert (said["failed"], said["exit_code"]) == (True, 2)
    monkeypatch.setattr(for_ansible, "play", lambda _params: {"exit_code": 1, "problems": ["p", "q"], "changed": False})
    assert for_ansible.answer("replays", {"params": PARAMS}) == {
        "failed": True,
        "msg": "p; q",
        "exit_code": 1,
        "problems": ["p", "q"],
        "changed": False,
    }
    monkeypatch.setattr(for_ansible, "play", lambda _params: {"exit_code": 0, "problems": []})
    assert "failed" not in for_ansible.answer("replays", {"params": PARAMS})


def test_the_modules_ask_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/packed.zip")
    said = _harness_call.call("harness", {**PARAMS, "kind": "image"}, dry_run=True)
    assert (said["failed"], said["exit_code"]) == (True, 2)
    assert "needs --image" in said["msg"]
    broken = _harness_call.call("harness", {}, dry_run=True)
    assert broken["failed"]
    assert "runs on the controller" in broken["msg"]
