from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._proof import compare, differences, prove
from hypothesis import given
from hypothesis import strategies as st

BEFORE: dict[str, Any] = {
    "host": "bench-0",
    "kinds": {"config": "file", "stack": "compose", "summary": "http"},
    "invariant": {
        "config": {"exists": True, "mode": "0600", "fp": "aa"},
        "stack": {"services": {"tor": {"image_id": "sha256:1", "ports": [{"port": 1}], "networks": {"n": "10.0.0.2"}}}},
    },
    "observed": {"summary": {"accepted": 5, "pool": "own:1"}},
    "errors": {},
}
RULES = {
    "predicates": [{"probe": "summary", "path": "accepted", "op": "rising"}, {"probe": "summary", "path": "pool", "op": "same"}]
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def after(change: Any = None) -> dict[str, Any]:
    document = copy.deepcopy(BEFORE)
    if change is not None:
        change(document)
    return document


def test_what_is_equal_is_equal() -> None:
    assert compare(BEFORE, after(), {}) == []


@pytest.mark.parametrize(
    ("change", "probe", "path"),
    [
        (lambda d: d["invariant"]["config"].update(mode="0644"), "config", "mode"),
        (lambda d: d["invariant"]["config"].update(new=1), "config", "new"),
        (lambda d: d["invariant"]["config"].pop("fp"), "config", "fp"),
        (lambda d: d["invariant"]["stack"]["services"].pop("tor"), "stack", "services.tor"),
        (lambda d: d["invariant"]["stack"]["services"]["tor"]["ports"].append({}), "stack", "services.tor.ports"),
        (lambda d: d["invariant"]["stack"]["services"]["tor"]["ports"][0].update(port=2), "stack", "services.tor.ports[0].port"),
        (lambda d: d["invariant"].pop("config"), "config", ""),
        (lambda d: (d["invariant"].pop("config"), d["errors"].update(config="unreadable")), "config", ""),
    ],
)
def test_every_difference_is_told(change: Any, probe: str, path: str) -> None:
    (failure,) = compare(BEFORE, after(change), {})
    assert (failure["host"], failure["part"], failure["probe"], failure["path"]) == ("bench-0", "invariant", probe, path)
    assert failure["why"]


def test_what_could_not_be_seen_before_cannot_be_proven() -> None:
    blind = after(lambda d: (d["invariant"].pop("config"), d["errors"].update(config="unreadable")))
    (failure,) = compare(blind, after(), {})
    assert failure["why"] == "could not look before: unreadable"
    (both,) = compare(blind, blind, {})
    assert both["probe"] == "config"


@pytest.mark.parametrize("ignore", ["stack.services.*.networks.*", "stack.services.tor.networks", "stack.services.tor", "stack"])
def test_what_is_ignored_by_a_rule_is_ignored(ignore: str) -> None:
    moved = after(lambda d: d["invariant"]["stack"]["services"]["tor"]["networks"].update(n="10.0.0.9"))
    assert compare(BEFORE, moved, {"ignore": [ignore]}) == []
    assert compare(BEFORE, moved, {"ignore": ["stack.services.to", "config"]}) != []


def test_an_observed_probe_that_failed_matters_only_to_predicates() -> None:
    silent = after(lambda d: (d["observed"].pop("summary"), d["errors"].update(summary="refused")))
    assert compare(BEFORE, silent, {}) == []
    assert [failure["why"] for failure in compare(BEFORE, silent, RULES, silent)] == ["summary: could not ask: refused"] * 2


@given(JSON, JSON)
def test_differences_are_none_exactly_when_equal(one: Any, two: Any) -> None:
    assert not list(differences(one, copy.deepcopy(one)))
    assert bool(list(differences({"x": one}, {"x": two}))) == (repr(_typed(one)) != repr(_typed(two)))


def _typed(value: Any) -> Any:
    """A spelling in which true differs from 1 and the order of keys does not matter."""
    if isinstance(value, dict):
        return "mapping", sorted((key, repr(_typed(below))) for key, below in value.items())
    return [_typed(below) for below in value] if isinstance(value, list) else (type(value).__name__, value)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)


def test_a_proof_is_repeated_until_it_holds() -> None:
    clock = Clock()
    counts = iter([5, 5, 0, 0, 3])  # a restart sets the counter back; it rises from there
    proof = prove(
        lambda: after(lambda d: d["observed"]["summary"].update(accepted=next(counts))),
        BEFORE,
        RULES,
        pause=clock.pause,
        clock=clock,
    )
    assert proof.proven
    assert proof.samples == 5
    assert proof.after["observed"]["summary"]["accepted"] == 3


def test_a_proof_ends_at_its_deadline_with_the_last_reasons() -> None:
    clock = Clock()
    proof = prove(after, BEFORE, {**RULES, "deadline": 10}, pause=clock.pause, clock=clock)
    assert not proof.proven
    assert 10 <= proof.seconds < 13
    assert proof.failures[0]["why"] == "summary: accepted was 5 at first, is 5"


def test_a_proof_may_have_to_settle() -> None:
    clock = Clock()
    states = iter(["x", "own:1", "x", "own:1", "own:1", "own:1"])
    rules = {"predicates": RULES["predicates"][1:], "settle": 3}
    proof = prove(
        lambda: after(lambda d: d["observed"]["summary"].update(pool=next(states))), BEFORE, rules, pause=clock.pause, clock=clock
    )
    assert (proof.proven, proof.samples) == (True, 6)
