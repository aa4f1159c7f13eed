"""The views of a run, drawn from data: complete, escaped, the same when drawn again, loud about what is red."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper import recovery, report, supervisor

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20261121T081500Z-0a1b2c"
NONCE, CANARY = "0123456789abcdef0123456789abcdef", "bkcanary0123456789abcdef01234567"


def line(name: str, verdict: str = "pass", **more: Any) -> dict[str, Any]:
    base = {"id": name, "title": f"Title of {name}", "verdict": verdict, "class": None, "why": "", "expected": None, "actual": None}
    return {**base, "host": "bench-0", "phase": "scenario", "step": "applied", "seconds": 0.0, **more}


def lines(path: Path, many: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in many), encoding="utf-8")
    if path.name == "verdicts.jsonl":
        end = {"expected": len(many), "written": len(many)}
        (path.parent / "work" / "judged.json").write_text(json.dumps(end), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / RUN
    (folder / "work").mkdir(parents=True)
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"nonce": NONCE, "canary": CANARY}), encoding="utf-8")
    context = {"run_id": RUN, "stack": "pithead", "branch": "main", "commit": "4f" * 20, "mode": "targeted", "bench": "bench-0"}
    hosts = [{"name": "bench-0", "kind": "bench"}]
    (folder / "work" / "context.json").write_text(
        json.dumps({**context, "hosts": hosts, "state_file": str(state)}), encoding="utf-8"
    )
    back = {"restored": True, "proven": True, "seconds": 4.2, "state": "free", "failures": []}
    items = [{"item": "deploy", "kind": "command", "verdict": "PUT_BACK", "seconds": 3.1}]
    (folder / "work" / "restore.json").write_text(json.dumps({"bench-0": {**back, "items": items}}), encoding="utf-8")
    lines(folder / "events.jsonl", [{"event": "phase.start", "phase": "scenario", "s": 1, "at": "2026-11-21T08:15:00+00:00"}])
    lines(
        folder / "verdicts.jsonl", [line("api.reachable"), line("mining.workers", "skip", **{"class": "missing"}, why="no miner")]
    )
    return folder


def test_a_good_run(run: Path) -> None:
    result = report.render(run)
    assert (result["verdict"], result["exit_code"]) == ("good", 0)
    assert result["skipped"] == [{"id": "mining.workers", "class": "missing"}]
    assert (run.parent / "latest").resolve() == run.resolve()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Is the branch good?" in page
    assert "Yes, proven" in page
    assert "mining.workers" in page
    assert "PUT_BACK" in page
    for outside in ("http://", "https://", "src=", "@import", "<script"):
        assert outside not in page


def test_junit_has_every_check_and_every_host(run: Path) -> None:
    lines(
        run / "verdicts.jsonl",
        [line("a"), line("b", "fail", why="is 2"), line("c", "error", why="broke"), line("d", "warn", why="w")],
    )
    report.render(run)
    root = ET.parse(run / "junit.xml").getroot()  # noqa: S314 - our own file
    cases = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert cases == {"a": [], "b": ["failure"], "c": ["error"], "d": ["system-out"], "proof.bench-0": []}


def test_a_red_check_is_shown_with_its_evidence_and_escaped(run: Path) -> None:
    lines(run / "verdicts.jsonl", [line("x", "fail", why="<script>alert(1)</script>", expected=["a"], actual={"b": 1})])
    result = report.render(run)
    assert (result["exit_code"], result["failures"]) == (1, ["x"])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "What is red" in page


def test_drawing_it_again_gives_the_same(run: Path) -> None:
    first = report.render(run)
    assert report.render(run) == first


def test_a_host_that_is_not_back_is_the_loudest(run: Path) -> None:
    why = {
        "restored": True,
        "proven": False,
        "failures": [{"probe": "config", "path": "fp", "why": "differs", "before": "a", "after": "b"}],
    }
    (run / "work" / "restore.json").write_text(json.dumps({"bench-0": why}), encoding="utf-8")
    result = report.render(run)
    assert (result["verdict"], result["exit_code"]) == ("unproven", 4)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "NOT proven: bench-0" in page
    assert f"./bench recover --run {RUN}" in page
    (run / "work" / "recover.json").write_text(
        json.dumps([{"item": "bench-0", "restored": True, "proven": True}]), encoding="utf-8"
    )
    assert report.render(run)["exit_code"] == 0


@pytest.mark.parametrize("secret", [NONCE, CANARY])
def test_a_secret_in_any_file_fails_the_run_and_takes_the_file_away(run: Path, secret: str) -> None:
    (run / "hosts").mkdir()
    (run / "hosts" / "engine.log").write_text(f"token={secret}", encoding="utf-8")
    result = report.render(run)
    assert (result["exit_code"], result["failures"]) == (1, ["secrets.canary.results"])
    assert not (run / "hosts" / "engine.log").exists()
    assert report.render(run)["exit_code"] == 1, "a leak is not forgotten when the report is drawn again"


def test_a_secret_in_a_verdict_does_not_reach_the_page(run: Path) -> None:
    lines(run / "verdicts.jsonl", [line("api.reachable"), line("x", "fail", why=f"saw {CANARY}")])
    result = report.render(run)
    assert result["exit_code"] == 1
    for path in run.rglob("*"):
        if path.is_file():
            assert CANARY not in path.read_text(encoding="utf-8"), path.name


def test_a_run_that_ended_before_it_had_a_context(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    (folder / "work").mkdir(parents=True)
    asked = {"branch": "nope", "stack": "pithead", "mode": "targeted"}
    (folder / "work" / "supervisor.json").write_text(json.dumps({"asked": asked}), encoding="utf-8")
    lines(
        folder / "events.jsonl", [{"event": "failed", "phase": "preflight", "msg": "unknown branch 'nope'", "usage": True, "s": 1}]
    )
    result = report.render(folder)
    assert (result["verdict"], result["exit_code"], result["branch"]) == ("usage", 2, "nope")
    assert "nothing was changed" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_of_which_nothing_is_known_is_open(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    (folder / "work").mkdir(parents=True)
    assert recovery.open_hosts(folder, ("bench-0",)) == ("bench-0",)
    asked = {"mode": "targeted", "miners": ["miner-0"], "bench": "bench-0"}
    (folder / "work" / "supervisor.json").write_text(json.dumps({"asked": asked}), encoding="utf-8")
    assert report.render(folder)["exit_code"] == 4
    assert recovery.open_hosts(folder) == ("bench-0", "miner-0")
    lines(folder / "events.jsonl", [{"event": "failed", "phase": "preflight", "msg": "unknown branch", "s": 1}])
    assert recovery.open_hosts(folder, ("bench-0",)) == ()


def test_a_run_that_was_killed_while_it_leased_is_open(run: Path) -> None:
    (run / "work" / "restore.json").unlink()
    lines(run / "events.jsonl", [{"event": "task.start", "phase": "lease", "s": 1}])
    assert report.render(run)["exit_code"] == 4


def test_a_run_that_only_looked_and_was_refused_changed_nothing(run: Path) -> None:
    context = json.loads((run / "work" / "context.json").read_text(encoding="utf-8"))
    (run / "work" / "context.json").write_text(json.dumps({**context, "mode": "check"}), encoding="utf-8")
    (run / "work" / "restore.json").write_text(json.dumps({"bench-0": {"restored": False, "proven": False}}), encoding="utf-8")
    lines(run / "events.jsonl", [{"event": "failed", "phase": "snapshot", "msg": "not fit", "s": 1}])
    assert report.render(run)["exit_code"] == 3


def test_the_command_line_says_the_outcome_and_ends_with_its_code(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--run-dir", str(run)]) == 0
    assert capsys.readouterr().out.startswith("good (exit code 0)")


def test_without_secrets_to_look_for_a_run_is_not_clean(run: Path) -> None:
    state = run.parents[1] / "state.json"
    known = state.read_text(encoding="utf-8")
    state.unlink()
    assert report.render(run)["failures"] == ["secrets.canary.results"]
    (run / "result.json").unlink()
    state.write_text(known, encoding="utf-8")
    assert report.render(run)["exit_code"] == 0
    state.unlink()
    assert report.render(run)["exit_code"] == 0, "what was searched before stays clean when the run is forgotten"


def test_a_secret_in_the_output_of_ansible_fails_the_run(run: Path) -> None:
    (run / "work" / "supervisor.json").write_text(json.dumps({"output_leak": "held a secret"}), encoding="utf-8")
    result = report.render(run)
    assert (result["exit_code"], [one["path"] for one in result["leaks"]]) == (1, ["work/ansible.log"])
    assert report.render(run) == result


def test_what_a_recovery_needs_is_cleaned_and_stays(run: Path) -> None:
    lines(run / "events.jsonl", [{"event": "item", "phase": "lease", "item": "bench-0", "status": "changed", "msg": CANARY}])
    (run / "work" / "restore.json").unlink()
    result = report.render(run)
    assert [one["path"] for one in result["leaks"]] == ["events.jsonl"]
    assert CANARY not in (run / "events.jsonl").read_text(encoding="utf-8")
    assert recovery.open_hosts(run) == ("bench-0",)


def test_verdicts_that_were_not_all_written_are_an_error(run: Path) -> None:
    (run / "work" / "judged.json").write_text(json.dumps({"expected": 3, "written": 2}), encoding="utf-8")
    assert report.render(run)["failures"] == ["run.all_was_judged"]
    (run / "work" / "judged.json").unlink()
    assert report.render(run)["exit_code"] == 1


def test_a_step_that_was_reached_has_a_verdict(run: Path) -> None:
    context = json.loads((run / "work" / "context.json").read_text(encoding="utf-8"))
    steps = {"scenario": [{"id": "scenario.apply"}, {"id": "api.reachable"}], "lifecycle": [{"id": "lifecycle.end"}]}
    (run / "work" / "context.json").write_text(json.dumps({**context, **steps}), encoding="utf-8")
    assert report.render(run)["failures"] == ["scenario.apply"], "the life cycle was not reached"


def test_a_bench_that_failed_itself_is_not_the_branch_s_fault(run: Path) -> None:
    lines(run / "verdicts.jsonl", [line("deploy.command", "fail", why="no space left")])
    (run / "work" / "own.json").write_text("[]", encoding="utf-8")
    assert report.render(run)["exit_code"] == 1
    (run / "work" / "own.json").write_text(json.dumps(["bench-0: space: free_bytes should be ge 1, is 0"]), encoding="utf-8")
    result = report.render(run)
    assert (result["exit_code"], result["verdict"]) == (3, "unfit")
    assert "free_bytes" in result["reason"]


def test_what_is_kept_is_shown_with_its_end_and_the_way_back(run: Path) -> None:
    context = json.loads((run / "work" / "context.json").read_text(encoding="utf-8"))
    (run / "work" / "context.json").write_text(json.dumps({**context, "keep": True}), encoding="utf-8")
    until = "2026-11-21T09:15:00+00:00"
    end = {"restored": False, "proven": False, "state": "kept", "deadline": until, "failures": [{"why": f"kept, until {until}"}]}
    (run / "work" / "restore.json").write_text(json.dumps({"bench-0": end}), encoding="utf-8")
    result = report.render(run)
    assert (result["verdict"], result["exit_code"], result["restored"]["bench-0"]["deadline"]) == ("kept", 4, until)
    for text in ("\n".join(supervisor.farewell(result, run)), (run / "report.html").read_text(encoding="utf-8")):
        assert until in text
        assert f"./bench recover --run {RUN}" in text
