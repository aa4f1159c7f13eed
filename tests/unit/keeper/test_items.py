from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot

from tests.unit.keeper.bench import NONCE, Bench, names


def recover(bench: Bench) -> Dict[str, Any]:
    _code, answer = bench.try_call("recover", resource="miner-0", nonce=NONCE)
    found: Dict[str, Any] = answer["resources"]["miner-0"]
    return found


@pytest.fixture
def place(bench: Bench) -> Path:
    bench.acquire()
    path = Path(bench.root, "place")
    path.mkdir()
    return path


# Files


def test_many_changes_of_one_file_come_back_to_the_first_original(bench: Bench, place: Path) -> None:
    path = place / "file"
    path.write_text("one")
    bench.guarded("file", "a", path=str(path), content="two")
    bench.guarded("file", "b", path=str(path), content="three", mode="0640")
    bench.guarded("file", "c", path=str(path), remove=True)
    bench.guarded("file", "d", path=str(path), content="four")
    assert recover(bench)["proven"]
    assert path.read_text() == "one"
    assert names(place) == ["file"]


def test_a_file_changed_by_others_meanwhile_is_not_changed_again(bench: Bench, place: Path) -> None:
    path = place / "file"
    path.write_text("one")
    bench.guarded("file", "a", path=str(path), content="two")
    path.write_text("theirs")
    code, answer = bench.try_call("file", fence=bench.fence, item="b", path=str(path), content="three")
    assert (code, answer["error"]["kind"]) == (3, "conflict")
    assert path.read_text() == "theirs"


def test_what_a_program_changes_outside_our_keys_is_no_conflict(bench: Bench, place: Path) -> None:
    path = place / "config.json"
    path.write_text('{"pools": [1]}')
    edit = {"json": [{"op": "set", "path": "pools", "value": [2]}]}
    bench.guarded("file", "a", path=str(path), edit=edit, canonical=["pools"])
    path.write_text(json.dumps({"pools": [2], "autosave": True}))
    assert recover(bench)["proven"]
    assert path.read_text() == '{"pools": [1]}'


def test_a_file_that_somebody_put_back_by_hand_is_undone(bench: Bench, place: Path) -> None:
    path = place / "file"
    path.write_text("one")
    bench.guarded("file", "a", path=str(path), content="two")
    path.write_text("one")
    assert recover(bench)["items"][0]["verdict"] == "UNDONE"


@pytest.mark.parametrize("trick", ["link", "replaced"])
def test_a_directory_that_was_exchanged_is_not_followed(bench: Bench, place: Path, trick: str) -> None:
    (place / "file").write_text("one")
    bench.guarded("file", "a", path=str(place / "file"), content="two")
    elsewhere = Path(bench.root, "elsewhere")
    place.rename(elsewhere)
    if trick == "link":
        place.symlink_to(elsewhere)
        if os.geteuid() == 0:
            os.chown(place, 65534, 65534, follow_symlinks=False)
    else:
        place.mkdir()
        (place / "file").write_text("two")
    found = recover(bench)
    assert found["items"][0]["verdict"] == "CONFLICT"
    assert (elsewhere / "file").read_text() == "two"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"path": "relative"}, "usage"),
        ({"path": "/a/../b"}, "usage"),
        ({"path": "PLACE/missing/file", "content": "x"}, "unfit"),
        ({"path": "PLACE/link", "content": "x"}, "unfit"),
        ({"path": "PLACE/broken", "edit": {"json": []}}, "unfit"),
        ({"path": "PLACE/absent", "edit": {"json": []}}, "unfit"),
        ({"path": "PLACE/broken", "edit": {"yaml": []}}, "usage"),
        ({"path": "PLACE/broken"}, "usage"),
        ({"path": "PLACE/broken", "content": "x", "remove": True}, "usage"),
        ({"path": "PLACE/broken", "content": "x", "owner": "nobody-of-that-name"}, "usage"),
        ({"path": "PLACE/broken", "content": "x", "item": "a/b"}, "usage"),
        ({"path": "PLACE/broken", "content": "x", "covered_by": "nothing"}, "usage"),
    ],
)
def test_files_that_are_refused_stay_as_they_are(bench: Bench, place: Path, request_: Dict[str, Any], kind: str) -> None:
    (place / "broken").write_text('{"half": ')
    (place / "link").symlink_to("broken")
    request = {"item": "x", **request_, "path": request_["path"].replace("PLACE", str(place))}
    code, answer = bench.try_call("file", fence=bench.fence, **request)
    assert (answer["error"]["kind"], code) == (kind, 2)
    assert (place / "broken").read_text() == '{"half": '
    bench.call("recover", resource="miner-0", nonce=NONCE)
    assert names(place) == ["broken", "link"]


