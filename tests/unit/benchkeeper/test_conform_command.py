"""`./bench conform`: wrong input is refused before anything is made, verdicts say what is wrong, the document can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchkeeper import cli
from benchkeeper.conform import kinds, notes, play, recording, starts, verdicts, wire
from benchkeeper.conform.player import Outcome
from benchkeeper.conform.surroundings import BASE, Addresses
from benchkeeper.conform.symbols import Symbols
from benchkeeper.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "stacks" / "tenant"
LINE: dict[str, Any] = {
    "seq": 1,
    "case": "c",
    "group": "guard",
    "via": "direct",
    "instance": "main",
    "request": {"method": "GET", "path": "/"},
    "response": {"status": 200, "headers": {}, "body_kind": "json", "body": {}},
}


def case(seq: int = 1, **parts: Any) -> recording.Case:
    return recording.parse(json.dumps({**LINE, "seq": seq, **parts}))


def written(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


GOOD = json.dumps(LINE)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((GOOD, "{"), "r.jsonl:2: no exchange"),
        ((GOOD, ""), "r.jsonl:2: no exchange"),
        (("not JSON",), "r.jsonl:1: no exchange"),
        ((GOOD, GOOD), "r.jsonl:2: seq 1 a second time"),
        ((json.dumps({**LINE, "seq": "1"}),), "r.jsonl:1: no exchange: seq cannot be used"),
        ((json.dumps({**LINE, "via": "pigeon"}),), "r.jsonl:1: no exchange: via cannot be used"),
        ((json.dumps({**LINE, "response": {"status": 200}}),), "r.jsonl:1: no exchange: headers, body_kind, body cannot be used"),
        ((json.dumps({**LINE, "request": []}),), "r.jsonl:1: no exchange: request cannot be used"),
        (("",), "r.jsonl:1: no exchange"),
    ],
)
def test_a_broken_recording(lines: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conform", written(tmp_path, *lines)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tenant", "other"], "unknown kind of tenant 'other'"),
        (["--as", "tomorrow"], "unknown version 'tomorrow'"),
        (["--tenant", "binary"], "--tenant binary needs --binary"),
        (["--tenant", "url"], "--tenant url needs --url"),
        (["--binary", "/bin/true"], "--binary needs --tenant binary"),
        (["--tenant", "binary", "--binary", "/nonexistent"], "no program"),
        (["--tenant", "url", "--url", "https://x/"], "http://HOST[:PORT]"),
        (["--tenant", "url", "--url", "http://x:port/"], "no URL"),
    ],
)
def test_wrong_words(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conform", written(tmp_path, GOOD), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_program_is_named_by_itself_or_by_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "tenant"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(UsageError):
        kinds.program(str(tmp_path))
    path.chmod(0o755)
    assert kinds.program(str(tmp_path)) == kinds.program(str(path)) == path


def test_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conform", str(tmp_path / "none.jsonl")]) == 2
    assert "no such recording" in capsys.readouterr().err


def test_lines_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(recording.RecordingError, match=r"r\.jsonl: cannot be read"):
        recording.load(tmp_path / "r.jsonl")


def test_a_recording_is_played_in_its_order(tmp_path: Path) -> None:
    path = Path(written(tmp_path, json.dumps({**LINE, "seq": 2}), GOOD))
    assert [one.seq for one in recording.load(path)] == [1, 2]


def test_ports_move() -> None:
    headers = {"Host": "127.0.0.1:18080", "Referer": "http://127.0.0.1:18080.evil.example/", "Origin": "http://localhost:3000"}
    response = {**LINE["response"], "body": {"place": ["http://127.0.0.1:18080/x"]}}
    moved = recording.moved(case(request={**LINE["request"], "headers": headers}, response=response), 5)
    assert dict(moved.request.headers) == {
        "Host": "127.0.0.1:5",
        "Referer": "http://127.0.0.1:5.evil.example/",
        "Origin": "http://localhost:3000",  # what the product allows by itself
    }
    assert moved.response["body"] == {"place": ["http://127.0.0.1:5/x"]}


def test_environment_of_a_server() -> None:
    around = Addresses("10.9.0.1:1", "10.9.0.1:2", "10.9.0.1:3", "10.9.0.1:4", "10.9.0.1:5", "play_main_1", "harness:word", 7)
    env = around.environment(
        {
            "ADMIN_TOKEN": "<unset>",
            "PORT": "3000",
            "CP_UPSTREAM_URL": "HTTP://127.0.0.1:9091",
            "DATABASE_URL": "postgres://harness:harness@127.0.0.1:15432/molecule_boot",
            "REDIS_URL": "redis://127.0.0.1:1",
        },
        {"TENANT_PROFILE": "seed"},
    )
    assert "ADMIN_TOKEN" not in env
    assert env["PORT"] == "2"
    assert env["CP_UPSTREAM_URL"] == "HTTP://10.9.0.1:1"
    assert env["DATABASE_URL"] == "postgres://harness:word@10.9.0.1:3/molecule_boot"
    assert env["REDIS_URL"] == "redis://127.0.0.1:1"
    assert env["TENANT_PROFILE"] == "seed"
    assert env["MOLECULE_ENV"] == BASE["MOLECULE_ENV"]
    assert "word" not in repr(Addresses("a", "b", "c", "d", "e", "f", "harness:word", 1))


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_is_known(kind: str) -> None:
    known = kinds.facts(STACK / "conform.yml", kind)
    assert known.said('{"event": "listening"}\nnoise\n{"log": "x"}\n[1]\n') == ["listening"]


def test_other_programs_say_it_in_their_own_words(tmp_path: Path) -> None:
    path = tmp_path / "conform.yml"
    path.write_text("k: {events: {listening: 'serving on'}, tables: recorded, unsent: [], stamp: '', migrations: ''}", "utf-8")
    assert kinds.facts(path, "k").said("2026 serving on :8080\nother\n") == ["listening"]
    with pytest.raises(UsageError, match="nothing usable about kind other"):
        kinds.facts(path, "other")


def outcome(seq: int = 1, status: int = 200, *differences: str, **parts: Any) -> Outcome:
    return Outcome(case(seq, **parts), list(differences), wire.Answer(status, [], b'{"a": 1}'))


@pytest.mark.parametrize(
    ("differences", "wanted", "verdict"),
    [
        ((), None, "equal"),
        (("x",), None, "deviating"),
        (("x",), {"status": 404, "body": {"a": 1}}, "declared"),
        (("x",), {"status": 404, "note": "rows"}, "declared"),
        (("x",), {"status": 401, "body": {"a": 1}}, "deviating"),
        (("x",), {"status": 404, "body": ""}, "deviating"),
        ((), {"status": 404}, "deviating"),
    ],
)
def test_verdicts(differences: tuple[str, ...], wanted: dict[str, Any] | None, verdict: str) -> None:
    assert verdicts.judge(outcome(1, 404, *differences), wanted).verdict == verdict


def result(*outcomes: Outcome, as_seed: bool = True) -> verdicts.Result:
    judged = {one.case.seq: verdicts.judge(one, None) for one in outcomes}
    return verdicts.Result([one.case for one in outcomes], judged, as_seed)


def test_only_what_is_required_makes_a_play_of_the_seed_fail() -> None:
    assert result(outcome()).exit_code == 0
    assert result(outcome(), outcome(2, 200, "x")).exit_code == 1
    assert result(outcome(), outcome(2, 200, "x", group="registry")).exit_code == 0
    assert result(outcome(), outcome(2, 200, "x", group="registry"), as_seed=False).exit_code == 1
    needed = outcome(1, 200, "x", group="registry", needed_by_others=True)
    assert result(needed, outcome(2)).exit_code == 1, "a required case needs it"
    assert result(Outcome(case(), reason="why"), outcome(2)).exit_code == 0


def test_a_case_without_a_verdict_is_a_failure() -> None:
    whole = result(outcome(), outcome(2))
    assert verdicts.Result(whole.cases, {1: whole.judged[1]}, as_seed=True).exit_code == 1


def test_too_much_that_is_declared_is_a_failure() -> None:
    wanted = {"status": 404, "note": "x"}
    judged = {seq: verdicts.judge(outcome(seq, 404, "x"), wanted) for seq in (1, 2)}
    judged |= {seq: verdicts.judge(outcome(seq), None) for seq in range(3, 21)}
    found = verdicts.Result([one.case for one in judged.values()], judged, as_seed=False)
    assert found.problems == ["2 of 20 required cases are not as recorded, more than 5%"]


LISTED = {7: {"status": 404, "body": {"a": 1}}, 8: {"status": 200, "note": "without rows"}, 9: {"note": "keys"}}


def test_what_nobody_declared_is_known() -> None:
    judged = {
        seq: verdicts.judge(one, LISTED.get(seq)) for seq, one in ((1, outcome(1)), (2, outcome(2, 404, "x")), (7, outcome(7)))
    }
    assert verdicts.undeclared(judged, LISTED) == [2]


@pytest.mark.parametrize(
    ("answered", "with_mistakes", "verdict"),
    [
        (outcome(2, 404, "x"), outcome(2), "mended"),
        (outcome(2, 404, "x"), outcome(2, 404, "x"), "deviating"),  # it is otherwise whatever is on
        (outcome(2, 404, "x"), Outcome(case(2), reason="why"), "deviating"),
        (outcome(2, 404, "x"), None, "deviating"),
        (outcome(2, 500, "x"), outcome(2), "deviating"),  # a mistake that came with the mending
        (Outcome(case(2), ["no answer"]), outcome(2), "deviating"),
    ],
)
def test_a_mended_answer_is_one_that_is_declared_somewhere(answered: Outcome, with_mistakes: Outcome | None, verdict: str) -> None:
    judged = verdicts.judge(answered, None)
    assert verdicts.mended(judged, with_mistakes, LISTED).verdict == verdict
    assert judged.verdict == "deviating"


def test_what_is_mended_is_no_failure_and_counts_as_otherwise() -> None:
    judged = {seq: verdicts.judge(outcome(seq), None) for seq in range(3, 23)}
    judged[2] = verdicts.mended(verdicts.judge(outcome(2, 404, "x"), None), outcome(2), LISTED)
    cases = [one.case for one in judged.values()]
    assert verdicts.Result(cases, judged, as_seed=False).problems == []
    judged[3] = verdicts.mended(verdicts.judge(outcome(3, 404, "x"), None), outcome(3), LISTED)
    assert "2 of 21 required cases" in verdicts.Result(cases, judged, as_seed=False).problems[0]


def test_the_document_says_why_and_hides_what_symbols_stand_for() -> None:
    symbols = Symbols({"token:1": "abcdefgh"})
    one = Outcome(case(), ["body: abcdefgh"], wire.Answer(200, [("A", "1")], b"x abcdefgh"))
    document = result(one, Outcome(case(2), reason="because")).document({"kind": "k"}, symbols)
    assert json.loads(json.dumps(document))["cases"] == [
        {
            "seq": 1,
            "group": "guard",
            "case": "c",
            "instance": "main",
            "verdict": "deviating",
            "expected": LINE["response"],
            "got": {"status": 200, "headers": [["A", "1"]], "body": "x <token:1>"},
            "differences": ["body: <token:1>"],
        },
        {"seq": 2, "group": "guard", "case": "c", "instance": "main", "verdict": "not played", "reason": "because"},
    ]
    assert document["groups"]["guard"] == {"recorded": 2, "equal": 0, "declared": 0, "mended": 0, "deviating": 1, "not played": 1}


def test_the_edge_of_a_play_is_the_recorded_mirror() -> None:
    import yaml  # noqa: PLC0415

    table = yaml.safe_load((STACK / "harness" / "edge.yml").read_text(encoding="utf-8"))
    host = {**LINE["request"], "headers": {"Host": "Anything.localhost:8080"}}
    names = play.edge_names(
        [case(via="edge", request=host), case(2, via="edge", request={**host, "headers": {"Host": "x.example"}})]
    )
    assert names == ["harness-tenant.localhost", "localhost", "anything.localhost"]
    text = play.edge_config(table, play.Version(defects=True).edge, names, "127.0.0.1:5")
    assert "server_name *.localhost localhost;" in text
    assert "client_max_body_size 50m;" in text
    assert "default 127.0.0.1:5;" in text


def test_the_old_compiler_is_known_by_the_name_of_the_stub() -> None:
    assert [bool(play.OLD_COMPILER.match(name)) for name in ("stub", "stub125", "main")] == [False, True, False]


def test_ports_are_given_once() -> None:
    given = [kinds.free_port() for _ in range(20)]
    assert len(set(given)) == 20
    assert all(kinds.PORTS[0] <= port < kinds.PORTS[1] for port in given)


async def _nobody() -> bool:
    return await starts.listens(("127.0.0.1", kinds.free_port()))


def test_nobody_listens_on_a_free_port() -> None:
    import asyncio  # noqa: PLC0415

    assert not asyncio.run(_nobody())
    assert notes.Needs() == notes.NOTHING
