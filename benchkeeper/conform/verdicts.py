"""What a play means: the verdict of each case, the table by group, the exit code."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import yaml

from benchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchkeeper.conform.player import Outcome
    from benchkeeper.conform.recording import Case
    from benchkeeper.conform.symbols import Symbols
    from benchkeeper.conform.wire import Answer

SCHEMA = 1
# The groups in which every case must be equal; what these need from others must be, too.
REQUIRED = ("cp-stub", "public", "guard", "cors", "cp-proxy", "canvas", "edge", "auth", "streams", "rate-limit", "boot")
MAX_DEVIATING = 0.05  # of the cases of the required groups, without defects
LONGEST = 4096  # characters of a body in the document


class Verdict(StrEnum):
    """What became of a case."""

    EQUAL = "equal"
    DECLARED = "declared"
    MENDED = "mended"
    """As recorded with the mistakes on, and now as some declared case is: the same mistake, in a case that nobody listed."""
    DEVIATING = "deviating"
    NOT_PLAYED = "not played"


@dataclass(frozen=True)
class Judged:
    """A case with its verdict, and why."""

    case: Case
    verdict: Verdict
    outcome: Outcome
    why: list[str] = field(default_factory=list)


def declared(path: Path) -> dict[int, dict[str, Any]]:
    """Read what a mended server answers otherwise, by `seq`. Raises UsageError."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {int(seq): dict(answer) for defect in document.values() for seq, answer in defect["answers"].items()}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as failure:
        raise UsageError(f"{path}: no list of defects: {type(failure).__name__}: {failure}") from failure


def judge(outcome: Outcome, wanted: Mapping[str, Any] | None) -> Judged:
    """Judge one case.

    Args:
        outcome: What came of it.
        wanted: What is declared that it answers instead; None when nothing is.
    """
    case = outcome.case
    if outcome.reason:
        return Judged(case, Verdict.NOT_PLAYED, outcome, [outcome.reason])
    if wanted is None:
        return Judged(case, Verdict.DEVIATING if outcome.differences else Verdict.EQUAL, outcome, outcome.differences)
    if not outcome.differences:
        return Judged(case, Verdict.DEVIATING, outcome, ["it is declared to answer otherwise, and answers as recorded"])
    wrong = _otherwise(outcome.answer, wanted)
    return Judged(case, Verdict.DEVIATING if wrong else Verdict.DECLARED, outcome, wrong or outcome.differences)


def _otherwise(answer: Answer | None, wanted: Mapping[str, Any]) -> list[str]:
    """Compare an answer with the one that is declared; some are only described."""
    if answer is None:
        return [] if "note" in wanted else ["it gives no answer, and one is declared"]
    found = (
        [] if answer.status == wanted.get("status", answer.status) else [f"declared status {wanted['status']} is {answer.status}"]
    )
    if "body" in wanted:
        text = answer.body.decode("utf-8", "replace")
        try:
            got = text if isinstance(wanted["body"], str) else json.loads(text)
        except ValueError:
            got = text
        found += [] if got == wanted["body"] else [f"declared body {wanted['body']!r} is {got!r}"]
    return found


def undeclared(judged: Mapping[int, Judged], wanted: Mapping[int, Any]) -> list[int]:
    """Give the cases that are not as recorded and of which nobody declared anything: the list does not know that recording."""
    return [seq for seq, one in sorted(judged.items()) if one.verdict is Verdict.DEVIATING and seq not in wanted]


def mended(one: Judged, with_mistakes: Outcome | None, wanted: Mapping[int, Mapping[str, Any]]) -> Judged:
    """Judge once more a case of which nobody declared anything.

    Args:
        one: As it was judged.
        with_mistakes: What came of it with the recorded mistakes on.
        wanted: What is declared of other cases: a mended answer is one of these, whatever else would be a mistake of its own.
    """
    if with_mistakes is None or with_mistakes.reason or with_mistakes.differences or one.outcome.answer is None:
        return one
    known = any("status" in answer and not _otherwise(one.outcome.answer, answer) for answer in wanted.values())
    return Judged(one.case, Verdict.MENDED, one.outcome, one.why) if known else one


