"""The battery is whole: every case of the design is tried, on a machine wherever that can be, and says what must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchkeeper.battery import BY_MODEL, CASES, TIERS, Case, read_cases

ROOT = Path(__file__).parents[2]
FOUND = read_cases(ROOT)


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_tried_on_a_machine_where_that_can_be(name: str) -> None:
    mine = [case for case in FOUND if case.name == name]
    assert mine, f"no test carries case {name}"
    tiers = {case.tier for case in mine}
    assert ("model" if name in BY_MODEL else "machine") in tiers or all(case.reason for case in mine)


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.node)
def test_every_test_of_a_case_says_what_must_hold(case: Case) -> None:
    assert case.name in CASES
    assert case.tier in TIERS
    assert len(case.oracle.split()) > 4
    assert "\n" not in case.oracle
    assert case.tier == "machine" or case.name in BY_MODEL or case.reason, "only F9 and F10 need no reason for a model"
    assert (case.tier == "machine") == case.path.startswith("tests/e2e/"), "machines are e2e's, models are unit's"


def test_files_of_tests_have_names_of_their_own() -> None:
    names = [path.name for folder in ("e2e", "static") for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
