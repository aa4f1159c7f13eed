"""The controller side of module lease: one time to wait for all hosts of a run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from benchkeeper.progress import View

_spec = importlib.util.spec_from_file_location("lease_action", Path(__file__).parents[4] / "plugins" / "action" / "lease.py")
assert _spec is not None
assert _spec.loader is not None
lease = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lease)
BUSY = {"failed": True, "busy": {"run_id": "other", "holder": {"pid": 1}}}


class Clock:
    """Time that only passes while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    monkeypatch.setattr(lease.ActionModule, "_waited", {})
    monkeypatch.setattr(lease.ActionBase, "run", lambda *_args: None)
    return clock


def ask(clock: Clock, free_after: float, *, run_id: str = "r", wait: float = 60) -> list[tuple[float, bool]]:
    """Ask for a host that somebody has for so many seconds; return what its keeper was told: (time to wait, keep the place)."""
    given = []
    until = clock.now + free_after

    def execute(module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        given.append((module_args["wait"], module_args["queue"]))
        clock.now = min(clock.now + module_args["wait"], max(clock.now, until))
        return {"token": 1, "ttl": 60, "run_id": run_id} if clock.now >= until else BUSY

    action = object.__new__(lease.ActionModule)
    action._task = SimpleNamespace(args={"run_id": run_id, "wait": wait, "hold": False}, delegate_to=None)
    action._connection = SimpleNamespace(transport="none")
    action._execute_module = execute
    action.run()
    return given


def test_hosts_of_a_run_share_the_time_to_wait_and_keep_their_place_meanwhile(clock: Clock) -> None:
    assert ask(clock, 25) == [(0, True), (10, True), (10, True), (10, True)]
    # The last call does not keep the place: nobody would come back for it.
    assert ask(clock, 1000) == [(0, True), (10, True), (10, True), (10, True), (5, False)]
    assert ask(clock, 1000) == [(0, False)], "there is nothing left to wait"
    assert ask(clock, 5, run_id="another") == [(0, True), (10, True)]


def test_whoever_waits_sees_the_place_in_the_queue(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text('{"event": "before"}\n', encoding="utf-8")
    monkeypatch.setenv("BENCHKEEPER_EVENTS", str(events))
    holder = {"user": "ann", "host": "desk", "pid": 1}
    places = [(3, 80.0), (2, 40.4), (2, None)]
    answers: list[dict[str, Any]] = [
        {"failed": True, "busy": {"run_id": "x", "state": "held", "holder": holder, "position": place, "expected_seconds": seconds}}
        for place, seconds in places
    ]
    answers.append({"token": 1, "ttl": 60, "run_id": "r"})
    printed: list[str] = []
    action = object.__new__(lease.ActionModule)
    action._task = SimpleNamespace(args={"run_id": "r", "resource": "miner-0", "wait": 60, "hold": False}, delegate_to=None)
    action._connection, action._display = SimpleNamespace(transport="none"), SimpleNamespace(display=printed.append)
    action._execute_module = lambda **_words: answers.pop(0)
    assert action.run()["token"] == 1
    first = "miner-0: position 3 in the queue, about 80 s; held for ann@desk (run x)"
    assert printed == [first, "miner-0: position 2 in the queue, about 40 s; held for ann@desk (run x)"]
    written = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()[1:]]
    assert [(one["event"], one["position"], one["expected_seconds"]) for one in written] == [("waiting", *one) for one in places]
    assert written[0]["msg"] == first
    assert View(0).feed(written[0], 0) == f"   … {first}"


def test_a_run_without_events_waits_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHKEEPER_EVENTS", str(tmp_path / "none"))
    lease.tell("miner-0", {"position": 1})
    monkeypatch.delenv("BENCHKEEPER_EVENTS")
    lease.tell("miner-0", {"position": 1})
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_who_did_not_ask_to(clock: Clock) -> None:
    assert ask(clock, 5, wait=0) == [(0, False)]


def test_a_holder_that_is_dead_is_not_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease._keeper_holder, "is_gone", lambda _holder: True)
    assert ask(clock, 5, wait=0) == [(0, False), (0, False)]


HOLDER = {"controller_id": "here", "pid": 1, "start_time": 1}


class Holding:
    """A connection, and what became of every one that was made."""

    made: ClassVar[list[str]] = []
    said: ClassVar[dict[str, Any]] = {}

    def __init__(self, argv: list[str]) -> None:
        assert argv == ["ssh", "host"]
        self.number = len(self.made)
        self.made.append("waits")

    def hold(self, fence: dict[str, Any], *_more: Any) -> dict[str, Any]:
        assert fence["token"] == 7
        self.made[self.number] = "holds"
        return self.said

    def drop(self) -> None:
        self.made[self.number] = "dropped"


def acquire(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], *, here: str = "here", busy: int = 0, **more: Any
) -> tuple[dict[str, Any], list[str]]:
    """Take a free host that can be reached by SSH; return the result and what the module was asked to do."""
    asked = []

    def execute(module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        asked.append(module_args.get("state", "acquired"))
        if len(asked) <= busy:
            return BUSY
        return {"token": 7, "ttl": 60, "run_id": "r"}

    monkeypatch.setattr(lease._keeper_holder, "controller_id", lambda: here)
    monkeypatch.setattr(lease.own_connection, "keeper_words", lambda *_args: ["ssh", "host"])
    monkeypatch.setattr(lease.own_connection, "Holding", Holding)
    monkeypatch.setattr(Holding, "made", [])
    monkeypatch.setattr(Holding, "said", said)
    action = object.__new__(lease.ActionModule)
    args = {"resource": "miner-0", "run_id": "r", "nonce": "n" * 32, "holder": HOLDER, **more}
    action._task, action._connection, action._execute_module = SimpleNamespace(args=args, delegate_to=None), None, execute
    return action.run(), asked


def test_what_was_given_is_held_by_a_connection_of_its_own(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert acquire(monkeypatch, {"held": 3})[0]["hold"] == 3
    assert acquire(monkeypatch, {"held": 3}, hold=False)[0]["hold"] is None
    assert acquire(monkeypatch, {"held": 3}, here="elsewhere")[0]["hold"] is None, "its holder is no process of this computer"


def test_the_connection_is_made_while_the_lease_is_asked_for_but_nobody_waits_on_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease._keeper_holder, "is_gone", lambda _holder: False)
    acquire(monkeypatch, {"held": 3})
    assert Holding.made == ["holds"]
    assert acquire(monkeypatch, {"held": 3}, busy=1, wait=60)[0]["hold"] == 3
    assert Holding.made == ["dropped", "holds"]
    assert "token" not in acquire(monkeypatch, {"held": 3}, busy=9, run_id="another")[0]
    assert Holding.made == ["dropped"]


def test_what_cannot_be_held_is_given_back(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = acquire(monkeypatch, {"error": {"message": "stale fence"}})
    assert (result["failed"], asked) == (True, ["acquired", "released"])
    assert "could not be held: stale fence" in result["msg"]
