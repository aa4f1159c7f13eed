"""The controller side of module lease: one time to wait for all hosts of a run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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


def ask(clock: Clock, takes: float, *, run_id: str = "r", wait: float = 60) -> list[float]:
    """Ask for a host that somebody has; return the times to wait that its keeper was given."""
    given = []

    def execute(module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        given.append(module_args["wait"])
        clock.now += min(takes, module_args["wait"])
        return BUSY

    action = object.__new__(lease.ActionModule)
    action._task = SimpleNamespace(args={"run_id": run_id, "wait": wait})
    action._execute_module = execute
    action.run()
    return given


def test_hosts_of_a_run_share_the_time_to_wait(clock: Clock) -> None:
    assert ask(clock, 25) == [0, 60]
    assert ask(clock, 100) == [0, 35]
    assert ask(clock, 100) == [0], "there is nothing left to wait"
    assert ask(clock, 1, run_id="another") == [0, 60]


def test_nobody_waits_who_did_not_ask_to(clock: Clock) -> None:
    assert ask(clock, 5, wait=0) == [0]


def test_a_holder_that_is_dead_is_not_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease._keeper_holder, "is_gone", lambda _holder: True)
    assert ask(clock, 5, wait=0) == [0, 0.0]
