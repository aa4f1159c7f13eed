"""From looks to verdicts: finds a stack's checks, applies each to every look it is meant for, and adds what the steps said.

Pure but for reading the run's files. pytest (tests/testinfra) is the one that writes the verdicts down.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jmespath
import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils import _check
from ansible_collections.benchkeeper.core.plugins.module_utils._check import CheckError, CodeCheck, Verdict
from jmespath.exceptions import JMESPathError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

KEYS = {"id", "title", "phases", "kind", "when", "skip_reason", "for_each", "value", "expected", "expected_from", "op", "severity"}
_PROBE = re.compile(r'snapshot\.(?:observed|invariant)\."?([A-Za-z0-9_-]+)')
_PLACE = "{item}"


@dataclass(frozen=True)
class DataCheck:
    """A check that only says that a path of the snapshot must equal something.

    Expressions are JMESPath on ``{snapshot, context, before, item}``.

    Attributes:
        id: Stable name; ``{item}`` in any text stands for the element of ``for_each``.
        title: What is demanded.
        phases: Looks it applies to, ``phase`` or ``phase-step``.
        value: Expression whose value is judged; null is red.
        expected: Literal, unless ``expected_from``, an expression, is given.
        op: Operator of `_check.OPERATORS`.
        kind: Kind of the host it applies to.
        when: Expression; when it is false the check is skipped by design for ``skip_reason``.
        for_each: List or expression that gives a list: one verdict for each element.
        severity: What a difference is: ``fail`` or ``warn``.
    """

    id: str
    title: str
    phases: tuple[str, ...]
    value: str
    expected: Any = None
    expected_from: str = ""
    op: str = "eq"
    kind: str = "bench"
    when: str = ""
    skip_reason: str = ""
    for_each: Any = None
    severity: str = "fail"


@dataclass(frozen=True)
class Checks:
    """All checks of a stack."""

    data: tuple[DataCheck, ...] = ()
    code: tuple[CodeCheck, ...] = ()


@dataclass(frozen=True)
class Look:
    """One snapshot and when it was taken. ``kind`` is the host's: bench or miner."""

    phase: str
    step: str
    host: str
    kind: str
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Judged:
    """A verdict with the look or step it belongs to; ``seconds`` is what a step took."""

    verdict: Verdict
    phase: str = ""
    step: str = ""
    host: str = ""
    seconds: float = 0.0

    def as_line(self) -> dict[str, Any]:
        """Return the line of ``verdicts.jsonl``."""
        where = {"host": self.host, "phase": self.phase, "step": self.step, "seconds": self.seconds}
        return {**self.verdict.as_line(), **where}