def test_a_dry_run_says_what_would_change_and_changes_nothing(bench: Bench, place: Path) -> None:
    path = place / "file"
    path.write_text("one")
    answer = bench.guarded("file", "a", path=str(path), content="two", dry=True)
    assert answer["changed"]
    assert path.read_text() == "one"
    bench.call("release", fence=bench.fence)


def test_settling_for_the_current_file_leaves_it_and_its_proof(bench: Bench) -> None:
    bench.acquire()
    path = Path(bench.root, "file")
    path.write_text("one")
    bench.call("snapshot", fence=bench.fence, probes={"f": {"kind": "file", "path": str(path)}}, proof={"deadline": 0})
    bench.guarded("file", "a", path=str(path), content="two")
    path.write_text("theirs")
    assert recover(bench)["items"][0]["verdict"] == "CONFLICT"
    for bad in ({"keep": "neither"}, {"reason": " "}, {"item": "b"}):
        request = {"resource": "miner-0", "item": "a", "keep": "current", "reason": "they are right", **bad}
        assert bench.try_call("settle", **request)[0] == 2
    assert bench.call("settle", resource="miner-0", item="a", keep="current", reason="they are right")["proven"]
    assert path.read_text() == "theirs"
    assert names(bench.root) == ["file", "state"]
    journal = bench.call("evidence", resource="miner-0")["journal"]
    assert [one["reason"] for one in journal if one["type"] == "SETTLED"] == ["they are right"]


# Proof


def test_a_machine_is_free_only_when_it_is_proven(bench: Bench) -> None:
    bench.acquire()
    watched, path = Path(bench.root, "watched"), Path(bench.root, "file")
    watched.write_text("as found")
    probes = {"w": {"kind": "file", "path": str(watched)}}
    bench.call("snapshot", fence=bench.fence, probes=probes, proof={"deadline": 5})
    bench.guarded("file", "a", path=str(path), content="x")
    watched.write_text("somebody was here")
    code, answer = bench.try_call("recover", resource="miner-0", nonce=NONCE)
    found = answer["resources"]["miner-0"]
    assert (code, found["restored"], found["proven"]) == (4, True, False)
    assert found["failures"][0]["probe"] == "w"
    assert bench.lease().state == "unproven"
    assert not path.exists()
    assert bench.try_call("recover", resource="miner-0")[0] == 4
    watched.write_text("as found")
    assert bench.call("recover", resource="miner-0")["proven"]
    assert bench.lease().state == "free"


def test_a_look_from_before_is_taken_once_and_before_anything_else(bench: Bench) -> None:
    bench.acquire()
    bench.call("snapshot", fence=bench.fence, probes={}, proof={})
    assert bench.try_call("snapshot", fence=bench.fence, probes={}, proof={})[0] == 3
    assert bench.try_call("snapshot", fence=bench.fence, probes=[], proof={})[0] == 2


def test_groups_are_independent_and_a_group_stops_at_its_first_failure(bench: Bench, place: Path) -> None:
    for name in ("one", "two", "three"):
        (place / name).write_text("as found")
    bench.guarded("file", "one", group="g", path=str(place / "one"), content="x")
    bench.guarded("file", "two", group="g", path=str(place / "two"), content="x")
    bench.guarded("file", "three", group="h", path=str(place / "three"), content="x")
    (place / "two").write_text("theirs")
    verdicts = {one["item"]: one["verdict"] for one in recover(bench)["items"]}
    assert verdicts == {"three": "PUT_BACK", "two": "CONFLICT", "one": "FAILED"}
    assert (place / "one").read_text() == "x"
    assert (place / "three").read_text() == "as found"
    assert bench.call("settle", resource="miner-0", item="two", keep="original", reason="ours")["proven"]
    assert (place / "one").read_text() == "as found"


# Directories and created files


