"""The decision about a run, as a table, and how what hosts said is put together."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from benchkeeper.results import (
    Facts,
    HostEnd,
    before_lease,
    decide,
    ended_early,
    first_failure,
    hosts_of,
    lost,
    maybe_leased,
    phases,
)

BACK = {"bench-0": HostEnd(restored=True, proven=True), "miner-0": HostEnd(restored=True, proven=True)}
OPEN = {**BACK, "miner-0": HostEnd(restored=True, proven=False, state="unproven")}
KEPT = {name: HostEnd(restored=False, proven=False, state="kept", deadline="2026-01-01T01:00:00+00:00") for name in BACK}
GREEN = {"pass": 80, "fail": 0, "warn": 1, "skip": 2, "error": 0}
RED = {**GREEN, "fail": 2}
BROKEN = {**GREEN, "error": 1}
UNFIT = {"phase": "snapshot", "msg": "not fit: bench-0: synced"}
BUSY = {"phase": "lease", "msg": "held", "busy": {"run_id": "other"}}
USAGE = {"phase": "preflight", "msg": "unknown branch", "usage": True}
DEPLOY = {"phase": "deploy", "msg": "the branch does not come up"}

TABLE: list[tuple[str, dict[str, Any], str, int]] = [
    ("good", {"counts": GREEN, "hosts": BACK}, "good", 0),
    ("a red check", {"counts": RED, "hosts": BACK}, "bad", 1),
    ("an error counts as red", {"counts": BROKEN, "hosts": BACK}, "bad", 1),
    ("nothing checked", {"counts": {**GREEN, "pass": 0}, "hosts": BACK}, "bad", 1),
    ("nothing written down", {}, "bad", 1),
    ("the branch does not come up", {"counts": GREEN, "hosts": BACK, "failure": DEPLOY}, "bad", 1),
    ("a secret in the results", {"counts": GREEN, "hosts": BACK, "leaks": ("junit.xml",)}, "bad", 1),
    ("ansible-playbook was killed", {"counts": GREEN, "hosts": BACK, "died": "killed"}, "bad", 1),
    ("typed wrong", {"failure": USAGE}, "usage", 2),
    ("not fit", {"counts": RED, "failure": UNFIT, "hosts": BACK}, "unfit", 3),
    ("not fit beats a red check", {"counts": RED, "failure": UNFIT}, "unfit", 3),
    ("a host was lost", {"counts": RED, "failure": {**DEPLOY, "unreachable": True}, "hosts": BACK}, "unfit", 3),
    ("a host was lost for a while", {"counts": RED, "lost": "bench-0", "hosts": BACK}, "unfit", 3),
    ("a host was lost and is not back", {"counts": RED, "lost": "bench-0", "hosts": OPEN}, "unproven", 4),
    ("leased to somebody else", {"failure": BUSY}, "busy", 75),
    ("leased, seen by a run that only looks", {"failure": {"phase": "preflight", "msg": "leased: [x]"}}, "busy", 75),
    ("its lease was lost", {"counts": RED, "hosts": BACK, "fenced": "stale fence"}, "unfit", 3),
    ("its lease was lost, a host is not back", {"counts": RED, "hosts": OPEN, "fenced": "stale fence"}, "unproven", 4),
    ("the bench itself failed", {"counts": RED, "hosts": BACK, "failure": DEPLOY, "own": ("bench-0: space",)}, "unfit", 3),
    ("the bench itself failed, a host is not back", {"counts": RED, "hosts": OPEN, "own": ("space",)}, "unproven", 4),
    ("the bench itself failed, but somebody else has it", {"failure": BUSY, "own": ("space",)}, "busy", 75),
    ("not proven", {"counts": GREEN, "hosts": OPEN}, "unproven", 4),
    ("not proven beats everything", {"counts": RED, "hosts": OPEN, "signal": 15, "failure": UNFIT}, "unproven", 4),
    ("kept as asked", {"counts": GREEN, "hosts": KEPT, "keep": True}, "kept", 4),
    ("kept but interrupted is not kept", {"counts": GREEN, "hosts": KEPT, "keep": True, "signal": 2}, "unproven", 4),
    ("kept but one is worse", {"hosts": {**KEPT, "miner-0": OPEN["miner-0"]}, "keep": True}, "unproven", 4),
    ("INT", {"counts": GREEN, "hosts": BACK, "signal": 2}, "interrupted", 130),
    ("TERM", {"counts": RED, "hosts": BACK, "signal": 15}, "interrupted", 143),
    ("HUP before anything was leased", {"signal": 1}, "interrupted", 129),
    ("a signal beats not fit", {"signal": 15, "failure": UNFIT, "hosts": BACK}, "interrupted", 143),
]


@pytest.mark.parametrize(("facts", "verdict", "code"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_decision(facts: dict[str, Any], verdict: str, code: int) -> None:
    decision = decide(Facts(**facts))
    assert (decision.verdict, decision.exit_code) == (verdict, code)
    assert decision.reason


def test_who_has_it_is_told_with_the_times() -> None:
    busy = {"run_id": "other", "since": "2026-01-01T00:00:00+00:00", "deadline": "2026-01-01T01:00:00+00:00"}
    said = decide(Facts(failure={**BUSY, "busy": busy})).reason
    assert said == "held, since 2026-01-01T00:00:00+00:00, until 2026-01-01T01:00:00+00:00"
    assert decide(Facts(failure={**BUSY, "busy": {"resource": "b", "holder": "pid=7"}})).reason == "held"


def test_what_is_kept_is_told_with_its_end() -> None:
    assert "miner-0 until 2026-01-01T01:00:00+00:00" in decide(Facts(hosts=KEPT, keep=True)).reason


def item(host: str, status: str, **more: Any) -> dict[str, Any]:
    return {"phase": "lease", "event": "item", "item": host, "status": status, **more}


START = {"phase": "lease", "event": "task.start", "task": "Take the leases"}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], []),
        ([{"phase": "preflight", "event": "task.start"}], []),
        ([START], ["miner-0", "bench-0"]),
        ([START, item("miner-0", "changed")], ["bench-0"]),
        ([START, item("miner-0", "changed"), item("bench-0", "unreachable")], ["bench-0"]),
        ([START, item("miner-0", "failed", busy=True), item("bench-0", "changed")], []),
        ([START, item("miner-0", "failed"), item("bench-0", "changed")], ["miner-0"]),
    ],
)
def test_who_may_be_leased_without_anybody_having_written_it_down(events: list[dict[str, Any]], expected: list[str]) -> None:
    assert maybe_leased(events, ["miner-0", "bench-0"]) == expected


def test_a_host_that_was_not_reached_by_an_item_is_lost() -> None:
    assert lost([item("miner-0", "ok")]) == ""
    assert "bench-0" in lost([item("miner-0", "ok"), {**item("Flip", "unreachable"), "host": "bench-0"}])


FAILED = {"phase": "preflight", "event": "failed"}


@pytest.mark.parametrize(
    ("events", "proof"),
    [
        ([], False),
        ([{"phase": "preflight", "event": "task.start"}], False),
        ([FAILED, START], False),
        ([FAILED], True),
        ([{"phase": "preflight", "event": "task.start"}, {"phase": "report", "event": "task.start"}], True),
        ([FAILED, {"phase": "restore", "event": "task.start"}, {"phase": "", "event": "run.end"}], True),
    ],
)
def test_only_events_prove_that_nothing_was_leased(events: list[dict[str, Any]], proof: bool) -> None:
    assert before_lease(events) is proof


def test_a_recovery_has_the_last_word_but_does_not_unprove() -> None:
    restored: dict[str, dict[str, Any]] = {
        "bench-0": {"restored": True, "proven": True},
        "miner-0": {"restored": False, "proven": False, "items": [{"item": "x"}]},
    }
    recovered = [
        {"item": "bench-0", "proven": True, "nothing_to_do": True},
        {"item": "miner-0", "restored": True, "proven": True, "seconds": 3.5},
    ]
    ends = hosts_of("r", restored, recovered, [])
    assert ends["miner-0"].proven
    assert ends["miner-0"].items == ({"item": "x"},)
    assert ends["bench-0"].proven


def test_a_host_that_nobody_knows_of_is_not_proven() -> None:
    ends = hosts_of("r", None, None, ["miner-0"])
    assert not ends["miner-0"].proven


def test_a_host_that_was_not_reached_is_not_proven() -> None:
    ends = hosts_of("r", None, [{"item": "miner-0", "unreachable": True, "msg": "timed out"}], ["miner-0"])
    assert ends["miner-0"].failures == ({"why": "timed out"},)


def test_a_host_that_another_run_holds_was_never_ours() -> None:
    assert hosts_of("r", None, [{"item": "miner-0", "busy": {"run_id": "other"}, "msg": "held"}], ["miner-0"]) == {}


def test_a_free_host_that_was_never_leased_is_not_in_the_result() -> None:
    assert hosts_of("r", {}, [{"item": "miner-1", "proven": True, "nothing_to_do": True}], []) == {}


def test_the_first_failure_is_the_reason_and_later_ones_its_echo() -> None:
    events = [{"event": "item"}, {"event": "failed", "msg": "first"}, {"event": "failed", "msg": "echo"}]
    assert (first_failure(events) or {})["msg"] == "first"


def test_an_earlier_decision_is_no_failure() -> None:
    assert first_failure([{"event": "failed", "phase": "report", "msg": "kept (exit code 4): kept, as asked"}]) is None


def test_phases_have_seconds_also_when_they_were_cut_off() -> None:
    events = [
        {"event": "phase.start", "phase": "lease", "s": 1.0},
        {"event": "phase.end", "phase": "lease", "s": 2.5},
        {"event": "phase.start", "phase": "deploy", "s": 2.5},
        {"event": "item", "phase": "deploy", "s": 9.0},
    ]
    assert [(one["name"], one["seconds"]) for one in phases(events)] == [("lease", 1.5), ("deploy", 6.5)]


BEGAN = {"at": "2026-11-27T03:00:10.000+00:00", "event": "phase.start", "phase": "restore"}
AT = dt.datetime(2026, 11, 27, 3, 0, 10, tzinfo=dt.timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("ends", "events", "said"),
    [
        ([], [], ""),
        ([{"at": AT + 1, "resource": "m", "why": "back"}], [BEGAN], ""),
        ([{"at": AT - 1, "resource": "m", "why": "back"}], [BEGAN], "m: back"),
        ([{"at": AT - 1, "resource": "m", "why": "back"}], [{**BEGAN, "phase": "lifecycle"}], "m: back"),
        ([{"at": AT + 1, "resource": "b", "why": "own"}, {"at": AT - 1, "resource": "m", "why": "back"}], [BEGAN], "m: back"),
        ([{"resource": "m", "why": "back"}], [{**BEGAN, "at": "no time"}], ""),
    ],
)
def test_a_lease_that_ends_before_the_restore_is_lost(ends: list[Any], events: list[Any], said: str) -> None:
    assert ended_early(ends, events) == said
