"""What the callback writes down of a task that failed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("events_callback", Path(__file__).parents[4] / "plugins" / "callback" / "events.py")
assert _spec is not None
assert _spec.loader is not None
events = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(events)

BUSY = {"failed": True, "msg": "b is held by x", "busy": {"run_id": "other"}, "item": {"name": "b"}}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "boom"}, "boom"),
        ({"msg": "One or more items failed", "results": [{"item": "a"}, BUSY]}, "b: b is held by x"),
        ({"msg": "x", "results": [{"failed": True, "_ansible_no_log": True, "msg": "s3cret", "item": "b"}]}, "b: not shown"),
        ({"msg": "All items completed", "results": [{"item": "a"}]}, "All items completed"),
    ],
)
def test_a_failed_loop_says_what_its_first_failed_item_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: dict[str, Any], said: str
) -> None:
    log = tmp_path / "events.jsonl"
    monkeypatch.setenv("BENCHKEEPER_EVENTS", str(log))
    events.CallbackModule().v2_runner_on_failed(SimpleNamespace(result=result, task=SimpleNamespace(loop=None)))
    (event,) = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert (event["event"], event["msg"]) == ("failed", said)
    assert bool(event.get("busy")) is (BUSY in result.get("results", []))
    assert "fenced" not in event


@pytest.mark.parametrize("inside", [True, False])
def test_a_lease_that_was_lost_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    log = tmp_path / "events.jsonl"
    monkeypatch.setenv("BENCHKEEPER_EVENTS", str(log))
    refused = {"failed": True, "msg": "stale fence", "error": {"kind": "fence", "message": "stale fence"}, "item": "b"}
    callback = events.CallbackModule()
    if inside:
        callback.v2_runner_item_on_failed(SimpleNamespace(result=refused, task=SimpleNamespace(loop="x")))
    else:
        callback.v2_runner_on_failed(SimpleNamespace(result=refused, task=SimpleNamespace(loop=None)))
    written = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(one["fenced"], one["msg"]) for one in written if one.get("fenced")] == [(True, "stale fence")]


def test_what_a_task_waited_is_told_apart_from_what_the_keeper_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "events.jsonl"
    monkeypatch.setenv("BENCHKEEPER_EVENTS", str(log))
    step = {
        "id": "s",
        "ops": [{"op": "wait synced", "seconds": 2.0}, {"op": "verb up", "seconds": 9.0}, {"op": "wait a b", "seconds": 1.5}],
    }
    said = {
        "item": "x",
        "signals": [{"name": "a", "seconds": 4.0}, {"name": "b", "seconds": 6.0}],
        "keeper_wall": 0.5,
        "step": step,
    }
    events.CallbackModule().v2_runner_item_on_ok(SimpleNamespace(result=said, task=SimpleNamespace(loop="x")))
    items = [one for one in map(json.loads, log.read_text(encoding="utf-8").splitlines()) if one["event"] == "item"]
    assert [(one["keeper_seconds"], one["waited_seconds"]) for one in items] == [(0.5, 9.5)]