def test_a_directory_goes_with_everything_in_it_and_nothing_else(bench: Bench, place: Path) -> None:
    outside = Path(bench.root, "outside")
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tree = place / "tree"
    assert bench.guarded("tree", "t", path=str(tree), mode="0750")["changed"]
    assert not bench.guarded("tree", "t", path=str(tree))["changed"]
    assert tree.stat().st_mode & 0o777 == 0o750
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "link").symlink_to(outside)
    bench.guarded("file", "inside", path=str(tree / "file"), content="x")
    (tree / "file").write_text("the branch rewrote it")
    (tree / ".benchkeeper.json").unlink()
    found = recover(bench)
    assert [one["verdict"] for one in found["items"]] == ["COVERED", "PUT_BACK"]
    assert names(place) == []
    assert (outside / "kept").read_text() == "kept"


def test_a_directory_of_others_is_refused_and_one_that_was_exchanged_is_left_alone(bench: Bench, place: Path) -> None:
    (place / "theirs").mkdir()
    code, answer = bench.try_call("tree", fence=bench.fence, item="t", path=str(place / "theirs"))
    assert (code, answer["error"]["kind"]) == (3, "conflict")
    bench.guarded("tree", "u", path=str(place / "ours"))
    (place / "ours").rename(place / "moved")
    (place / "ours").mkdir()
    (place / "ours" / "file").write_text("theirs")
    assert recover(bench)["items"][0]["verdict"] == "CONFLICT"
    assert (place / "ours" / "file").exists()


def test_only_what_a_command_of_ours_created_is_removed(bench: Bench, place: Path, me: str) -> None:
    (place / "backup-1").write_text("old")
    bench.guarded("created", "archive", dir=str(place), pattern="backup-*")
    command = {"argv": ["touch", str(place / "backup-2"), str(place / "other")], "user": me}
    bench.guarded("command", "backup", **command, undo={"argv": ["true"], "user": me})
    (place / "backup-3").write_text("by somebody else, later")
    assert recover(bench)["proven"]
    assert names(place) == ["backup-1", "backup-3", "other"]


def backup(bench: Bench, me: str, item: str, *touched: Path, group: str = "default") -> None:
    command = {"argv": ["touch", *map(str, touched)] if touched else ["true"], "user": me, "group": group}
    bench.guarded("command", item, **command, undo={"argv": ["true"], "user": me})


def test_a_file_of_others_is_left_alone_whenever_it_comes(bench: Bench, place: Path, me: str) -> None:
    bench.guarded("created", "archive", group="stack", dir=str(place), pattern="backup-*")
    (place / "backup-theirs-1").write_text("between the word and the command")
    backup(bench, me, "elsewhere", place / "backup-of-another-group")
    backup(bench, me, "backup", place / "backup-ours", group="stack")
    (place / "backup-theirs-2").write_text("between two commands")
    backup(bench, me, "deploy", place / "backup-of-another-purpose", group="stack")
    assert recover(bench)["proven"]
    left = ["backup-of-another-group", "backup-of-another-purpose", "backup-theirs-1", "backup-theirs-2"]
    assert names(place) == left


def test_what_will_be_created_may_name_its_command(bench: Bench, place: Path, me: str) -> None:
    bench.guarded("created", "archive", dir=str(place), pattern="backup-*", by="backup")
    backup(bench, me, "first", place / "backup-0")
    backup(bench, me, "backup", place / "backup-1")
    backup(bench, me, "backup", place / "backup-2")
    assert recover(bench)["proven"]
    assert names(place) == ["backup-0", "backup-2"]


def test_what_comes_after_a_command_whose_client_was_lost_is_not_taken(bench: Bench, place: Path, me: str) -> None:
    bench.guarded("created", "archive", dir=str(place), pattern="backup-*")
    start = bench.units.start

    def lost(unit: str, spec: str, timeout: float) -> None:
        start(unit, spec, timeout)
        raise KeyboardInterrupt

    bench.units.start = lost  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        backup(bench, me, "backup", place / "backup-ours")
    bench.units.start = start  # type: ignore[method-assign]
    (place / "backup-theirs").write_text("after it ended")
    assert recover(bench)["proven"]
    assert names(place) == ["backup-theirs"]


