"""Predicates as data: ``{probe, path, op, value}`` judged on a snapshot document.

Three answers, never two: *yes*, *no*, and *unknown* when the probe could not ask. Only *yes* is ok, so a predicate
such as ``absent`` is not fulfilled by a host that did not answer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import (
    MissingError,
    PathError,
    as_text,
    find,
    spell,
)

YES = "yes"
NO = "no"
UNKNOWN = "unknown"
_SHOWN = 200  # characters of an actual value in a reason

Document = Mapping[str, Any]


class PredicateError(ValueError):
    """The predicate itself is wrong: unknown operator, no probe, unreadable path."""


@dataclass(frozen=True)
class Outcome:
    """The answer to one predicate: ``state`` (yes, no, unknown), the reason, and the value it was judged on."""

    state: str
    why: str
    actual: Any = None

    @property
    def ok(self) -> bool:
        """Whether the answer is yes."""
        return self.state == YES


def same_value(left: Any, right: Any) -> bool:
    """Compare as JSON does: ``true`` is not 1, but 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_value(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same_value(one, two) for one, two in zip(left, right))
    return bool(left == right)


def show(value: Any) -> str:
    """Return a value as short JSON for a reason."""
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _contains(actual: Any, value: Any) -> bool:
    if isinstance(actual, str):
        return isinstance(value, str) and value in actual
    if isinstance(actual, Mapping):
        return value in actual
    return isinstance(actual, list) and any(same_value(element, value) for element in actual)


def _within(actual: Any, value: Any) -> bool:
    if not isinstance(value, list):
        raise PredicateError("'in' takes a list as value")
    return any(same_value(actual, element) for element in value)


def _matches(actual: Any, value: Any) -> bool:
    try:
        return re.search(str(value), as_text(actual)) is not None
    except re.error as error:
        raise PredicateError(f"not a regular expression: {value!r}: {error}") from error


def _count_ge(actual: Any, value: Any) -> bool:
    return isinstance(actual, (list, str, Mapping)) and len(actual) >= int(value)


