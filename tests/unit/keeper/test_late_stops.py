"""A stop whose client was killed goes on in the engine for as long as the container's grace: it must not win against the undo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, Mapping

import pytest

from tests.unit.keeper.bench import NONCE, FakeLooker
from tests.unit.keeper.test_engine import EngineBench, deploy, picture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pit(tmp_path: Path) -> Any:
    return EngineBench(tmp_path)


def event(action: str, container: str) -> bytes:
    return json.dumps({"Action": action, "Actor": {"ID": container, "Attributes": {}}}).encode() + b"\n"


def interrupted(pit: EngineBench) -> None:
    deployed = pit.deploy
    pit.programs["./deploy"] = lambda: deployed() - 1  # it worked, and its client was lost
    pit.acquire()
    deploy(pit)


def test_a_stop_that_still_waits_is_ended_before_the_undo_begins(pit: EngineBench) -> None:
    interrupted(pit)
    pit.engine.noise = [event("kill", "db") + event("kill", "app") + event("die", "app")]
    pit.engine.log.clear()
    pit.call("recover", resource="miner-0", nonce=NONCE)
    assert "stop db" in pit.engine.log
    assert "stop app" not in pit.engine.log[: pit.engine.log.index("stop db") + 1]


def test_nothing_is_stopped_after_a_command_that_was_done(pit: EngineBench) -> None:
    pit.acquire()
    deploy(pit)
    pit.engine.noise = [event("kill", "app")]
    pit.call("recover", resource="miner-0", nonce=NONCE)
    assert "GET /events" not in pit.engine.log


def test_what_is_taken_down_behind_the_undo_is_brought_back_again(pit: EngineBench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = picture(pit.engine)
    looks = []

    def take(_self: FakeLooker, _probes: Mapping[str, Any], prints: Any, _before: Any) -> Dict[str, Any]:
        looks.append(1)
        if len(looks) == 2:  # the first look of the proof comes just after the late kill
            pit.engine.kill("app")
        state = pit.engine.by_name("app")["State"]
        document: Dict[str, Any] = {"host": prints.host, "kinds": {"p": "unit"}, "invariant": {"p": {}}, "errors": {}}
        return {**document, "observed": {"p": {"state": state}}}

    monkeypatch.setattr(FakeLooker, "take", take)
    pit.acquire()
    predicate = {"probe": "p", "path": "state", "op": "eq", "value": "running"}
    pit.call("snapshot", fence=pit.fence, probes={"p": {"kind": "unit"}}, proof={"deadline": 60, "predicates": [predicate]})
    deploy(pit)
    answer = pit.call("recover", resource="miner-0", nonce=NONCE)
    assert answer["resources"]["miner-0"]["proven"]
    assert picture(pit.engine) == before