@pytest.mark.parametrize("again", [False, True], ids=["killed", "power"])
def test_of_a_command_whose_end_nobody_saw_only_a_power_cut_tells_what_is_its_own(bench: Bench, place: Path, again: bool) -> None:
    bench.guarded("created", "archive", dir=str(place), pattern="backup-*")
    bench.units.lose = True
    undo = {"argv": ["true"], "verify": [{"probe": "f", "path": "exists", "op": "falsy"}]}
    undo["probes"] = {"f": {"kind": "file", "path": str(place / "none")}}
    bench.try_call("command", fence=bench.fence, item="backup", argv=["x"], timeout=30, undo=undo)
    ours = bench.clock.wall() - 20
    started = next(json.loads(one) for one in (bench.state / "runs/run-1/miner-0/journal.jsonl").read_text().splitlines()[3:4])
    for name, moment in (("backup-ours", started["at"] + 5), ("backup-old", started["at"] - 500), ("backup-new", ours + 9000)):
        (place / name).write_text(name)
        os.utime(place / name, (moment, moment))
    if again:
        bench.clock.now += 600
        ticks = int((bench.clock.now - 300) * os.sysconf("SC_CLK_TCK"))
        bench.clock.identity = Boot(bench.clock.identity.boot_id, ticks)
    found = recover(bench) if again else bench.try_call("recover", resource="miner-0", nonce=NONCE)[1]["resources"]["miner-0"]
    verdict = next(one for one in found["items"] if one["item"] == "archive")
    assert verdict["verdict"] == ("PUT_BACK" if again else "CONFLICT")
    assert names(place) == (["backup-new", "backup-old"] if again else ["backup-new", "backup-old", "backup-ours"])
    if not again:
        assert "backup-ours" in verdict["why"]
        assert "backup-old" not in verdict["why"]


def test_what_a_program_made_is_noted_when_it_is_stopped(tmp_path: Path, me: str) -> None:
    (tmp_path / "backup-old").touch()
    files = {key: str(tmp_path / key) for key in ("out", "err", "result", "seen")}
    watch = {"2": {"dir": str(tmp_path), "pattern": "backup-*", "before": []}}
    program = {"argv": ["sh", "-c", f"touch {tmp_path}/backup-new; exec sleep 30"], "cwd": "/", "user": me, "env": {}, "stdin": ""}
    (tmp_path / "spec").write_text(json.dumps({**program, **files, "timeout": 30, "unit": "u", "watch": watch}))
    code = "import sys; from keeper.unit_run import main; sys.exit(main(sys.argv[1]))"
    unit = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "spec")], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 20
    while not (tmp_path / "backup-new").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    unit.terminate()
    assert unit.wait(20) == 128 + 15
    assert not (tmp_path / "result").exists()
    assert json.loads((tmp_path / "seen").read_text()) == {"2": ["backup-new"]}


# The proof needs a look from before


def test_nothing_is_changed_before_a_look(bench: Bench, place: Path, me: str) -> None:
    path = place / "file"
    path.write_text("theirs")
    calls: List[Any] = [
        ("file", {"path": str(path), "content": "ours", "unit": "xmrig.service"}),
        ("tree", {"path": str(place / "tree")}),
        ("service", {"unit": "xmrig.service", "state": "stopped"}),
        ("command", {"argv": ["touch", str(place / "made")], "user": me, "undo": {"argv": ["true"]}}),
        ("created", {"path": str(place / "made")}),
    ]
    for verb, request in calls:
        code, answer = bench.try_call(verb, fence=bench.fence, item="x", **request)
        assert (code, answer["error"]["kind"]) == (2, "usage"), verb
        assert "host_proof" in answer["error"]["message"]
    assert (path.read_text(), names(place)) == ("theirs", ["file"])
    assert (bench.services.acts, bench.units.started) == ([], [])
    # What changes nothing needs no look.
    assert bench.call("file", fence=bench.fence, item="x", path=str(path), content="ours", dry=True)["changed"]
    assert not bench.call("file", fence=bench.fence, item="x", path=str(path), content="theirs")["changed"]
    assert bench.call("release", fence=bench.fence)["released"]


def test_without_the_look_from_before_nothing_is_proven(bench: Bench, place: Path) -> None:
    bench.guarded("file", "a", path=str(place / "file"), content="x")
    (bench.state / "runs" / "run-1" / "miner-0" / "before.json").unlink()
    code, answer = bench.try_call("recover", resource="miner-0", nonce=NONCE)
    found = answer["resources"]["miner-0"]
    assert (code, found["restored"], found["proven"]) == (4, True, False)
    assert "lost or damaged" in found["failures"][0]["why"]
    assert bench.lease().state == "unproven"
    assert "lost or damaged" in bench.lease().reason
    assert names(place) == []


def test_a_lease_without_items_is_free_without_a_look(bench: Bench) -> None:
    bench.acquire()
    assert recover(bench)["proven"]
    assert bench.lease().state == "free"


# Services and commands


