"""The builtin tenant and the stub answer as the real ones were recorded to: every case, or a reason why it is not played."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tenant.behaviour import Defect
from tenant_play import play_all
from tenant_preconditions import CASES, NOT_PLAYED, RECORDING, ROOT
from tenant_starts import play_processes

from benchkeeper.conform import verdicts
from benchkeeper.conform.verdicts import MAX_DEVIATING, REQUIRED

if TYPE_CHECKING:
    from benchkeeper.conform.player import Outcome

STACK = ROOT / "stacks" / "tenant"
DEFECTS: dict[str, Any] = yaml.safe_load((STACK / "defects.yml").read_text(encoding="utf-8"))
DECLARED = verdicts.declared(STACK / "defects.yml")
DIGEST = "cd115255f4958754f8bc599bdf1a701d2eea8775b291d1c6a8ad2fa84ab21360"


def everything(only: set[int] | None = None, **difference: str) -> dict[int, Outcome]:
    """Play what is asked over HTTP and what is started."""
    started = asyncio.run(play_processes(only, **difference))
    return {**play_all(only, **difference), **{outcome.case.seq: outcome for outcome in started}}


@pytest.fixture(scope="module")
def as_seed() -> dict[int, Outcome]:
    """Everything, with the seed's profile and all defects."""
    return everything()


@pytest.fixture(scope="module")
def mended() -> dict[int, Outcome]:
    """Everything, with the seed's profile and no defect."""
    return everything(TENANT_DEFECTS="")


def test_the_recording_is_the_one_that_was_handed_in() -> None:
    assert hashlib.sha256(RECORDING.read_bytes()).hexdigest() == DIGEST


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.seq not in NOT_PLAYED], ids=lambda case: f"{case.seq}-{case.group}"
)
def test_as_recorded(case: Any, as_seed: dict[int, Outcome]) -> None:
    assert as_seed[case.seq].differences == [], case.case


def test_every_case_is_played_or_has_a_reason(as_seed: dict[int, Outcome]) -> None:
    numbers = [case.seq for case in CASES]
    assert sorted([*as_seed, *NOT_PLAYED]) == numbers
    assert all(len(reason.split()) > 5 for reason in NOT_PLAYED.values())


def test_the_defects_are_those_of_the_tenant() -> None:
    assert list(DEFECTS) == list(Defect)
    assert len(DECLARED) == sum(len(defect["answers"]) for defect in DEFECTS.values()), "a case stands under two defects"


def test_without_defects_exactly_the_declared_cases_deviate(mended: dict[int, Outcome]) -> None:
    assert {seq for seq, outcome in mended.items() if outcome.differences} == set(DECLARED)


@pytest.mark.parametrize("seq", sorted(DECLARED))
def test_the_mended_server_answers_as_declared(seq: int, mended: dict[int, Outcome]) -> None:
    judged = verdicts.judge(mended[seq], DECLARED[seq])
    assert judged.verdict is verdicts.Verdict.DECLARED, judged.why
    assert "body" in DECLARED[seq] or DECLARED[seq]["note"]


@pytest.mark.parametrize("defect", [defect for defect in Defect if DEFECTS[defect]["answers"]])
def test_each_defect_is_what_its_cases_show(defect: Defect) -> None:
    own = set(DEFECTS[defect]["answers"])
    others = ",".join(other for other in Defect if other is not defect)
    outcomes = everything(own, TENANT_DEFECTS=others)
    assert {seq for seq, outcome in outcomes.items() if outcome.differences} == own


def test_few_required_cases_deviate_without_defects() -> None:
    required = {case.seq for case in CASES if case.group in REQUIRED}
    assert len(required & set(DECLARED)) <= MAX_DEVIATING * len(required)


def table(outcomes: dict[int, Outcome]) -> str:
    """Give the table of the stack's README."""
    recorded = Counter(case.group for case in CASES)
    equal = Counter(outcome.case.group for outcome in outcomes.values() if not outcome.differences)
    skipped = Counter(case.group for case in CASES if case.seq in NOT_PLAYED)
    declared = Counter(case.group for case in CASES if case.seq in DECLARED)
    rows = ["| group | recorded | equal | not played | otherwise without defects |", "|---|---|---|---|---|"]
    groups = [*REQUIRED, *sorted(set(recorded) - set(REQUIRED))]
    rows += [f"| {group} | {recorded[group]} | {equal[group]} | {skipped[group]} | {declared[group]} |" for group in groups]
    total = (sum(counter.values()) for counter in (recorded, equal, skipped, declared))
    return "\n".join([*rows, f"| all | {' | '.join(str(number) for number in total)} |"])


def test_the_table_of_the_readme_is_fresh(as_seed: dict[int, Outcome]) -> None:
    assert table(as_seed) in (STACK / "README.md").read_text(encoding="utf-8"), table(as_seed)


def test_the_comparison_notices() -> None:
    """A player that calls everything equal would pass all of the above: a server of another organisation must not."""
    other = play_all({49, 80, 175, 306}, MOLECULE_ORG_ID="another-org")
    assert {seq: bool(other[seq].differences) for seq in (49, 80, 175, 306)} == {49: True, 80: False, 175: False, 306: True}
