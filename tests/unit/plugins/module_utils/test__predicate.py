from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import (
    MissingError,
    PathError,
    find,
    keep_paths,
    parse,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._predicate import (
    NO,
    OPERATORS,
    UNKNOWN,
    YES,
    Judge,
    PredicateError,
    check,
    evaluate,
)
from hypothesis import given
from hypothesis import strategies as st

STATE = {
    "workers": [{"name": "rig-1", "status": "online"}, {"name": "rig-2", "status": "offline"}],
    "services": {"tor": {"state": "running"}, "p2pool": {"state": "exited"}},
    "pool": {"type": "Main"},
    "height": 7,
    "zero": 0,
    "none": None,
    "flag": True,
}
DOCUMENT: dict[str, Any] = {"observed": {"state": STATE}, "invariant": {"env": {"mode": "0600"}}, "errors": {"rpc": "refused"}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def predicate(path: Any, op: str, value: Any = None, **more: Any) -> dict[str, Any]:
    given_value = {} if value is None else {"value": value}
    return {"probe": "state", "path": path, "op": op, **given_value, **more}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("pool.type", "Main"),
        (["pool", "type"], "Main"),
        ("workers[0].name", "rig-1"),
        ("workers[-1].name", "rig-2"),
        ("workers[].status", ["online", "offline"]),
        ("workers[name=rig-2].status", "offline"),
        ("services[].state", {"tor": "running", "p2pool": "exited"}),
        ("", STATE),
        ("none", None),
    ],
)
def test_paths_find(path: Any, found: Any) -> None:
    assert find(STATE, path) == found


@pytest.mark.parametrize("path", ["nope", "pool.nope", "workers[9]", "pool[0]", "workers[name=x]", "height.x", "workers[].nope"])
def test_paths_say_what_is_missing(path: str) -> None:
    with pytest.raises(MissingError, match=r"no(thing| list| element)"):
        find(STATE, path)


@pytest.mark.parametrize("path", ["a..b", "a[", "a]", ".a", "a."])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(PathError):
        parse(path)


def test_kept_paths_keep_the_shape() -> None:
    assert keep_paths(STATE, ["pool.type", "workers[].name", "services[].state", "nope.x"]) == {
        "pool": {"type": "Main"},
        "workers": [{"name": "rig-1"}, {"name": "rig-2"}],
        "services": {"tor": {"state": "running"}, "p2pool": {"state": "exited"}},
    }
    assert keep_paths([1, 2, 3], ["[1]"]) == [None, 2, None]


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (predicate("pool.type", "eq", "Main"), YES),
        (predicate("pool.type", "eq", "Mini"), NO),
        (predicate("flag", "eq", 1), NO),  # true is not 1
        (predicate("pool.type", "ne", "Mini"), YES),
        (predicate("nope", "ne", "Mini"), NO),  # what is missing is not different, it is missing
        (predicate("pool.type", "in", ["Main", "Mini"]), YES),
        (predicate("height", "ge", 7), YES),
        (predicate("height", "gt", 7), NO),
        (predicate("flag", "ge", 0), NO),
        (predicate("zero", "falsy"), YES),
        (predicate("none", "falsy"), YES),
        (predicate("nope", "falsy"), NO),
        (predicate("none", "exists"), YES),
        (predicate("nope", "absent"), YES),
        (predicate("none", "absent"), NO),
        (predicate("pool.type", "matches", "^M"), YES),
        (predicate("pool.type", "contains", "ai"), YES),
        (predicate("workers[].name", "contains", "rig-2"), YES),
        (predicate("workers[].name", "not_contains", "rig-2"), NO),
        (predicate("workers[].name", "contains_all", ["rig-2", "rig-1"]), YES),
        (predicate("workers", "count_ge", 2), YES),
        (predicate("workers", "count_ge", 2, where={"status": "online"}), NO),
        (predicate("workers", "contains", "rig-1", where={"status": "online"}, pick="name"), YES),
        (predicate("workers", "contains", "rig-2", where={"status": "online"}, pick="name"), NO),
        (predicate("services[].state", "all_in", ["running", "exited"]), YES),
        (predicate("services[].state", "all_in", ["running"]), NO),
        (predicate("workers", "all_in", [1], where={"status": "gone"}), NO),  # nothing is not everything
        ({"probe": "env", "part": "invariant", "path": "mode", "op": "eq", "value": "0600"}, YES),
        ({"probe": "rpc", "path": "x", "op": "absent"}, UNKNOWN),
        ({"probe": "other", "path": "x", "op": "absent"}, UNKNOWN),
    ],
)
def test_operators(one: dict[str, Any], state: str) -> None:
    outcome = evaluate(one, DOCUMENT)
    assert outcome.state == state
    assert check(one, DOCUMENT) == (state == YES, outcome.why)
    assert outcome.why