def required(cases: Sequence[Case]) -> set[int]:
    """Give the numbers of the cases that must be equal: those of the required groups, and those that they need."""
    last: dict[str, int] = {}
    for case in cases:
        if case.group in REQUIRED:
            last[case.instance] = case.seq
    return {case.seq for case in cases if case.group in REQUIRED or (case.needed and case.seq < last.get(case.instance, 0))}


@dataclass(frozen=True)
class Result:
    """A play that was judged.

    Attributes:
        cases: The recording.
        judged: Each case, by `seq`.
        as_seed: Whether the recorded version was played, with all that is wrong with it.
    """

    cases: Sequence[Case]
    judged: Mapping[int, Judged]
    as_seed: bool

    @property
    def problems(self) -> list[str]:
        """What makes the play a failure."""
        must = required(self.cases)
        found = [
            f"{one.case.seq} {one.case.group}: {one.case.case}: {'; '.join(one.why[:3])}"
            for seq, one in sorted(self.judged.items())
            if one.verdict is Verdict.DEVIATING and (seq in must or not self.as_seed)
        ]
        found += [f"{case.seq} {case.group}: {case.case}: no verdict" for case in self.cases if case.seq not in self.judged]
        in_groups = [one for one in self.judged.values() if one.case.group in REQUIRED]
        otherwise = sum(one.verdict in (Verdict.DECLARED, Verdict.MENDED, Verdict.DEVIATING) for one in in_groups)
        if otherwise > MAX_DEVIATING * len(in_groups):
            found.append(f"{otherwise} of {len(in_groups)} required cases are not as recorded, more than {MAX_DEVIATING:.0%}")
        return found

    @property
    def exit_code(self) -> int:
        """Give what the command ends with."""
        return 1 if self.problems else 0

    def counts(self, group: str = "") -> dict[str, int]:
        """Count the verdicts of a group, or of all."""
        found = Counter(one.verdict for one in self.judged.values() if group in ("", one.case.group))
        return {"recorded": sum(group in ("", case.group) for case in self.cases), **{name: found[name] for name in Verdict}}

    @property
    def groups(self) -> list[str]:
        """The groups, the required ones first."""
        known = {case.group for case in self.cases}
        return [*(name for name in REQUIRED if name in known), *sorted(known - set(REQUIRED))]

    def table(self) -> str:
        """Give the table for a person."""
        names = ("recorded", *Verdict)
        rows = [(f"{group}{'' if group in REQUIRED else ' *'}", self.counts(group)) for group in self.groups]
        rows.append(("all", self.counts()))
        lines = [f"{'group':<14}" + "".join(f"{name:>12}" for name in names)]
        lines += [f"{group:<14}" + "".join(f"{count[name]:>12}" for name in names) for group, count in rows]
        return "\n".join([*lines, "* not required"])

    def document(self, about: Mapping[str, Any], symbols: Symbols) -> dict[str, Any]:
        """Give everything for a program; what symbols stand for is shown as symbols."""
        return {
            "schema": SCHEMA,
            **about,
            "as": "seed" if self.as_seed else None,
            "groups": {group: self.counts(group) for group in self.groups},
            "all": self.counts(),
            "problems": self.problems,
            "cases": [_case(one, symbols) for _seq, one in sorted(self.judged.items())],
            "exit_code": self.exit_code,
        }


def _case(one: Judged, symbols: Symbols) -> dict[str, Any]:
    case, answer = one.case, one.outcome.answer
    found = {"seq": case.seq, "group": case.group, "case": case.case, "instance": case.instance, "verdict": str(one.verdict)}
    if one.verdict is Verdict.NOT_PLAYED:
        return {**found, "reason": one.why[0]}
    got = None
    if answer is not None:
        body = symbols.hidden(answer.body.decode("utf-8", "replace"))[:LONGEST]
        got = {"status": answer.status, "headers": [list(pair) for pair in answer.headers], "body": body}
    return {**found, "expected": case.response, "got": got, "differences": [symbols.hidden(text) for text in one.why]}