def test_a_service_becomes_what_it_was(bench: Bench) -> None:
    bench.acquire()
    done = bench.guarded("service", "s", unit="xmrig.service", state="stopped", enabled=False)
    assert done["after"] == {"load": "loaded", "active": "inactive", "enabled": "disabled"}
    assert not bench.guarded("service", "again", unit="xmrig.service", state="stopped")["changed"]
    assert bench.try_call("service", fence=bench.fence, item="x", unit="no.service", state="started")[0] == 2
    assert bench.try_call("service", fence=bench.fence, item="x", unit="--now", state="started")[0] == 2
    assert recover(bench)["proven"]
    assert bench.services.units["xmrig.service"] == {"load": "loaded", "active": "active", "enabled": "enabled"}
    assert bench.services.acts[-2:] == ["enable xmrig.service", "start xmrig.service"]


def test_a_command_says_how_it_is_undone(bench: Bench, me: str) -> None:
    bench.acquire()
    wrong: List[Dict[str, Any]] = [
        {},
        {"undo": {"argv": []}},
        {"undo": {"argv": ["true"]}, "argv": "true"},
        {"undo": {"argv": ["true"], "cwd": "x"}},
    ]
    for bad in wrong:
        code, _answer = bench.try_call("command", **{"fence": bench.fence, "item": "c", "argv": ["true"], "user": me, **bad})
        assert code == 2
    assert bench.units.started == []
    bench.call("release", fence=bench.fence)


def test_output_is_redacted_on_the_machine_and_deleted_after_the_proof(bench: Bench, me: str) -> None:
    bench.acquire()
    secrets = Path(bench.root, ".env")
    secrets.write_text("TOKEN=very-secret-token\n")
    answer = bench.guarded(
        "command",
        "leak",
        argv=["cat", str(secrets)],
        user=me,
        stdin="also-secret-input",
        undo={"argv": ["true"], "user": me},
        redact={"dotenv": [str(secrets)]},
    )
    assert answer["stdout_tail"] == "TOKEN=[redacted]\n"
    run = bench.state / "runs" / "run-1" / "miner-0"
    outputs = [path for path in run.iterdir() if path.name.startswith("unit-")]
    assert outputs
    assert all(path.stat().st_mode & 0o077 == 0 for path in outputs)
    assert recover(bench)["proven"]
    left = b"".join(path.read_bytes() for path in run.iterdir())
    assert b"very-secret-token" not in left
    assert b"also-secret-input" not in left
    assert not (run / "key").exists()


def test_a_counter_command_runs_only_while_its_effect_is_missing(bench: Bench, me: str) -> None:
    bench.acquire()
    flag = Path(bench.root, "flag")
    verify = {"verify": [{"probe": "f", "path": "exists", "op": "falsy"}], "probes": {"f": {"kind": "file", "path": str(flag)}}}
    undo = {"argv": ["rm", str(flag)], "user": me, **verify}
    bench.guarded("command", "c", argv=["touch", str(flag)], user=me, undo=undo)
    flag.unlink()
    started = len(bench.units.started)
    assert recover(bench)["items"][0]["verdict"] == "UNDONE"
    assert len(bench.units.started) == started


def test_a_counter_command_that_does_not_work_is_tried_twice_and_said(bench: Bench, me: str) -> None:
    bench.acquire()
    undo = {"argv": ["sh", "-c", "echo one; echo 'locked by process 7' >&2; exit 3"], "user": me}
    bench.guarded("command", "c", argv=["true"], user=me, undo=undo)
    found = recover(bench)
    assert (found["restored"], found["items"][0]["verdict"]) == (False, "FAILED")
    assert found["items"][0]["why"].endswith(" ended with 3: locked by process 7")
    assert [one["attempt"] for one in bench.call("evidence", resource="miner-0")["journal"] if one["type"] == "TRY"] == [1, 2]


def test_a_command_that_cannot_start_or_takes_too_long(bench: Bench, me: str) -> None:
    bench.acquire()
    undo = {"argv": ["true"], "user": me}
    assert bench.guarded("command", "a", argv=["/does/not/exist"], user=me, undo=undo)["rc"] == 127
    slow = bench.guarded("command", "b", argv=["sleep", "60"], user=me, timeout=0.2, undo=undo)
    assert (slow["rc"], slow["timed_out"]) == (124, True)
    loud = bench.guarded("command", "c", argv=["sh", "-c", "yes | head -c 9000000; echo end"], user=me, undo=undo)
    assert loud["stdout_tail"].endswith("y\nend\n")
    assert len(loud["stdout_tail"]) <= 16 * 1024
