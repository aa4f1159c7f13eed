"""After an undo that its run did not ask for, somebody of it may still write: that is seen for a while, told, and blocks nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from keeper import boot, human, late, sweep
from keeper.store import RunDir
from tests.unit.keeper.bench import NONCE, Bench
from tests.unit.keeper.test_triggers import OTHER, borrow, rebooted, swept

RUN = Path("runs", "run-1", "miner-0")


def given_back(bench: Bench) -> Path:
    """Let the time of a lease run out, and what it changed go back."""
    path = borrow(bench)
    bench.clock.now += 60
    swept(bench)
    assert (path.read_text(), bench.lease().state) == ("theirs", "free")
    return path


def status(bench: Bench) -> Dict[str, Any]:
    found: Dict[str, Any] = bench.call("status")["leases"][0]
    return found


def told(bench: Bench) -> List[str]:
    return [f"{one['run_id']} {Path(one['path']).name} {one['what']}" for one in status(bench)["late_writes"]]


def test_a_late_write_is_told_and_the_machine_is_free_all_the_same(bench: Bench) -> None:
    path = given_back(bench)
    assert status(bench)["watched_for"] == 60
    assert "watched for late writes for 1 min 0 s more" in human.render("status", bench.call("status"))
    bench.clock.now += 10
    swept(bench)
    assert told(bench) == []
    path.write_text("a task that nobody stopped")
    bench.clock.now += 2
    swept(bench)
    path.write_text("and again")
    swept(bench)
    assert told(bench) == ["run-1 file was written"]  # once
    assert f"LATE WRITE: {path} was written within 12 s after it was put back (run run-1)" in human.render(
        "status", bench.call("status")
    )
    assert bench.call("evidence", resource="miner-0", run_id="run-1")["late"]["writes"][0]["after"] == 12
    assert status(bench)["state"] == "free"
    answer = bench.call("acquire", **OTHER)
    assert [one["path"] for one in answer["late_writes"]] == [str(path)]
    assert answer["recovered"] is None
    assert told(bench) == []  # whoever has it now was told
    assert path.read_text() == "and again"  # and nobody touched it


def test_the_watch_ends_after_one_ttl_and_takes_the_key_along(bench: Bench) -> None:
    path = given_back(bench)
    key = bench.state / RUN / "key"
    bench.clock.now += 59
    swept(bench)
    assert key.exists()
    assert sweep.owed(bench.restart()) == ["miner-0"]
    bench.clock.now += 1
    path.write_text("at the last moment")
    swept(bench)
    assert not key.exists()
    assert sweep.owed(bench.restart()) == []
    assert told(bench) == ["run-1 file was written"]
    path.write_text("afterwards")
    swept(bench)
    assert len(told(bench)) == 1
    assert status(bench)["watched_for"] == 0


def test_a_lease_of_days_is_not_watched_for_days(bench: Bench) -> None:
    borrow(bench, ttl=7 * 86400)
    bench.call("recover", resource="miner-0", force=True, run_id="run-1")
    assert status(bench)["watched_for"] == late.LONGEST


def test_what_its_own_run_gave_back_is_not_watched_nor_is_a_run_without_files(bench: Bench) -> None:
    borrow(bench)
    bench.call("recover", resource="miner-0", nonce=NONCE)
    assert not (bench.state / RUN / "key").exists()
    bench.acquire(run_id="run-2")
    fence = {**bench.fence, "run_id": "run-2"}
    bench.call("snapshot", fence=fence, probes={}, proof={})
    bench.call("service", fence=fence, item="stopped", unit="xmrig.service", state="stopped")
    bench.clock.now += 60
    swept(bench)
    assert status(bench)["watched_for"] == 0
    assert sweep.owed(bench.restart()) == []


@pytest.mark.parametrize("what", ["was removed", "was made", "cannot be read any more"])
def test_what_a_late_write_may_be(bench: Bench, what: str) -> None:
    path = Path(bench.root, "file")
    if what != "was made":
        path.write_text("theirs")
    bench.acquire()
    bench.guarded("file", "mine", path=str(path), content="ours")
    bench.clock.now += 60
    swept(bench)
    path.unlink(missing_ok=True)
    if what == "was made":
        path.write_text("late")
    elif what == "cannot be read any more":
        path.mkdir()
    swept(bench)
    assert told(bench) == [f"run-1 file {what}"]


def test_a_program_that_writes_its_file_anew_is_no_late_write(bench: Bench) -> None:
    path = Path(bench.root, "config.json")
    path.write_text(json.dumps({"pool": "theirs"}))
    bench.acquire()
    edit = {"json": [{"op": "set", "path": "pool", "value": "ours"}]}
    bench.guarded("file", "mine", path=str(path), edit=edit, canonical=["pool"])
    bench.clock.now += 60
    swept(bench)
    path.write_text(json.dumps({"pool": "theirs", "noise": 1}))
    swept(bench)
    assert told(bench) == []


@pytest.mark.parametrize("end", ["recover", "confirm"])
def test_what_a_later_run_guards_is_its_own(bench: Bench, end: str) -> None:
    """Who locked himself out and tries again at once, and confirms, is not told that he came too late."""
    path = given_back(bench)
    token = bench.call("acquire", **OTHER)["token"]
    fence = {"resource": "miner-0", "run_id": "run-2", "nonce": OTHER["nonce"], "token": token}
    bench.call("snapshot", fence=fence, probes={}, proof={})
    bench.call("file", fence=fence, item="again", path=str(path), content="now it works")
    swept(bench)
    assert told(bench) == []
    if end == "confirm":
        bench.call("confirm", fence=fence)
    else:
        bench.call("recover", resource="miner-0", nonce=OTHER["nonce"])
    path.write_text("by its owner")
    swept(bench)
    assert told(bench) == []
    assert sweep.owed(bench.restart()) == []


def test_a_late_write_while_another_run_has_the_machine_is_told_to_the_next(bench: Bench) -> None:
    path = given_back(bench)
    bench.call("acquire", **OTHER)
    bench.clock.now += 5
    path.write_text("late")
    swept(bench)
    assert told(bench) == ["run-1 file was written"]
    bench.call("recover", resource="miner-0", nonce=OTHER["nonce"])
    assert len(bench.call("acquire", **{**OTHER, "run_id": "run-3"})["late_writes"]) == 1


def test_a_boot_ends_the_watch_after_one_more_look(bench: Bench) -> None:
    path = given_back(bench)
    path.write_text("late")
    rebooted(bench)
    boot.boot(bench.restart())
    swept(bench)
    assert told(bench) == ["run-1 file was written"]
    assert not (bench.state / RUN / "key").exists()


def test_a_machine_that_is_not_proven_is_not_watched_for_ever(bench: Bench) -> None:
    path = Path(bench.root, "file")
    path.write_text("theirs")
    bench.acquire()
    probes = {"here": {"kind": "file", "path": str(path)}, "other": {"kind": "file", "path": str(bench.root / "other")}}
    bench.call("snapshot", fence=bench.fence, probes=probes, proof={"deadline": 0})
    bench.call("file", fence=bench.fence, item="mine", path=str(path), content="ours")
    Path(bench.root, "other").write_text("not of this run")
    bench.clock.now += 60
    swept(bench)
    assert bench.lease().state == "unproven"
    assert status(bench)["watched_for"] == 60
    for _turn in range(3):
        bench.clock.now += 700
        swept(bench)
    assert status(bench)["watched_for"] == 0
    path.write_text("long after")
    swept(bench)
    assert told(bench) == []
    path.write_text("theirs")
    Path(bench.root, "other").unlink()
    bench.clock.now += 700
    swept(bench)
    assert bench.lease().state == "free"
    assert not (bench.state / RUN / "key").exists()


def test_without_space_nobody_watches_but_the_machine_is_free(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RunDir.write

    def full(self: RunDir, name: str, document: Any) -> None:
        if name == late.LATE:
            raise OSError(28, "No space left on device")
        write(self, name, document)

    monkeypatch.setattr(RunDir, "write", full)
    given_back(bench)
    assert sweep.owed(bench.restart()) == []


def test_a_sweep_that_finds_nothing_leaves_no_trace(bench: Bench) -> None:
    """Found on a machine: the keeper was taken away while late writes were looked for, and the last look left its stamp."""
    given_back(bench)
    assert bench.triggers.stamps == 1
    (bench.state / RUN / "key").unlink()
    swept(bench)
    assert bench.triggers.stamps == 1