def mistakes(raw: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, text) for everything for which a data check could never be judged; no key where it is the check as a whole."""
    keys = ", ".join(sorted(KEYS))
    if not isinstance(raw, dict):
        yield "", f"?: a check is a mapping; keys are {keys}"
        return
    name = raw.get("id", "?")
    for key in [key for key in raw if key not in KEYS]:
        yield key, f"{name}: unknown key {key}; keys are {keys}"
    for key in [key for key in ("id", "title", "phases", "value") if key not in raw]:
        yield "", f"{name}: lacks {key}"
    yield from ((key, f"{name}: {wrong}") for key, wrong in _wrong(raw))
    for key in ("value", "when", "expected_from"):
        why = _unreadable(raw.get(key))
        if why:
            yield key, f"{name}: {why}"


def _wrong(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if ("expected" in raw) == ("expected_from" in raw) and raw.get("op") not in ("truthy", "falsy"):
        yield "expected", "one of expected and expected_from"
    if raw.get("op", "eq") not in list(_check.OPERATORS):
        yield "op", f"unknown op {raw['op']!r}; there are {', '.join(_check.OPERATORS)}"
    if raw.get("severity", "fail") not in ("fail", "warn"):
        yield "severity", f"unknown severity {raw['severity']!r}; there are fail, warn"
    if raw.get("when") and not raw.get("skip_reason"):
        yield "when", "a check that can be skipped says why"


def _unreadable(expression: Any) -> str:
    """Return why an expression cannot be read, or an empty text."""
    try:
        if isinstance(expression, str) and expression:
            jmespath.compile(expression.replace(_PLACE, "x"))
    except JMESPathError as error:
        return str(error)
    return ""


def parse_data(text: str, source: str) -> list[DataCheck]:
    """Read one file of data checks.

    Raises:
        CheckError: a check that could never be judged.
    """
    found = []
    for raw in yaml.safe_load(text) or []:
        for _key, wrong in mistakes(raw):
            raise CheckError(f"{source}: {wrong}")
        found.append(DataCheck(**{**raw, "phases": tuple(raw["phases"])}))
    return found


def load_code(path: Path) -> list[CodeCheck]:
    """Return the checks of one file of code."""
    spec = importlib.util.spec_from_file_location(f"benchkeeper_checks_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CheckError(f"{path.name} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return _check.code_checks(module)


def load_checks(folder: Path) -> Checks:
    """Return the checks of ``stacks/<name>/checks``."""
    data = [one for path in sorted(folder.glob("*.yml")) for one in parse_data(path.read_text(encoding="utf-8"), path.name)]
    code = [one for path in sorted(folder.glob("*.py")) for one in load_code(path)]
    names = [one.id for one in data]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CheckError(f"the same id twice: {', '.join(twice)}")
    return Checks(tuple(data), tuple(code))


def _put(value: Any, item: Any) -> Any:
    """Put ``item`` where ``{item}`` stands."""
    if isinstance(value, str):
        return value.replace(_PLACE, str(item))
    return [_put(one, item) for one in value] if isinstance(value, list) else value


def _one(check: DataCheck, data: Mapping[str, Any]) -> Verdict:
    """Judge one check; one that what a branch shows makes unreadable is an error itself, and hides no other."""
    try:
        return _judged(check, data)
    except (JMESPathError, TypeError, ValueError) as error:
        return Verdict(check.id, check.title, "error", f"cannot be judged: {error}")


def _judged(check: DataCheck, data: Mapping[str, Any]) -> Verdict:
    # A condition that could not be asked is no reason to skip.
    for text in (check.when, check.value + check.expected_from):
        for probe in dict.fromkeys(_PROBE.findall(text)):
            why = _check.could_not_ask(data["snapshot"], probe)
            if why:
                return Verdict(check.id, check.title, "error", why)
        if text == check.when and text and not jmespath.search(text, data):
            return Verdict(check.id, check.title, "skip", check.skip_reason, skip_class="by-design")
    expected = jmespath.search(check.expected_from, data) if check.expected_from else check.expected
    if check.expected_from and expected is None:
        return Verdict(check.id, check.title, "error", f"nothing at {check.expected_from} to compare with")
    return _check.judge(check.id, check.title, expected, jmespath.search(check.value, data), check.op, severity=check.severity)


def judge_data(check: DataCheck, data: Mapping[str, Any]) -> Iterator[Verdict]:
    """Judge one data check, once or for each element of its list. An empty list is red: nothing would be checked."""
    if check.for_each is None:
        yield _one(check, data)
        return
    items = check.for_each if isinstance(check.for_each, list) else jmespath.search(check.for_each, data)
    if not items:
        yield Verdict(check.id, check.title, "error", f"nothing to check for each of {check.for_each}")
        return
    for item in items:
        texts = {name: _put(getattr(check, name), item) for name in ("id", "title", "value", "expected", "expected_from", "when")}
        yield _one(replace(check, for_each=None, **texts), {**data, "item": item})


def judge_look(checks: Checks, look: Look, context: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[Judged]:
    """Apply every check that is meant for this look."""
    data = {"snapshot": look.document, "context": context, "before": before}
    with_before = {**context, "before": before, "look": {"phase": look.phase, "step": look.step, "host": look.host}}
    for one in checks.data:
        if one.kind == look.kind and _check.applies(one.phases, look.phase, look.step):
            yield from (_at(look, verdict) for verdict in judge_data(one, data))
    for two in checks.code:
        if two.kind == look.kind and _check.applies(two.phases, look.phase, look.step):
            try:
                said = [_at(look, verdict) for verdict in two.function(look.document, with_before)]
                silent = Verdict(f"check.{two.function.__name__}", "The check says something", "error", "the check gave no verdict")
                yield from said or [_at(look, silent)]
            except Exception as error:  # noqa: BLE001 - a check that breaks must be red itself and must not hide the others
                name = f"check.{two.function.__name__}"
                broken = f"{type(error).__name__}: {error}"
                yield _at(look, Verdict(name, "The check can be judged", "error", broken))


def _at(look: Look, verdict: Verdict) -> Judged:
    return Judged(verdict, look.phase, look.step, look.host)


def judge_steps(lines: Iterable[Mapping[str, Any]], host: str) -> Iterator[Judged]:
    """Return what deploying, waiting and walking through steps said, as verdicts; a step that was not run is skipped as missing."""
    for line in lines:
        name, title = str(line["id"]), str(line.get("title") or line["id"])
        why = str(line.get("why", ""))
        if line.get("ok") is None:
            verdict = Verdict(name, title, "skip", why or "not run", skip_class="missing")
        else:
            verdict = Verdict(name, title, "pass" if line["ok"] else "fail", why, line.get("expected"), line.get("actual"))
        yield Judged(verdict, str(line.get("phase", "")), name, host, float(line.get("seconds", 0)))


def judge_canary(hits: Mapping[str, Any] | None, context: Mapping[str, Any]) -> Iterator[Judged]:
    """Return whether the planted secret turned up in the logs of each host; where none was planted, no log could show it."""
    planted = context.get("secrets", {}).get("canary", {}).get("file", "?")
    for host in [one["name"] for one in context.get("hosts", [])] if context.get("mode") != "check" else []:
        name, title = f"secrets.canary.{host}", f"The planted secret is in no log of {host}"
        told = (hits or {}).get(host)
        found, gaps = (told.get("hits"), told.get("gaps")) if isinstance(told, dict) else (None, ["the logs were not searched"])
        if found:
            verdict = Verdict(name, title, "fail", f"found in {found}")
        elif not planted:
            verdict = Verdict(name, title, "skip", "the stack's profile.yml names no place for it", skip_class="by-design")
        elif gaps or found is None:
            verdict = Verdict(name, title, "error", f"not all logs were searched: {gaps}")
        else:
            verdict = Verdict(name, title, "pass", "")
        yield Judged(verdict, "evidence", "", host)


def soften_baseline(judged: Judged, mode: str) -> Judged:
    """Return a finding about the baseline as a warning: a branch is not to blame for what was there before it.

    A run that only looks judges nothing but the baseline; there it stays red.
    """
    verdict = judged.verdict
    if mode == "check" or judged.phase != "baseline" or judged.step != "before" or verdict.verdict != "fail":
        return judged
    return replace(judged, verdict=replace(verdict, verdict="warn", why=f"so before the branch came: {verdict.why}"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file; an absent file has none, a last line that is cut off is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict):
            found.append(data)
    return found


def read_json(path: Path) -> Any:
    """Return a JSON document, or None when it is not there or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def split_name(name: str, hosts: Sequence[str]) -> tuple[str, str, str] | None:
    """Split the name of a look, ``PHASE-STEP-HOST``; None when the host is none of the run's."""
    for host in sorted(hosts, key=len, reverse=True):
        if name.endswith(f"-{host}"):
            phase, _dash, step = name[: -len(host) - 1].partition("-")
            return phase, step, host
    return None