def test_the_reason_names_the_actual_value() -> None:
    assert evaluate(predicate("height", "ge", 9), DOCUMENT).why == "state: height should be ge 9, is 7"


@pytest.mark.parametrize(
    "one",
    [
        {"path": "x", "op": "eq"},
        predicate("x", "nearly"),
        predicate("height", "ge", "7"),
        predicate("pool.type", "matches", "("),
        predicate("a..b", "exists"),
        predicate("pool.type", "in", "Main"),
        predicate("x", "exists", part="guessed"),
    ],
)
def test_a_wrong_predicate_is_refused_and_not_answered(one: dict[str, Any]) -> None:
    with pytest.raises(PredicateError):
        evaluate(one, DOCUMENT)


@given(st.sampled_from(OPERATORS), JSON)
def test_could_not_ask_is_never_ok(op: str, value: Any) -> None:
    one = {"probe": "rpc", "path": "x", "op": op, "value": value}
    assert evaluate(one, DOCUMENT, first=DOCUMENT, before=DOCUMENT).state == UNKNOWN


@given(JSON)
def test_a_value_equals_itself_and_is_the_same_as_before(value: Any) -> None:
    document = {"observed": {"state": {"x": value}}}
    assert evaluate(predicate("x", "same"), document, before=document).ok
    assert evaluate({"probe": "state", "path": "x", "op": "eq", "value": value}, document).ok
    assert not evaluate({"probe": "state", "path": "x", "op": "ne", "value": value}, document).ok


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_rising_is_judged_from_the_lowest_so_far(counts: list[int]) -> None:
    judge = Judge([predicate("n", "rising")])
    lowest: int | None = None
    for count in counts:
        rising = not judge.failing({"observed": {"state": {"n": count}}})
        assert rising == (lowest is not None and count > lowest)
        lowest = count if lowest is None else min(lowest, count)


def test_rising_waits_for_a_first_number() -> None:
    judge = Judge([predicate("n", "rising")])
    samples: list[dict[str, Any]] = [{"errors": {"state": "refused"}}, {"observed": {"state": {}}}]
    samples += [{"observed": {"state": {"n": n}}} for n in (5, 5, 6)]
    assert [bool(judge.failing(sample)) for sample in samples] == [True, True, True, True, False]


CHAIN = {"genesis": "g", "height": 10, "hash": "h9"}


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ({"genesis": "g", "height": 12, "hash": "h11", "before_height": 10, "before_height_hash": "h9"}, YES),
        ({"genesis": "g", "height": 10, "hash": "h9", "before_height": 10, "before_height_hash": "h9"}, YES),
        ({"genesis": "other", "height": 12, "hash": "x", "before_height": 10, "before_height_hash": "h9"}, NO),
        ({"genesis": "g", "height": 12, "hash": "x", "before_height": 10, "before_height_hash": "fork"}, NO),
        ({"genesis": "g", "height": 1, "hash": "g", "before_height": 10, "before_height_hash": None}, NO),
        ({"genesis": "g", "height": 12, "hash": "x"}, UNKNOWN),
    ],
)
def test_a_chain_is_kept_when_it_only_grew(now: dict[str, Any], state: str) -> None:
    one = {"probe": "chain", "op": "chain_kept"}
    assert evaluate(one, {"observed": {"chain": now}}, before={"observed": {"chain": CHAIN}}).state == state


def test_without_a_chain_from_before_nobody_knows() -> None:
    assert evaluate({"probe": "chain", "op": "chain_kept"}, {"observed": {"chain": CHAIN}}).state == UNKNOWN
