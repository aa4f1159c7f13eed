"""The proof: the host compared with its snapshot from before, and with live predicates. Never an assumption."""

from __future__ import annotations

import fnmatch
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import spell
from ansible_collections.benchkeeper.core.plugins.module_utils._predicate import (
    UNKNOWN,
    Judge,
    Outcome,
    PredicateError,
    evaluate,
    same_value,
)

Failure = Dict[str, Any]
_GONE = "missing"
# Kinds of probes with a part that must be equal again; the others only observe.
INVARIANT_KINDS = frozenset({"compose", "dotenv", "file", "git", "sockets", "tree", "unit"})


@dataclass(frozen=True)
class Rules:
    """What a proof asks for.

    ``ignore`` are shell patterns over ``probe.path`` of the invariant part (``compose.services.*.labels.build``);
    ``predicates`` are judged on the later snapshot with the earlier one as ``before``; ``deadline`` is in seconds;
    ``settle`` is how many samples in a row must hold.
    """

    ignore: Tuple[str, ...] = ()
    predicates: Tuple[Mapping[str, Any], ...] = ()
    deadline: float = 120.0
    settle: int = 1

    @classmethod
    def from_data(cls, data: Optional[Mapping[str, Any]]) -> Rules:
        """Return the rules that a profile spells as ``{ignore, predicates, deadline, settle}``."""
        given = data or {}
        return cls(
            ignore=tuple(given.get("ignore") or ()),
            predicates=tuple(given.get("predicates") or ()),
            deadline=float(given.get("deadline", cls.deadline)),
            settle=int(given.get("settle", cls.settle)),
        )


def differences(before: Any, after: Any, path: str = "") -> Iterator[Tuple[str, Any, Any]]:
    """Yield (path, before, after) for everything that is not equal; a side that has nothing there is ``"missing"``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            below = f"{path}.{key}" if path else str(key)
            if key not in after:
                yield below, before[key], _GONE
            elif key not in before:
                yield below, _GONE, after[key]
            else:
                yield from differences(before[key], after[key], below)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, two) in enumerate(zip(before, after)):
            yield from differences(one, two, f"{path}[{index}]")
    elif not same_value(before, after):
        yield path, before, after


def _ignored(path: str, patterns: Sequence[str]) -> bool:
    # Brackets of list indexes are text here, not a set of characters.
    return any(
        path == pattern or path.startswith((pattern + ".", pattern + "[")) or fnmatch.fnmatchcase(path, pattern.replace("[", "[[]"))
        for pattern in patterns
    )


def compare_invariant(before: Mapping[str, Any], after: Mapping[str, Any], ignore: Sequence[str] = ()) -> List[Failure]:
    """Return what is not equal again. A probe that could not look, then or now, is a failure of its own."""
    failures: List[Failure] = []
    unseen = _unseen(before, after)
    for name, reason in unseen.items():
        if not _ignored(name, ignore):
            failures.append(_failure(after, "invariant", name, why=reason))
    then, now = before.get("invariant") or {}, after.get("invariant") or {}
    for name in sorted({*then, *now} - {*unseen}):
        for path, old, new in differences(then.get(name, {}), now.get(name, {}), name):
            if not _ignored(path, ignore):
                below = path[len(name) :].lstrip(".")
                failures.append(_failure(after, "invariant", name, path=below, before=old, after=new, why="not equal"))
    return failures


def _unseen(before: Mapping[str, Any], after: Mapping[str, Any]) -> Dict[str, str]:
    """Return the probes with an invariant part that one of the two looks does not have, with the reason."""
    expected = {*(before.get("invariant") or {}), *(after.get("invariant") or {})}
    kinds = {**(before.get("kinds") or {}), **(after.get("kinds") or {})}
    expected |= {name for name, kind in kinds.items() if kind in INVARIANT_KINDS}
    unseen: Dict[str, str] = {}
    for name in sorted(expected):
        for document, when in ((before, "before"), (after, "now")):
            if name not in (document.get("invariant") or {}):
                reason = (document.get("errors") or {}).get(name, "was not looked at")
                unseen.setdefault(name, f"could not look {when}: {reason}")
    return unseen


def _failure(document: Mapping[str, Any], part: str, probe: str, **more: Any) -> Failure:
    failure = {"host": document.get("host"), "part": part, "probe": probe, "path": "", "before": None, "after": None}
    return {**failure, **more}


def check_observed(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    predicates: Sequence[Mapping[str, Any]],
    first: Optional[Mapping[str, Any]] = None,
) -> List[Failure]:
    """Return the predicates that do not hold on the later snapshot."""
    failures = []
    for predicate in predicates:
        try:
            outcome = evaluate(predicate, after, first=first, before=before)
        except PredicateError as error:
            outcome = Outcome(UNKNOWN, str(error))
        if not outcome.ok:
            failures.append(_unfulfilled(after, predicate, outcome))
    return failures


def _unfulfilled(after: Mapping[str, Any], predicate: Mapping[str, Any], outcome: Outcome) -> Failure:
    probe, path = str(predicate.get("probe")), spell(predicate.get("path", ""))
    return _failure(after, "observed", probe, path=path, after=outcome.actual, why=outcome.why)


def compare(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    rules: Mapping[str, Any],
    first: Optional[Mapping[str, Any]] = None,
) -> List[Failure]:
    """Return every failure ``{host, part, probe, path, before, after, why}``; empty means proven by this look.

    Args:
        before: Snapshot from before the run.
        after: Snapshot of now.
        rules: As ``Rules.from_data`` takes them.
        first: First snapshot of this proof, which ``rising`` compares with.
    """
    parsed = Rules.from_data(rules)
    return compare_invariant(before, after, parsed.ignore) + check_observed(before, after, parsed.predicates, first)


@dataclass(frozen=True)
class Proof:
    """How a proof ended: the failures of the last look (none when proven), that look, and what it took."""

    proven: bool
    failures: List[Failure]
    after: Dict[str, Any]
    seconds: float
    samples: int


def prove(
    take: Callable[[], Dict[str, Any]],
    before: Mapping[str, Any],
    rules: Mapping[str, Any],
    *,
    pause: Callable[[float], Any] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Proof:
    """Look until everything holds, or until the rules' deadline.

    Args:
        take: Takes a snapshot of now.
        before: Snapshot from before the run.
        rules: As ``Rules.from_data`` takes them.
        pause: Waits at most so many seconds; may return earlier, when something happened.
        clock: Seconds that only go forward.

    Raises:
        PredicateError: One of the rules is no predicate.
    """
    parsed = Rules.from_data(rules)
    judge = Judge(parsed.predicates, before)
    started = clock()
    held = samples = 0
    delay = 0.2
    while True:
        after = take()
        samples += 1
        failures = compare_invariant(before, after, parsed.ignore)
        failures += [_unfulfilled(after, predicate, outcome) for predicate, outcome in judge.failing(after)]
        held = 0 if failures else held + 1
        seconds = clock() - started
        if held >= parsed.settle:
            return Proof(proven=True, failures=[], after=after, seconds=seconds, samples=samples)
        if seconds >= parsed.deadline:
            why = failures or [_failure(after, "observed", "", why=f"did not hold for {parsed.settle} looks in a row")]
            return Proof(proven=False, failures=why, after=after, seconds=seconds, samples=samples)
        pause(min(delay, max(0.0, parsed.deadline - seconds)))
        delay = min(delay * 1.5, 2.0)  # a pool that comes back in a minute need not be asked five times a second