def read_looks(work: Path, context: Mapping[str, Any]) -> list[Look]:
    """Return the looks of a run in the order in which they were taken."""
    kinds = {host["name"]: host.get("kind", "bench") for host in context.get("hosts", [])}
    looks = []
    for path in sorted((work / "snapshots").glob("*.json")):
        place = split_name(path.stem, list(kinds))
        document = read_json(path)
        if place and isinstance(document, dict):
            looks.append(Look(*place, kinds[place[2]], document))
    return sorted(looks, key=lambda look: str(look.document.get("taken_at", "")))


def complete(context: Mapping[str, Any], stack_dir: Path) -> dict[str, Any]:
    """Return the run context with what the stack demands of its services (posture.yml) added."""
    posture = stack_dir / "posture.yml"
    demanded = yaml.safe_load(posture.read_text(encoding="utf-8")) if posture.is_file() else {}
    return {**context, "posture": demanded}


def judge_run(work: Path, stack_dir: Path) -> list[Judged]:
    """Return every verdict of a run from its work directory; a run in which nothing was checked is an error.

    Raises:
        CheckError: a check of the stack is wrong.
    """
    context = complete(read_json(work / "context.json") or {}, stack_dir)
    mode = str(context.get("mode", ""))
    checks = load_checks(stack_dir / "checks")
    looks = read_looks(work, context)
    first = {look.host: look.document for look in reversed(looks) if look.phase == "baseline"}
    judged = list(judge_steps(read_lines(work / "steps.jsonl"), str(context.get("bench", ""))))
    for look in looks:
        judged += [soften_baseline(one, mode) for one in judge_look(checks, look, context, first.get(look.host))]
    if judged:
        judged += list(judge_canary(read_json(work / "canary.json"), context))
    if not any(one.verdict.verdict in ("pass", "fail", "warn") for one in judged):
        judged.append(Judged(Verdict("run.something_was_checked", "Something was checked", "error", "nothing was checked")))
    return judged
