"""From files to verdicts: what is read, what is refused, what is skipped and how loud."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._check import OPERATORS, CheckError, CodeCheck, Verdict, compare

from benchkeeper import verdicts

if TYPE_CHECKING:
    from pathlib import Path

CHECK = "- {id: a.b, title: T, phases: [scenario], value: snapshot.observed.x.y, expected: 1}\n"


@pytest.mark.parametrize(
    ("operator", "expected", "good", "bad"),
    [
        ("eq", 1, 1, True),
        ("ne", 1, 2, 1),
        ("set_eq", ["a", "b"], ["b", "a"], ["a"]),
        ("set_eq", [], [], "no set"),
        ("ge", 1, 1, 0),
        ("gt", 1, 2, 1),
        ("le", 1, 1, 2),
        ("truthy", None, "x", ""),
        ("falsy", None, 0, "x"),
        ("contains", "a", ["a"], ["ab"]),
        ("in", [1, 2], 2, 3),
        ("disjoint", ["a"], ["b"], ["a", "b"]),
        ("matches", "^a", "ab", "ba"),
        ("token", "a", "b, a", "ab"),
        ("no_token", "a", "ab", "a"),
    ],
)
def test_operators(operator: str, expected: Any, good: Any, bad: Any) -> None:
    assert compare(operator, expected, good) == ""
    assert compare(operator, expected, bad)
    assert compare(operator, expected, None), "a missing value is red"


def test_every_operator_is_tested() -> None:
    tested = {row[0] for row in test_operators.pytestmark[0].args[1]}
    assert tested == set(OPERATORS)


def test_a_set_says_what_is_too_much_and_what_is_missing() -> None:
    assert compare("set_eq", ["a", "b"], ["b", "c"]) == "too much: c; missing: a"


@pytest.mark.parametrize(
    "text",
    [
        "- {id: a}",
        "- [a]",
        CHECK.replace("expected: 1", "expectd: 1"),
        CHECK.replace(", expected: 1", ""),
        CHECK.replace("expected: 1", "expected: 1, expected_from: x"),
        CHECK.replace("expected: 1", "expected: 1, op: like"),
        CHECK.replace("expected: 1", "expected: 1, severity: bad"),
        CHECK.replace("expected: 1", "expected: 1, when: x"),
        CHECK.replace("snapshot.observed.x.y", "'a.[b'"),
    ],
)
def test_a_check_that_could_never_be_judged_is_refused(text: str) -> None:
    with pytest.raises(CheckError):
        verdicts.parse_data(text, "t.yml")


def judge(text: str, snapshot: dict[str, Any]) -> list[Verdict]:
    (check,) = verdicts.parse_data(text, "t.yml")
    full = {"errors": {}, "invariant": {}, "observed": {}, **snapshot}
    return list(verdicts.judge_data(check, {"snapshot": full, "context": {"on": True, "names": ["p", "q"]}, "before": None}))


def test_a_data_check() -> None:
    assert judge(CHECK, {"observed": {"x": {"y": 1}}})[0].verdict == "pass"
    assert judge(CHECK, {"observed": {"x": {"y": 2}}})[0].verdict == "fail"
    assert judge(CHECK, {"observed": {"x": {}}})[0].verdict == "fail"
    assert judge(CHECK, {"errors": {"x": "refused"}})[0].verdict == "error"
    assert judge(CHECK, {})[0].verdict == "error"


def test_a_check_that_odd_data_break_is_an_error_and_hides_no_other() -> None:
    shape = CHECK.replace("snapshot.observed.x.y", "'length(snapshot.observed.x.y)'")
    assert judge(shape, {"observed": {"x": {"y": 7}}})[0].verdict == "error"
    sets = CHECK.replace("expected: 1", "expected: [a], op: disjoint")
    assert judge(sets, {"observed": {"x": {"y": [{}]}}})[0].verdict == "error"


def test_a_check_for_each() -> None:
    text = (
        "- {id: 'n.{item}', title: '{item}', phases: [x], for_each: context.names, "
        "value: 'snapshot.observed.x.{item}', expected: 1}"
    )
    found = judge(text, {"observed": {"x": {"p": 1, "q": 2}}})
    assert [(one.id, one.verdict) for one in found] == [("n.p", "pass"), ("n.q", "fail")]
    (empty,) = judge(text.replace("context.names", "context.none"), {"observed": {"x": {}}})
    assert empty.verdict == "error"


def test_a_condition_skips_by_design_but_not_when_it_could_not_be_asked() -> None:
    text = CHECK.replace("expected: 1", "expected: 1, when: snapshot.observed.z.on, skip_reason: not wanted")
    (skipped,) = judge(text, {"observed": {"x": {"y": 1}, "z": {"on": False}}})
    assert (skipped.verdict, skipped.skip_class) == ("skip", "by-design")
    assert judge(text, {"observed": {"x": {"y": 1}}, "errors": {"z": "refused"}})[0].verdict == "error"


@pytest.mark.parametrize(
    "bad",
    [
        {"verdict": "ok"},
        {"verdict": "skip"},
        {"verdict": "skip", "skip_class": "lazy"},
        {"verdict": "pass", "skip_class": "missing"},
    ],
)
def test_a_verdict_that_nobody_could_count_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(CheckError):
        Verdict("a", "t", **bad)


def test_a_code_check_that_breaks_is_an_error_and_hides_no_other(tmp_path: Path) -> None:
    source = (
        "from ansible_collections.benchkeeper.core.plugins.module_utils._check import check, judge\n"
        "@check('scenario')\ndef broken(snapshot, context):\n    yield judge('a', 't', 1, 1)\n    raise KeyError('x')\n"
        "@check('scenario')\ndef whole(snapshot, context):\n    yield judge('b', 't', 1, 1)\n"
        "@check('scenario', kind='miner')\ndef other(snapshot, context):\n    yield judge('c', 't', 1, 1)\n"
    )
    (tmp_path / "x.py").write_text(source, encoding="utf-8")
    look = verdicts.Look("scenario", "applied", "bench-0", "bench", {})
    found = list(verdicts.judge_look(verdicts.load_checks(tmp_path), look, {}, None))
    assert [(one.verdict.id, one.verdict.verdict) for one in found] == [("check.broken", "error"), ("b", "pass")]


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(CHECK + CHECK, encoding="utf-8")
    with pytest.raises(CheckError, match="twice"):
        verdicts.load_checks(tmp_path)


def test_steps_become_verdicts() -> None:
    lines: list[dict[str, Any]] = [{"id": "a", "ok": True}, {"id": "b", "ok": False, "why": "late"}, {"id": "c", "ok": None}]
    found = [one.verdict for one in verdicts.judge_steps(lines, "bench-0")]
    assert [(one.id, one.verdict, one.skip_class) for one in found] == [
        ("a", "pass", None),
        ("b", "fail", None),
        ("c", "skip", "missing"),
    ]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "snapshots").mkdir()
    hosts = [{"name": "bench-0", "kind": "bench"}, {"name": "miner-0", "kind": "miner"}]
    (tmp_path / "context.json").write_text(json.dumps({"mode": "targeted", "bench": "bench-0", "hosts": hosts}), encoding="utf-8")
    return tmp_path


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    (tmp_path / "stack" / "checks").mkdir(parents=True)
    text = CHECK.replace("[scenario]", "[baseline, scenario]")
    (tmp_path / "stack" / "checks" / "a.yml").write_text(text, encoding="utf-8")
    return tmp_path / "stack"


def put(work: Path, name: str, value: int, at: str = "1") -> None:
    document = {"observed": {"x": {"y": value}}, "invariant": {}, "errors": {}, "taken_at": at}
    (work / "snapshots" / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def outcome(work: Path, stack: Path) -> list[tuple[str, str, str]]:
    return [(one.phase, one.verdict.id, one.verdict.verdict) for one in verdicts.judge_run(work, stack)]


def test_a_run_is_judged_from_its_files(work: Path, stack: Path) -> None:
    put(work, "scenario-applied-bench-0", 2, "2")
    put(work, "scenario-applied-miner-0", 2)
    put(work, "scenario-applied-stranger", 2)
    told = {"bench-0": {"hits": [], "gaps": []}, "miner-0": {"hits": ["journal: raw"], "gaps": ["x"]}}
    (work / "canary.json").write_text(json.dumps(told), encoding="utf-8")
    assert outcome(work, stack) == [
        ("scenario", "a.b", "fail"),
        ("evidence", "secrets.canary.bench-0", "pass"),
        ("evidence", "secrets.canary.miner-0", "fail"),
    ]


def test_a_branch_is_not_blamed_for_the_baseline_unless_only_that_is_looked_at(work: Path, stack: Path) -> None:
    put(work, "baseline-before-bench-0", 2)
    assert outcome(work, stack)[0] == ("baseline", "a.b", "warn")
    context = json.loads((work / "context.json").read_text(encoding="utf-8"))
    (work / "context.json").write_text(json.dumps({**context, "mode": "check"}), encoding="utf-8")
    assert outcome(work, stack) == [("baseline", "a.b", "fail")]


def test_a_run_in_which_nothing_was_checked_is_an_error(work: Path, stack: Path) -> None:
    assert outcome(work, stack) == [("", "run.something_was_checked", "error")]
    (work / "steps.jsonl").write_text('{"id": "a", "ok": null}\n', encoding="utf-8")
    assert ("", "run.something_was_checked", "error") in outcome(work, stack)


def test_logs_that_were_not_searched_are_an_error(work: Path, stack: Path) -> None:
    put(work, "scenario-applied-bench-0", 1)
    assert ("evidence", "secrets.canary.miner-0", "error") in outcome(work, stack)


def test_logs_that_were_not_searched_to_their_end_are_an_error(work: Path, stack: Path) -> None:
    put(work, "scenario-applied-bench-0", 1)
    (work / "canary.json").write_text(json.dumps({"miner-0": {"hits": [], "gaps": ["journal: too long"]}}), encoding="utf-8")
    found = [one.verdict for one in verdicts.judge_run(work, stack) if one.verdict.id == "secrets.canary.miner-0"]
    assert [(one.verdict, "too long" in one.why) for one in found] == [("error", True)]


def test_names_of_looks() -> None:
    hosts = ["bench-0", "node-bench-0"]
    assert verdicts.split_name("lifecycle-node_down-bench-0", hosts) == ("lifecycle", "node_down", "bench-0")
    assert verdicts.split_name("baseline-before-node-bench-0", hosts) == ("baseline", "before", "node-bench-0")
    assert verdicts.split_name("baseline-before-other", hosts) is None


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n[1]\n{"b": ', encoding="utf-8")
    assert verdicts.read_lines(path) == [{"a": 1}]


def test_a_code_check_that_says_nothing_is_an_error() -> None:
    def silent(_snapshot: Any, _context: Any) -> list[Verdict]:
        return []

    checks = verdicts.Checks(code=(CodeCheck(("scenario",), "bench", silent),))
    look = verdicts.Look("scenario", "applied", "bench-0", "bench", {})
    said = [(one.verdict.id, one.verdict.verdict) for one in verdicts.judge_look(checks, look, {}, None)]
    assert said == [("check.silent", "error")]


@pytest.mark.parametrize(("hits", "verdict"), [([], "skip"), (["journal"], "fail")])
def test_where_no_secret_is_planted_its_absence_proves_nothing(hits: list[str], verdict: str) -> None:
    context = {"hosts": [{"name": "bench-0"}], "secrets": {"canary": {"file": "", "path": []}}}
    (found,) = verdicts.judge_canary({"bench-0": {"hits": hits, "gaps": []}}, context)
    assert (found.verdict.verdict, found.verdict.skip_class) == (verdict, "by-design" if verdict == "skip" else None)