def _number(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def judge(actual: Any, value: Any) -> bool:
        if not _is_number(value):
            raise PredicateError(f"a number is compared with a number, not with {value!r}")
        return _is_number(actual) and compare(actual, value)

    return judge


def _count_le(actual: Any, value: Any) -> bool:
    return isinstance(actual, (list, str, Mapping)) and len(actual) <= int(value)


def _elements(actual: Any) -> List[Any]:
    if isinstance(actual, Mapping):
        return list(actual.values())
    return actual if isinstance(actual, list) else []


def _all_in(actual: Any, value: Any) -> bool:
    """Every element is one of the values; nothing at all is not everything."""
    elements = _elements(actual)
    return bool(elements) and all(_within(element, value) for element in elements)


def _contains_all(actual: Any, value: Any) -> bool:
    if not isinstance(value, list):
        raise PredicateError("'contains_all' takes a list as value")
    return isinstance(actual, (list, Mapping, str)) and all(_contains(actual, one) for one in value)


_SIMPLE: Dict[str, Callable[[Any, Any], bool]] = {
    "eq": same_value,
    "ne": lambda actual, value: not same_value(actual, value),
    "in": _within,
    "ge": _number(lambda actual, value: bool(actual >= value)),
    "gt": _number(lambda actual, value: bool(actual > value)),
    "le": _number(lambda actual, value: bool(actual <= value)),
    "lt": _number(lambda actual, value: bool(actual < value)),
    "truthy": lambda actual, _value: bool(actual),
    "falsy": lambda actual, _value: not actual,
    "exists": lambda _actual, _value: True,
    "contains": _contains,
    "matches": _matches,
    "count_ge": _count_ge,
    "count_le": _count_le,
    "all_in": _all_in,
    "contains_all": _contains_all,
    "not_contains": lambda actual, value: isinstance(actual, (list, str, Mapping)) and not _contains(actual, value),
}
_COMPARING = ("same", "rising", "chain_kept")
OPERATORS = (*_SIMPLE, "absent", *_COMPARING)


def validate(predicate: Mapping[str, Any]) -> None:
    """Refuse a predicate that could never be judged.

    Raises:
        PredicateError: Saying what is wrong with it.
    """
    if not isinstance(predicate.get("probe"), str):
        raise PredicateError(f"a predicate names its probe: {dict(predicate)!r}")
    if predicate.get("op") not in OPERATORS:
        raise PredicateError(f"unknown operator {predicate.get('op')!r}; there are {', '.join(OPERATORS)}")
    if predicate.get("part", "observed") not in ("observed", "invariant"):
        raise PredicateError(f"part is observed or invariant, not {predicate.get('part')!r}")


def evaluate(
    predicate: Mapping[str, Any],
    document: Document,
    *,
    first: Optional[Document] = None,
    before: Optional[Document] = None,
) -> Outcome:
    """Judge one predicate.

    Args:
        predicate: ``{probe, path?, op, value?, part?: observed|invariant, where?: {key: value}}``; ``where`` reduces a
            list to the elements with these values before it is judged, ``pick`` takes one key of each element.
        document: The snapshot it is judged on.
        first: First sample of this wait, for ``rising``.
        before: Snapshot taken before the run, for ``same`` and ``chain_kept``.

    Raises:
        PredicateError: When the predicate itself is wrong.
    """
    validate(predicate)
    operator = predicate["op"]
    missing, actual = _fetch(predicate, document)
    if operator == "absent":
        return _absent(predicate, missing, actual)
    if missing is not None:
        return missing
    if operator == "chain_kept":
        return _chain_kept(predicate["probe"], actual, before)
    if operator in _COMPARING:
        return _against(predicate, actual, before if operator == "same" else first)
    value = predicate.get("value")
    if _SIMPLE[operator](actual, value):
        return Outcome(YES, f"{_name(predicate)} is {show(actual)}", actual)
    wanted = operator if "value" not in predicate else f"{operator} {show(value)}"
    return Outcome(NO, f"{_name(predicate)} should be {wanted}, is {show(actual)}", actual)


def check(
    predicate: Mapping[str, Any],
    document: Document,
    first: Optional[Document] = None,
    before: Optional[Document] = None,
) -> Tuple[bool, str]:
    """Judge one predicate and return (ok, why)."""
    outcome = evaluate(predicate, document, first=first, before=before)
    return outcome.ok, outcome.why


def evaluate_all(
    predicates: Sequence[Mapping[str, Any]],
    document: Document,
    *,
    first: Optional[Document] = None,
    before: Optional[Document] = None,
) -> List[Tuple[Mapping[str, Any], Outcome]]:
    """Judge predicates in order and return those that do not hold, with their outcomes."""
    outcomes = [(one, evaluate(one, document, first=first, before=before)) for one in predicates]
    return [(one, outcome) for one, outcome in outcomes if not outcome.ok]


class Judge:
    """Judges the same predicates again and again, remembering what ``rising`` compares with.

    That is the smallest number seen so far: a counter that starts anew while we wait rises from there, not from where it
    was before.
    """

    def __init__(self, predicates: Sequence[Mapping[str, Any]], before: Optional[Document] = None) -> None:
        for predicate in predicates:
            validate(predicate)
        self._predicates = list(predicates)
        self._before = before
        self._lowest: Dict[int, Document] = {}

    def failing(self, document: Document) -> List[Tuple[Mapping[str, Any], Outcome]]:
        """Return the predicates that do not hold on a document, in order, with their outcomes."""
        outcomes = []
        for index, predicate in enumerate(self._predicates):
            first = self._lowest.get(index)
            outcome = evaluate(predicate, document, first=first, before=self._before)
            if predicate["op"] == "rising" and _is_number(outcome.actual):
                earlier = None if first is None else _fetch(predicate, first)[1]
                if earlier is None or outcome.actual < earlier:
                    self._lowest[index] = document
            outcomes.append((predicate, outcome))
        return [(predicate, outcome) for predicate, outcome in outcomes if not outcome.ok]


def _name(predicate: Mapping[str, Any]) -> str:
    path = spell(predicate.get("path", ""))
    return f"{predicate['probe']}: {path}" if path else str(predicate["probe"])


def _fetch(predicate: Mapping[str, Any], document: Document) -> Tuple[Optional[Outcome], Any]:
    """Return (why there is no value, None) or (None, the value)."""
    probe = predicate["probe"]
    reason = document.get("errors", {}).get(probe)
    if reason is not None:
        return Outcome(UNKNOWN, f"{probe}: could not ask: {reason}"), None
    part = document.get(predicate.get("part", "observed"), {})
    if probe not in part:
        return Outcome(UNKNOWN, f"{probe}: was not looked at"), None
    try:
        actual = find(part[probe], predicate.get("path", ""))
    except MissingError as error:
        return Outcome(NO, f"{probe}: {error}"), None
    except PathError as error:
        raise PredicateError(str(error)) from error
    if "where" not in predicate and "pick" not in predicate:
        return None, actual
    if not isinstance(actual, list):
        return Outcome(NO, f"{_name(predicate)}: no list, is {show(actual)}", actual), None
    return None, _reduce(actual, predicate.get("where") or {}, predicate.get("pick"))


def _reduce(elements: List[Any], where: Mapping[str, Any], pick: Optional[str]) -> List[Any]:
    fitting = [
        element
        for element in elements
        if isinstance(element, Mapping) and all(same_value(element.get(key), value) for key, value in where.items())
    ]
    return fitting if pick is None else [element[pick] for element in fitting if pick in element]


def _absent(predicate: Mapping[str, Any], missing: Optional[Outcome], actual: Any) -> Outcome:
    if missing is None:
        return Outcome(NO, f"{_name(predicate)} should be absent, is {show(actual)}", actual)
    return missing if missing.state == UNKNOWN else Outcome(YES, f"{_name(predicate)} is absent")


def _against(predicate: Mapping[str, Any], actual: Any, other: Optional[Document]) -> Outcome:
    """Judge ``same`` and ``rising``, which compare with another document."""
    name = _name(predicate)
    if other is None:
        return Outcome(UNKNOWN, f"{name}: nothing to compare with yet", actual)
    missing, earlier = _fetch(predicate, other)
    if missing is not None:
        # The first sample of a restarting service has no counter yet; that is not knowing, not a no.
        return Outcome(UNKNOWN, f"{name}: cannot compare, earlier: {missing.why}", actual)
    if predicate["op"] == "same":
        state = YES if same_value(actual, earlier) else NO
        return Outcome(state, f"{name} was {show(earlier)}, is {show(actual)}", actual)
    if not (_is_number(actual) and _is_number(earlier)):
        return Outcome(NO, f"{name} is no number: {show(earlier)}, {show(actual)}", actual)
    return Outcome(YES if actual > earlier else NO, f"{name} was {earlier} at first, is {actual}", actual)


def _chain_kept(probe: str, actual: Any, before: Optional[Document]) -> Outcome:
    """A chain is kept when genesis and the block it had are the same and it did not shrink."""
    earlier = (before or {}).get("observed", {}).get(probe)
    if not isinstance(earlier, Mapping) or not isinstance(actual, Mapping):
        return Outcome(UNKNOWN, f"{probe}: no chain from before to compare with", actual)
    if not actual.get("genesis") or actual["genesis"] != earlier.get("genesis"):
        return Outcome(NO, f"{probe}: genesis was {earlier.get('genesis')}, is {actual.get('genesis')}", actual)
    if not _is_number(actual.get("height")) or actual["height"] < earlier.get("height", 0):
        return Outcome(NO, f"{probe}: height was {earlier.get('height')}, is {actual.get('height')}", actual)
    if actual.get("before_height") != earlier.get("height"):
        return Outcome(UNKNOWN, f"{probe}: the block at the height of before was not asked for", actual)
    if not earlier.get("hash") or actual.get("before_height_hash") != earlier["hash"]:
        return Outcome(
            NO,
            f"{probe}: the block at height {earlier.get('height')} was {earlier.get('hash')}, "
            f"is {actual.get('before_height_hash')}",
            actual,
        )
    return Outcome(YES, f"{probe}: kept, height {earlier.get('height')} to {actual['height']}", actual)
