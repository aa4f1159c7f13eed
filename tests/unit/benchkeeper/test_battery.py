"""How the battery finds its cases and judges how they came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper import battery, child, paths
from benchkeeper.battery import Outcome
from benchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TESTS = """
import pytest

@pytest.mark.case("F10", tier="model", oracle="it is so", reason="no machine "
    "has it")
@pytest.mark.parametrize("one", [1, 2])
def test_ten(one): pass

@pytest.mark.case("F2", tier="machine", oracle="it is so, too")
@pytest.mark.case("F3", tier="machine", oracle="and this")
def test_two(): pass

def test_none(): pass
"""
RESULTS = """<testsuites><testsuite name="pytest">
<testcase classname="tests.e2e.test_some" name="test_ten[1]" time="1.5" />
<testcase classname="tests.e2e.test_some" name="test_ten[2]" time="0.5">{}</testcase>
<testcase classname="tests.e2e.test_some" name="test_two" time="2.0" />
<testcase classname="tests.e2e.test_other" name="test_two" time="100.0" />
</testsuite></testsuites>"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "tests" / "e2e" / "test_some.py"
    path.parent.mkdir(parents=True)
    path.write_text(TESTS, encoding="utf-8")
    return tmp_path


def test_cases_are_read_from_the_markers_and_sorted_by_their_number(root: Path) -> None:
    found = battery.read_cases(root)
    assert [(case.name, case.tier, case.test) for case in found] == [
        ("F2", "machine", "test_two"),
        ("F3", "machine", "test_two"),
        ("F10", "model", "test_ten"),
    ]
    assert found[2].reason == "no machine has it"
    assert found[2].node == "tests/e2e/test_some.py::test_ten"


def test_cases_are_chosen_by_name(root: Path) -> None:
    known = battery.read_cases(root)
    assert battery.chosen(known, ["F10", "F10"]) == [known[2]]
    assert battery.chosen(known, ["F2", "all"]) == known
    for bad in (["F1"], ["F2", "x; rm"], []):
        with pytest.raises(UsageError, match="known: F2, F3, F10, all"):
            battery.chosen(known, bad)


@pytest.mark.parametrize(
    ("inside", "word"),
    [("", "ok"), ('<failure message="no" />', "FAILED: test_ten[2]"), ('<skipped message="no room" />', "SKIPPED: no room")],
)
def test_a_case_is_good_when_all_of_its_tests_ran_and_none_failed(root: Path, inside: str, word: str) -> None:
    junit = root / "junit.xml"
    junit.write_text(RESULTS.format(inside), encoding="utf-8")
    cases = battery.read_cases(root)
    found = battery.read_results(junit, cases)
    assert (found["F10"].count, found["F10"].seconds, found["F10"].word) == (2, 2.0, word)
    assert found["F10"].good == (word == "ok")
    assert found["F2"] == found["F3"] == Outcome(1, 2.0)
    assert battery.table(cases, found)[1:] == [
        "F2    machine      1      2.0  ok",
        "F3    machine      1      2.0  ok",
        f"F10   model        2      2.0  {word}",
    ]


def test_what_did_not_run_is_not_good(root: Path) -> None:
    found = battery.read_results(root / "none.xml", battery.read_cases(root))
    assert found["F2"].word == "NOT RUN"
    assert not found["F2"].good


@pytest.mark.parametrize(("inside", "code", "ended"), [("", 0, 0), ("<failure />", 1, 4), ("<skipped />", 0, 4), ("", 2, 4)])
def test_the_command_ends_with_4_unless_everything_holds(
    root: Path, monkeypatch: pytest.MonkeyPatch, inside: str, code: int, ended: int
) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **options: Any) -> int:
        asked.append(command)
        junit = next(word for word in command if word.startswith("--junitxml="))
        (root / junit.partition("=")[2]).write_text(RESULTS.format(inside), encoding="utf-8")
        return code

    monkeypatch.setattr(child, "run", run)
    monkeypatch.setattr(paths, "checkout", lambda: paths.Paths(root))
    assert battery.run_cases(["F10"]) == ended
    assert asked[0][-1] == "tests/e2e/test_some.py::test_ten"
