from __future__ import annotations

from typing import Any, Mapping, Sequence

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _step


class Host:
    """Answers as told, and remembers what was asked."""

    def __init__(
        self, looks: Sequence[Mapping[str, Any]] = (), command: Mapping[str, Any] | None = None, late: Sequence[str] = ()
    ) -> None:
        self.looks = list(looks)
        self.answer = {"rc": 0, "stdout_tail": "", "stderr_tail": "", **(command or {})}
        self.late = late
        self.asked: list[str] = []

    def command(self, argv: Sequence[str], timeout: float) -> Mapping[str, Any]:
        self.asked.append(" ".join(argv))
        return self.answer

    def verb(self, name: str) -> tuple[list[str], float]:
        return ["./it", name], 10.0

    def edit(self, file: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(f"edit {file}")
        return {"changed": True}

    def engine(self, action: str, container: str, timeout: float) -> Mapping[str, Any]:
        self.asked.append(f"{action} {container}")
        return {"rc": 0}

    def wait(self, signals: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return [{"name": one["name"], "ok": one["name"] not in self.late, "seconds": 1, "why": "late"} for one in signals]

    def take(self, probes: Sequence[str] | None) -> Mapping[str, Any]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def look(ids: Mapping[str, str], hashes: Mapping[str, str] | None = None) -> dict[str, Any]:
    services = {name: {"config_hash": value} for name, value in (hashes or {}).items()}
    return {
        "invariant": {"stack": {"services": services}},
        "observed": {"stack": {"services": {name: {"id": value} for name, value in ids.items()}}},
        "errors": {},
    }


def walk(ops: Sequence[Mapping[str, Any]], host: Host, always: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    ticks = iter(range(1000))
    return _step.walk({"id": "s", "title": "t", "phase": "p", "ops": ops, "always": always}, host, lambda: float(next(ticks)))


def test_a_step_that_comes_out_as_expected() -> None:
    host = Host([look({"a": "1"})], {"stdout_tail": "all done"})
    result = walk([{"verb": "apply", "rc": 0, "contains": "done"}, {"engine": "stop", "container": "a"}, {"look": "end"}], host)
    assert (result["ok"], result["why"], list(result["looks"])) == (True, "", ["end"])
    assert host.asked == ["./it apply", "stop a"]


@pytest.mark.parametrize(
    ("op", "answer", "said"),
    [
        ({"rc": 0}, {"rc": 1, "stderr_tail": "boom"}, "ended with 1, not 0; it last said: boom"),
        ({"rc": 0}, {"timed_out": True}, "did not end in time"),
        ({"rc_not": 0}, {"rc": 0}, "which it must not"),
        (
            {"rc": 0},
            {"rc": 75, "locked": True, "stderr_tail": "pid=7"},
            "somebody else held the stack's own lock; it last said: pid=7",
        ),
        ({"rc": 0, "contains": "No changes"}, {"stdout_tail": "changed"}, "did not say 'No changes'"),
        ({"not_contains": "secret"}, {"stdout_tail": "a secret"}, "said 'secret'"),
    ],
)
def test_a_command_that_comes_out_otherwise(op: dict[str, Any], answer: dict[str, Any], said: str) -> None:
    assert said in walk([{"argv": ["x"], **op}], Host([look({})], answer))["why"]


def test_a_step_stops_at_its_first_failure_but_always_cleans_up() -> None:
    host = Host([look({})], late=["ready"])
    result = walk([{"wait": [{"name": "ready"}]}, {"edit": "a.json", "set": {}}], host, [{"edit": "b.json", "set": {}}])
    assert not result["ok"]
    assert host.asked == ["edit b.json"]


def test_what_changed_is_compared_with_the_mark() -> None:
    mark, now = look({"a": "1", "b": "1"}, {"a": "x", "b": "x"}), look({"a": "2", "b": "1"}, {"a": "y", "b": "x"})
    path = "services[].id"
    for op, value, more, good in (
        ("changed", ["a"], {}, True),
        ("changed", [], {}, False),
        ("changed", ["a", "b"], {}, False),
        ("changed_like", "services[].config_hash", {"includes": ["a"]}, True),
        ("changed_like", "services[].config_hash", {"includes": ["b"]}, False),
        ("same_keys", ["b"], {}, True),
        ("same_keys", ["a"], {}, False),
    ):
        host = Host([mark, now])
        expect = {"expect": [{"probe": "stack", "path": path, "op": op, "value": value, **more}]}
        assert walk([{"mark": True}, expect], host)["ok"] is good, (op, value)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({"a": "1", "b": "1"}, {"a": "2", "b": "2"}, ""),
        ({"a": "1", "b": "1"}, {"a": "2", "b": "1"}, "stack: changed ['a'], should have changed ['a', 'b']"),
        ({}, {}, "stack: changed nothing, should have changed ['anything']"),
    ],
)
def test_everything_changed_or_not(before: dict[str, str], after: dict[str, str], why: str) -> None:
    expect = {"expect": [{"probe": "stack", "path": "services[].id", "op": "changed_all"}]}
    walked = walk([{"mark": True, "probes": ["stack"]}, expect], Host([look(before), look(after)]))
    assert walked["why"].removeprefix("expect: ") == why


def test_what_could_not_be_asked_is_not_unchanged() -> None:
    blind = {"invariant": {}, "observed": {}, "errors": {"stack": "engine gone"}}
    expect = {"expect": [{"probe": "stack", "path": "services[].id", "op": "changed", "value": []}]}
    assert "could not ask" in walk([{"mark": True}, expect], Host([look({"a": "1"}), blind]))["why"]
    assert "nothing was marked" in walk([expect], Host([blind]))["why"]


@pytest.mark.parametrize(
    "step", [{}, {"id": "x"}, {"id": "x", "ops": [{"sleep": 1}]}, {"id": "x", "ops": [{"look": "a", "mark": True}]}]
)
def test_a_step_that_is_none_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(_step.StepError):
        _step.validate(step)
