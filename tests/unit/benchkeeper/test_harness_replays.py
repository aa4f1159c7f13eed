"""Replays as processes, against a stub of a few lines: what each exit code, header, hang and signal comes to."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from benchkeeper.errors import UsageError
from benchkeeper.harness import client, replays, seed, suite
from benchkeeper.harness.place import Place, TenantPlace
from benchkeeper.harness.replays import FAIL, NOT_RUN, PASS, SKIP, XFAIL, Outcome, Replay, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TODAY = dt.date(2026, 11, 27)
SECRET = "8d1f0c2b7a6e4d39"
HEADER = """#!/bin/sh
# /// replay
# issue: "1"
# bug_class: any
# timeout: {timeout}
# needs: {needs}
# break: {{ tenant: [x] }}
{more}# ///
"""


class Stub(http.server.BaseHTTPRequestHandler):
    entries: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        after = int(self.path.partition("after=")[2])
        found = {"cursor": len(self.entries), "entries": self.entries[after:]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[str]:
    Stub.entries.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def tenant(name: str) -> TenantPlace:
    where = f"postgres://harness:{SECRET}{name}@10.0.0.1:5432/molecule"
    return TenantPlace(name, f"{name}.localhost", f"org-{name}", "http://10.0.0.2:8080", f"{SECRET}-token-{name}", where)


@pytest.fixture
def place(stub: str) -> Place:
    tenants, spares = (tenant("alpha"), tenant("beta")), (tenant("gamma"),)
    return Place(
        "r1", "builtin", "b1", "http://127.0.0.1:1", "http://10.0.0.9:8080", stub, "redis://10.0.0.3:6379", tenants, spares
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "replays"
    made.mkdir()
    return made


def write(folder: Path, name: str, body: str, *, timeout: float = 20, needs: str = "shared", more: str = "") -> Path:
    path = folder / name
    text = HEADER.format(timeout=timeout, needs=needs, more="".join(f"# {line}\n" for line in more.splitlines()))
    path.write_text(text + body + "\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def session(place: Place, tmp_path: Path, stop: Callable[[], bool] = lambda: False) -> Session:
    ids = {one.name: seed.Seeded(f"parent-{one.name}", f"child-{one.name}") for one in place.everybody}
    return Session(place, ids, tmp_path / "scratch", tmp_path / "logs", {"BENCHKEEPER_RUN": "r1"}, stop)


def run(place: Place, tmp_path: Path, folder: Path, stop: Callable[[], bool] = lambda: False) -> dict[str, Outcome]:
    found = replays.find(folder, [], TODAY)
    return {one.name: one for one in session(place, tmp_path, stop).run(found)}


def test_exit_codes(place: Place, tmp_path: Path, folder: Path) -> None:
    write(folder, "good.sh", "exit 0")
    write(folder, "bad.sh", "echo one; echo 'the second one'; exit 3")
    write(folder, "left-out.sh", "echo 'no database here'; exit 77")
    found = run(place, tmp_path, folder)
    assert [(one.verdict, one.why, one.code) for one in found.values()] == [
        (FAIL, "the second one", 3),
        (PASS, "", 0),
        (SKIP, "no database here", 77),
    ]
    assert (tmp_path / "logs" / "bad.log").read_text() == "one\nthe second one\n"


def test_what_is_declared(place: Place, tmp_path: Path, folder: Path) -> None:
    known = "{ class: missing, issue: '7', expires: 2026-12-01 }"
    write(folder, "expected.sh", "exit 1", more=f"xfail: {known}")
    write(folder, "surprise.sh", "exit 0", more=f"xfail: {known}")
    write(folder, "skipped.sh", "exit 1", more=f"skip: {known}")
    found = run(place, tmp_path, folder)
    assert {name: one.verdict for name, one in found.items()} == {"expected": XFAIL, "surprise": FAIL, "skipped": SKIP}
    assert "expected to fail" in found["surprise"].why


def test_one_that_hangs_is_ended_with_its_children(place: Place, tmp_path: Path, folder: Path) -> None:
    write(folder, "hangs.sh", f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/child; wait; sleep 600", timeout=0.5)
    begun = time.monotonic()
    one = run(place, tmp_path, folder)["hangs"]
    assert (one.verdict, one.code, one.why) == (FAIL, None, "it took longer than 0.5 s")
    assert time.monotonic() - begun < 10
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"


def test_a_runner_that_is_stopped_has_proven_nothing(place: Place, tmp_path: Path, folder: Path) -> None:
    write(folder, "a.sh", f"touch {tmp_path}/began; sleep 600")
    write(folder, "b.sh", "exit 0", needs="exclusive")
    found = run(place, tmp_path, folder, (tmp_path / "began").exists)
    assert [(one.verdict, bool(one.why)) for one in found.values()] == [(NOT_RUN, True), (NOT_RUN, True)]
    record = suite.Record(outcomes=list(found.values()))
    suite.judge(record, stopped=True)
    record.blame(143, "ended by signal 15")
    assert record.exit_code == 143


def test_what_it_is_given(place: Place, tmp_path: Path, folder: Path) -> None:
    write(folder, "own.sh", "env | sort; pwd; cat $OWN_TOKEN_FILE | wc -c; stat -c %a $ALPHA_DATABASE_FILE", needs="own-tenant")
    Stub.entries += [{}, {}, {}]
    run(place, tmp_path, folder)
    text = (tmp_path / "logs" / "own.log").read_text()
    for line in (
        "HARNESS_BASE=http://127.0.0.1:1",
        "HARNESS_TENANTS=alpha beta",
        "HARNESS_BUILD_ID=b1",
        "HARNESS_STUB_CURSOR=3",
        "HARNESS_REPLAY=own",
        "ALPHA_HOST=alpha.localhost",
        "BETA_CHILD_ID=child-beta",
        "OWN_NAME=gamma",
        "OWN_ORG_ID=org-gamma",
        "BENCHKEEPER_RUN=r1",
        f"{tmp_path}/scratch/own",
        "600",
    ):
        assert f"\n{line}\n" in f"\n{text}", line
    assert "GAMMA_" not in text
    documented = (Path(__file__).parents[3] / "docs" / "reference" / "replays.md").read_text(encoding="utf-8")
    given = {line.partition("=")[0] for line in text.splitlines() if line.startswith("HARNESS_")}
    assert {name for name in given if f"`{name}`" not in documented} == set()


def test_with_a_url_alone_what_is_not_there_is_not_given(place: Place, tmp_path: Path, folder: Path) -> None:
    far = Place("r1", "url", "", "http://127.0.0.1:1", "", "", "", (TenantPlace("alpha", "a", "o", "http://127.0.0.1:1", SECRET),))
    write(folder, "look.sh", 'test -z "$HARNESS_STUB$HARNESS_REDIS$ALPHA_DATABASE_FILE$HARNESS_BUILD_ID" && test -n "$ALPHA_HOST"')
    found = replays.find(folder, [], TODAY)
    ids = {"alpha": seed.Seeded("p", "c")}
    assert Session(far, ids, tmp_path / "s", tmp_path / "l", {}).run(found)[0].verdict == PASS


def test_a_tenant_of_its_own_is_nobody_elses_at_that_time(place: Place, tmp_path: Path, folder: Path) -> None:
    body = f"mkdir {tmp_path}/$OWN_NAME && sleep 0.3 && rmdir {tmp_path}/$OWN_NAME"
    for name in ("a", "b", "c"):
        write(folder, f"{name}.sh", body, needs="own-tenant")
    assert {one.verdict for one in run(place, tmp_path, folder).values()} == {PASS}


def test_an_exclusive_one_has_nobody_beside_it(place: Place, tmp_path: Path, folder: Path) -> None:
    for name in ("a", "b", "c"):
        write(folder, f"{name}.sh", f"touch {tmp_path}/at-work-{name}; sleep 0.3; rm {tmp_path}/at-work-{name}")
    write(folder, "alone.sh", f"! ls {tmp_path}/at-work-* 2>/dev/null", needs="exclusive")
    assert {one.verdict for one in run(place, tmp_path, folder).values()} == {PASS}


def test_a_tenant_without_an_administrator_has_neither_token_nor_workspaces(place: Place, tmp_path: Path, folder: Path) -> None:
    body = 'test "$OWN_NAME" = closed && test -z "$OWN_TOKEN_FILE$OWN_PARENT_ID" && test -s "$OWN_DATABASE_FILE"'
    write(folder, "closed.sh", body, needs="own-tenant", more="admin: false")
    write(folder, "own.sh", 'test "$OWN_NAME" = gamma && test -s "$OWN_TOKEN_FILE"', needs="own-tenant")
    without = replace(tenant("closed"), admin_token="")
    ids = {one.name: seed.Seeded(f"parent-{one.name}", f"child-{one.name}") for one in place.everybody}
    there = replace(place, closed=(without,))
    found = Session(there, ids, tmp_path / "scratch", tmp_path / "logs", {}).run(replays.find(folder, [], TODAY))
    assert [(one.name, one.verdict) for one in found] == [("closed", PASS), ("own", PASS)]
    assert run(place, tmp_path, folder)["closed"].verdict == FAIL, "there is none"


def test_without_a_tenant_to_spare_it_is_no_pass(place: Place, tmp_path: Path, folder: Path) -> None:
    write(folder, "own.sh", "exit 0", needs="own-tenant")
    few = Place(**{**place.__dict__, "spares": ()})
    assert run(few, tmp_path, folder)["own"].verdict == FAIL
    assert run(Place(**{**few.__dict__, "kind": "url"}), tmp_path, folder)["own"].verdict == SKIP, (
        "elsewhere nobody can give it one"
    )


@pytest.mark.parametrize("printed", [f"{SECRET}-token-alpha", f"{SECRET}beta"])
def test_a_secret_in_the_output_is_a_failure_and_is_not_kept(place: Place, tmp_path: Path, folder: Path, printed: str) -> None:
    write(folder, "leaks.sh", f"echo {printed}; exit 0")
    one = run(place, tmp_path, folder)["leaks"]
    assert (one.verdict, one.why) == (FAIL, "it printed a secret")
    assert printed not in (tmp_path / "logs" / "leaks.log").read_text() + one.tail


def test_one_that_cannot_be_started_is_a_failure(place: Place, tmp_path: Path, folder: Path) -> None:
    path = write(folder, "odd.sh", "exit 0")
    path.write_text(path.read_text().replace("#!/bin/sh", "#!/no/such/interpreter"), encoding="utf-8")
    one = run(place, tmp_path, folder)["odd"]
    assert (one.verdict, one.code) == (FAIL, None)
    assert "cannot be started" in one.why
    assert not suite.is_red(one), "what cannot start has not shown that it can turn red"


def test_pytest(place: Place, tmp_path: Path, folder: Path) -> None:
    head = HEADER.format(timeout=60, needs="shared", more="").replace("#!/bin/sh\n", "")
    texts = {"good": "def test_a(): assert True", "bad": "def test_a(): assert 1 == 2"}
    texts["left_out"] = "import pytest\n@pytest.mark.skip(reason='none')\ndef test_a(): pass"
    for name, body in texts.items():
        (folder / f"test_{name}.py").write_text(f"{head}\n{body}\n", encoding="utf-8")
    (folder / "_helper.py").write_text("x = 1\n", encoding="utf-8")
    found = run(place, tmp_path, folder)
    assert {name: one.verdict for name, one in found.items()} == {"test_bad": FAIL, "test_good": PASS, "test_left_out": SKIP}
    assert not list(folder.glob("**/__pycache__")), "nothing is written beside them"


def test_names_that_are_nobodys_and_replays_that_cannot_be_run(folder: Path) -> None:
    with pytest.raises(UsageError, match="no replays in"):
        replays.find(folder, [])
    write(folder, "a.sh", "exit 0")
    assert [one.name for one in replays.find(folder, ["a", "a"], TODAY)] == ["a"]
    with pytest.raises(UsageError, match="no such replay: 'b'; there are a"):
        replays.find(folder, ["b"], TODAY)
    (folder / "a.sh").chmod(0o644)
    (folder / "c.sh").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    (folder / "d.sh").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError) as error:
        replays.find(folder, [], TODAY)
    said = str(error.value)
    assert "a.sh: is not executable" in said
    assert "c.sh:1: has no header" in said
    assert "d.sh: cannot be read" in said


def test_a_run_in_which_all_skip_is_an_error() -> None:
    record = suite.Record(outcomes=[Outcome("a", SKIP), Outcome("b", SKIP)])
    suite.judge(record, stopped=False)
    assert record.exit_code == 1
    assert "all of them skipped" in record.problems[0]


@pytest.mark.parametrize(
    ("proof", "code"),
    [
        (Outcome("a", FAIL, code=1), 0),
        (Outcome("a", PASS, code=0), 1),
        (Outcome("a", SKIP, code=77), 1),
        (Outcome("a", FAIL, code=2), 1),
        (Outcome("a", FAIL, code=None, why="it took longer than 5 s"), 1),
        (Outcome("a", NOT_RUN), 1),
    ],
)
def test_only_a_replay_that_says_so_is_red_on_its_break(proof: Outcome, code: int) -> None:
    record = suite.Record(outcomes=[Outcome("a", PASS, code=0)], proofs={"a": proof})
    suite.judge(record, stopped=False)
    assert record.exit_code == code


def test_the_gravest_code_stays() -> None:
    record = suite.Record()
    for code, stays in ((1, 1), (3, 3), (1, 3), (143, 143), (3, 143), (4, 4), (143, 4)):
        record.blame(code, "x")
        assert record.exit_code == stays


def test_what_the_stub_did_not_know_is_told_once(place: Place) -> None:
    Stub.entries += [
        {"unexpected": True, "method": "GET", "path": "/cp/old"},
        {"unexpected": True, "method": "DELETE", "path": "/cp/x"},
        {"unexpected": True, "method": "DELETE", "path": "/cp/x"},
        {"unexpected": False, "complaint": "", "method": "GET", "path": "/cp/ok"},
        {"unexpected": False, "complaint": "no id", "method": "POST", "path": "/cp/y"},
    ]
    assert replays.cursor(place) == 5
    assert replays.complaints(place, 1) == [
        "the stub was asked for what it does not know: DELETE /cp/x (501)",
        "the stub's answer to POST /cp/y breaks the contract: no id",
    ]
    with pytest.raises(client.AnswerError):
        replays.cursor(Place(**{**place.__dict__, "stub": "http://127.0.0.1:9"}))


def test_what_is_written_down(tmp_path: Path) -> None:
    outcomes = [
        Outcome("a", PASS, 1.0),
        Outcome("b", FAIL, 2.0, "why", 1, "the end"),
        Outcome("c", SKIP, why="x"),
        Outcome("d", NOT_RUN),
    ]
    record = suite.Record(run="r1", kind="builtin", outcomes=outcomes, proofs={"a": Outcome("a", FAIL, code=1)})
    suite.judge(record, stopped=False)
    suite.write_down(tmp_path / "replays" / "r1", record)
    document = json.loads((tmp_path / "replays" / "latest" / "result.json").read_text())
    assert (document["schema"], document["exit_code"], len(document["outcomes"])) == (1, 1, 4)
    assert (tmp_path / "replays" / "r1" / "junit.xml").read_text().count("<testcase") == 4
    header = {"issue": "1", "bug_class": "x", "timeout": 1, "needs": "shared"}
    chosen = [
        Replay(one.name, Path(f"{one.name}.sh"), replays.replay_header.ReplayHeader.model_validate(header)) for one in outcomes
    ]
    text = "\n".join(suite.table(record, chosen))
    assert "red on its break" in text
    assert "| the end" in text
    assert "NOT GOOD: 1 pass, 1 fail, 1 skip, 1 not run" in text


def test_the_environment_of_the_caller_is_passed_on_but_for_what_is_ours(
    place: Place, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_STUB", "http://elsewhere")
    monkeypatch.setenv("BENCHKEEPER_RUN", "another")
    monkeypatch.setenv("KEPT", "yes")
    write(folder, "look.sh", 'test "$HARNESS_STUB" != http://elsewhere && test "$BENCHKEEPER_RUN" = r1 && test "$KEPT" = yes')
    assert run(place, tmp_path, folder)["look"].verdict == PASS
    assert os.environ["KEPT"] == "yes"
