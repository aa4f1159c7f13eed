"""What a check is: a pure function from a snapshot to verdicts. Standard library only, so that a host could run it, too.

A check reads one snapshot and the run context and yields verdicts, each with a stable id. It never asks a host itself. Data that
is not there is red, a probe that could not look is an error: neither is ever a pass or a silent skip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

VERDICTS = ("pass", "fail", "warn", "skip", "error")
SKIP_CLASSES = ("missing", "by-design", "covered")
Snapshot = Mapping[str, Any]
RunContext = Mapping[str, Any]


class CheckError(ValueError):
    """The check itself is wrong; it can judge nothing."""


@dataclass(frozen=True)
class Verdict:
    """One judgement.

    Attributes:
        id: Stable name ``<area>.<service>.<what>``.
        title: One sentence that says what is demanded.
        verdict: One of ``VERDICTS``.
        why: For everything but a pass, the reason, for a person.
        expected: What was demanded, as JSON data.
        actual: What was seen, as JSON data.
        skip_class: For a skip: an input was ``missing``, it is so ``by-design``, or it is ``covered`` elsewhere.
    """

    id: str
    title: str
    verdict: str
    why: str = ""
    expected: Any = None
    actual: Any = None
    skip_class: Optional[str] = None

    def __post_init__(self) -> None:
        """Refuse a verdict that no reader could count."""
        if self.verdict not in VERDICTS:
            raise CheckError(f"{self.id}: unknown verdict {self.verdict!r}")
        if (self.verdict == "skip") != (self.skip_class in SKIP_CLASSES):
            raise CheckError(f"{self.id}: a skip, and only a skip, has a class out of {', '.join(SKIP_CLASSES)}")

    def as_line(self) -> Dict[str, Any]:
        """Return the verdict as its line of ``verdicts.jsonl`` has it, without host and phase."""
        line = {"id": self.id, "title": self.title, "verdict": self.verdict, "class": self.skip_class, "why": self.why}
        return {**line, "expected": self.expected, "actual": self.actual}


CheckFunction = Callable[[Snapshot, RunContext], Iterable[Verdict]]


@dataclass(frozen=True)
class CodeCheck:
    """A check that computes: where it applies and the function.

    Attributes:
        phases: Names of looks, ``phase`` or ``phase-step``.
        kind: Kind of the host, ``bench`` or ``miner``.
        function: The check.
    """

    phases: Tuple[str, ...]
    kind: str
    function: CheckFunction = field(repr=False)


def check(*phases: str, kind: str = "bench") -> Callable[[CheckFunction], CheckFunction]:
    """Mark a function as a check on the looks of these phases; ``scenario`` or ``lifecycle-end``."""

    def mark(function: CheckFunction) -> CheckFunction:
        function.benchkeeper_check = CodeCheck(tuple(phases), kind, function)  # type: ignore[attr-defined] # functions take attributes
        return function

    return mark


def code_checks(module: object) -> List[CodeCheck]:
    """Return the checks of a module in the order in which they stand there."""
    found = [getattr(value, "benchkeeper_check", None) for value in vars(module).values() if callable(value)]
    return [one for one in found if isinstance(one, CodeCheck)]


def applies(phases: Sequence[str], phase: str, step: str) -> bool:
    """Return whether a list of look names covers a look."""
    return phase in phases or f"{phase}-{step}" in phases


def _as_set(value: Any) -> Optional[List[str]]:
    """Return a list or the keys of a mapping as sorted texts; None for anything else, which is no set."""
    if not isinstance(value, (list, tuple, set, frozenset, Mapping)):
        return None
    return sorted(str(element) for element in value)


def _equal(expected: Any, actual: Any) -> bool:
    return type(expected) is type(actual) and bool(expected == actual)


def _numbers(expected: Any, actual: Any) -> bool:
    return all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (expected, actual))


def _contains(expected: Any, actual: Any) -> bool:
    return isinstance(actual, (list, str, Mapping)) and expected in actual


def _tokens(actual: Any) -> List[str]:
    return [token.strip() for token in actual.split(",")] if isinstance(actual, str) else []


OPERATORS: Dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "ne": lambda expected, actual: not _equal(expected, actual),
    "set_eq": lambda expected, actual: _as_set(actual) is not None and _as_set(expected) == _as_set(actual),
    "ge": lambda expected, actual: _numbers(expected, actual) and bool(actual >= expected),
    "gt": lambda expected, actual: _numbers(expected, actual) and bool(actual > expected),
    "le": lambda expected, actual: _numbers(expected, actual) and bool(actual <= expected),
    "truthy": lambda _expected, actual: bool(actual),
    "falsy": lambda _expected, actual: not actual,
    "contains": _contains,
    "in": lambda expected, actual: isinstance(expected, list) and actual in expected,
    "disjoint": lambda expected, actual: isinstance(actual, list) and not set(expected) & set(actual),
    "matches": lambda expected, actual: isinstance(actual, str) and re.search(expected, actual) is not None,
    "token": lambda expected, actual: expected in _tokens(actual),
    "no_token": lambda expected, actual: isinstance(actual, str) and expected not in _tokens(actual),
}
_ADDS = {"set_eq"}


def compare(operator: str, expected: Any, actual: Any) -> str:
    """Return why ``actual`` is not as demanded, or an empty text. A value that is not there is never as demanded.

    Raises:
        CheckError: there is no such operator.
    """
    if operator not in OPERATORS:
        raise CheckError(f"unknown operator {operator!r}; there are {', '.join(OPERATORS)}")
    if actual is None:
        return f"nothing there; should be {operator} {expected!r}"
    if OPERATORS[operator](expected, actual):
        return ""
    if operator in _ADDS and _as_set(actual) is not None:
        wanted, seen = set(_as_set(expected) or []), set(_as_set(actual) or [])
        parts = [("too much", sorted(seen - wanted)), ("missing", sorted(wanted - seen))]
        return "; ".join(f"{word}: {', '.join(items)}" for word, items in parts if items)
    shown = f"{actual!r}"
    return f"should be {operator} {expected!r}, is {shown if len(shown) <= 300 else shown[:297] + '...'}"


def judge(  # noqa: PLR0913 - what a comparison is made of
    name: str,
    title: str,
    expected: Any,
    actual: Any,
    operator: str = "eq",
    *,
    severity: str = "fail",
) -> Verdict:
    """Return the verdict of one comparison; ``severity`` is what a difference is: ``fail`` or ``warn``."""
    why = compare(operator, expected, actual)
    return Verdict(name, title, severity if why else "pass", why, expected, actual)


def could_not_ask(snapshot: Snapshot, probe: str) -> str:
    """Return why a probe has nothing to show: the host's own reason, or that nobody asked. Empty: it has."""
    if probe in snapshot.get("errors", {}):
        return f"could not ask {probe}: {snapshot['errors'][probe]}"
    if probe not in snapshot.get("invariant", {}) and probe not in snapshot.get("observed", {}):
        return f"the snapshot has no {probe}"
    return ""


def need(snapshot: Snapshot, name: str, title: str, *probes: str) -> Iterator[Verdict]:
    """Yield an error for each probe that a check needs and that has nothing to show."""
    for probe in probes:
        why = could_not_ask(snapshot, probe)
        if why:
            yield Verdict(name, title, "error", why)


def services(snapshot: Snapshot, part: str = "observed", probe: str = "stack") -> Mapping[str, Mapping[str, Any]]:
    """Return the services of the compose project as one part of the snapshot has them."""
    found = snapshot.get(part, {}).get(probe, {}).get("services", {})
    return found if isinstance(found, Mapping) else {}


def env_values(snapshot: Snapshot, probe: str = "env") -> Mapping[str, str]:
    """Return the harmless settings that the snapshot shows."""
    found = snapshot.get("observed", {}).get(probe, {}).get("values", {})
    return found if isinstance(found, Mapping) else {}
