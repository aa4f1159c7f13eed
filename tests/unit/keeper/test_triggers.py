"""What brings a machine back without a controller: the hold, the sweep, the boot, one try after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot

from keeper import boot, hold, human, restore, sweep, triggers
from keeper.errors import KeeperError
from keeper.ports import Finished, SshSessions, start_time
from keeper.store import RunDir
from tests.unit.keeper.bench import HOLDER, NONCE, Bench, FakeClock

OTHER = {"resource": "miner-0", "run_id": "run-2", "nonce": "f" * 32, "holder": {**HOLDER, "pid": 43}}


def borrow(bench: Bench, **more: Any) -> Path:
    path = Path(bench.root, "file")
    path.write_text("theirs")
    bench.acquire(**more)
    bench.guarded("file", "mine", path=str(path), content="ours")
    return path


def swept(bench: Bench) -> Dict[str, str]:
    """Return what one sweep of the machine's own found due."""
    return dict(sweep.sweep(bench.restart(), seconds=0.0))


# Arming


def test_a_machine_whose_sweep_does_not_live_is_not_lent(bench: Bench) -> None:
    bench.triggers.dead = True
    code, answer = bench.try_call("acquire", resource="miner-0", run_id="run-1", nonce=NONCE, holder=HOLDER)
    assert (code, answer["error"]["kind"]) == (2, "unfit")
    assert bench.lease().state == "free"
    unarmed = bench.call("acquire", resource="other-0", run_id="run-1", nonce=NONCE, holder=HOLDER, arm=False)
    assert (unarmed["armed"], unarmed["arming"]) == (False, "not armed")
    bench.triggers.dead = False
    assert bench.acquire()["armed"]  # the same run may ask again


def test_a_lease_is_not_over_before_its_machine_is_armed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cron sweeps, once a minute, a lease of five seconds was put back by the very sweep that it waited for."""

    def alive(since: float) -> str:
        bench.clock.now = since + 59
        swept(bench)
        return "a table of cron"

    monkeypatch.setattr(bench.triggers, "alive", alive)
    answer = bench.acquire(ttl=5)
    assert answer["arming"] == "a table of cron"
    bench.clock.now += 4
    bench.call("renew", fence=bench.fence)
    bench.clock.now += 5
    assert swept(bench) == {"miner-0": "its time ran out"}


def test_a_stamp_counts_when_the_init_wrote_it_after_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    place = tmp_path / "run" / "sweep.json"
    ran = Ran(said="waiting\n")
    ours = triggers.SystemdTriggers(ran, clock, [], str(place))
    monkeypatch.delenv(triggers.SWEPT_BY, raising=False)
    ours.stamp()
    assert not place.exists()  # by hand it proves nothing
    monkeypatch.setenv(triggers.SWEPT_BY, "systemd")
    ours.stamp()
    assert triggers.read_stamp(str(place)) == clock.now
    with pytest.raises(KeeperError, match="did not look within 15 s"):
        ours.alive(clock.now)
    assert ours.alive(clock.now - 20) == "benchkeeper-sweep.timer and benchkeeper-boot.service"
    assert ran.argv[-1] == ["systemctl", "start", "--no-block", "benchkeeper-sweep.service"]
    place.write_text("{torn")
    assert triggers.read_stamp(str(place)) == 0.0


@pytest.mark.parametrize("said", ["dead", "elapsed", "failed", ""])
def test_a_sweep_whose_timer_does_not_run_is_not_alive_although_it_looked(tmp_path: Path, said: str) -> None:
    place = tmp_path / "sweep.json"
    place.write_text('{"boottime": 2000.0}')
    ran = Ran(said=f"{said}\n")
    with pytest.raises(KeeperError, match="the timer of this machine's sweep does not run"):
        triggers.SystemdTriggers(ran, FakeClock(), [], str(place)).alive(1000.0)
    assert [one[1] for one in ran.argv] == ["show"]


class Ran:
    def __init__(self, rc: int = 0, said: str = "") -> None:
        self.argv: List[List[str]] = []
        self.rc = rc
        self.said = said

    def run(self, argv: Any, timeout: float) -> Finished:
        self.argv.append(list(argv))
        return Finished(self.rc, self.said, "no such unit")

    def spawn(self, argv: Any) -> int:
        self.argv.append(list(argv))
        return 7


def test_the_restore_runs_in_its_unit_and_where_there_is_none_in_whoever_asks() -> None:
    done: List[str] = []
    ran = Ran()
    triggers.SystemdTriggers(ran, FakeClock(), []).restore(lambda: done.append("here"))
    assert (done, ran.argv) == ([], [["systemctl", "start", "benchkeeper-restore.service"]])
    triggers.SystemdTriggers(Ran(5), FakeClock(), []).restore(lambda: done.append("here"))
    triggers.CronTriggers(ran, FakeClock(), ["keeper"]).restore(lambda: done.append("here"))
    assert done == ["here", "here"]
    triggers.CronTriggers(ran, FakeClock(), ["keeper"]).start()
    assert ran.argv[-1] == ["keeper", "restore-due"]
    with pytest.raises(KeeperError, match="did not start"):
        triggers.SystemdTriggers(Ran(5), FakeClock(), []).lock("miner-0", on=True)


# The sweep


def test_a_lease_that_ran_out_goes_back_by_itself_and_is_proven(bench: Bench) -> None:
    path = borrow(bench)
    bench.clock.now += 59.5
    assert swept(bench) == {}
    assert bench.triggers.stamps == 1
    bench.clock.now += 0.5
    assert swept(bench) == {"miner-0": "its time ran out"}
    assert path.read_text() == "theirs"
    assert bench.lease().state == "free"
    assert swept(bench) == {}


def test_a_holder_that_is_gone_has_its_grace_and_then_the_machine_goes_back(bench: Bench) -> None:
    path = borrow(bench)
    held = hold.begin(bench.restart(), {"fence": bench.fence})
    bench.clock.now += 30
    assert swept(bench) == {}
    held.cut()
    bench.clock.now += sweep.GRACE - 0.1
    assert swept(bench) == {}
    assert "cut off for 9.9 s" in human.render("status", bench.call("status"))
    bench.clock.now += 0.1
    assert swept(bench) == {"miner-0": "its holder has been gone for 10 s"}
    assert path.read_text() == "theirs"
    assert bench.try_call("renew", fence=bench.fence)[1]["error"]["kind"] == "fence"


def test_a_holder_that_comes_back_in_its_grace_goes_on_and_the_older_end_says_nothing(bench: Bench) -> None:
    borrow(bench)
    first = hold.begin(bench.restart(), {"fence": bench.fence})
    second = hold.begin(bench.restart(), {"fence": bench.fence})
    assert second.generation == first.generation + 1
    first.cut()  # measured: the old end of file comes after the healing
    bench.clock.now += 2 * sweep.GRACE
    assert swept(bench) == {}
    with pytest.raises(KeeperError, match="another connection"):
        first.renew()
    bench.clock.now += 30
    second.renew()
    bench.clock.now += 50
    assert swept(bench) == {}
    second.cut()
    assert hold.begin(bench.restart(), {"fence": bench.fence}).generation == 3
    bench.clock.now += 2 * sweep.GRACE
    assert swept(bench) == {}


def test_the_keepers_own_end_that_was_killed_counts_as_a_cut(bench: Bench) -> None:
    borrow(bench)
    held = hold.begin(bench.restart(), {"fence": bench.fence})
    lease = bench.lease()
    dead = {**lease.hold, "pid": os.getpid(), "started": (start_time(os.getpid()) or 0) - 1}
    bench.restart().store.save(lease.next(hold=dead))
    assert swept(bench) == {}
    assert bench.lease().hold["lost_at"] == bench.clock.now
    bench.clock.now += sweep.GRACE
    assert "miner-0" in swept(bench)
    assert held.over() == "free"


def test_a_restore_that_was_cut_short_is_taken_up_again(bench: Bench) -> None:
    path = borrow(bench)
    bench.triggers.asleep = True
    bench.clock.now += 60
    keeper = bench.restart()
    with keeper.store.host_lock():
        restore.mark(keeper, "miner-0", "a test")
    assert swept(bench) == {"miner-0": "its restore was cut short (restoring)"}
    assert path.read_text() == "ours"
    bench.triggers.asleep = False
    swept(bench)
    assert path.read_text() == "theirs"
    assert bench.lease().state == "free"


def test_what_failed_is_tried_again_and_again_with_longer_pauses(bench: Bench) -> None:
    bench.acquire()
    flag = Path(bench.root, "flag")
    undo = {"argv": ["sh", "-c", f"test -e {flag}"]}
    bench.guarded("command", "on", argv=["true"], user=_user(), undo={**undo, "user": _user()})
    bench.clock.now += 60
    pauses = []
    for _turn in range(4):
        swept(bench)
        lease = bench.lease()
        assert (lease.state, lease.attempts) == ("unproven", _turn + 1)
        pauses.append(round(lease.retry["boottime"] - bench.clock.now, 1))
        bench.clock.now += pauses[-1] - 0.5
        assert swept(bench) == {}
        bench.clock.now += 0.5
    assert pauses == [5, 10, 20, 40]
    assert "tried again" in human.render("status", bench.call("status"))
    flag.write_text("")
    assert "miner-0" in swept(bench)
    assert bench.lease().state == "free"


def test_a_restore_without_space_is_tried_again_with_pauses_and_at_once_when_somebody_asks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: the sweep set it off again at every look, twice a second, for as long as the disk was full."""
    path = borrow(bench)
    write = RunDir.write
    full = [True]

    def without_space(self: RunDir, name: str, document: Any) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        write(self, name, document)

    monkeypatch.setattr(RunDir, "write", without_space)
    bench.clock.now += 60
    pauses = []
    for _turn in range(3):
        assert "miner-0" in swept(bench)
        assert (bench.lease().state, path.read_text()) == ("restoring", "theirs"), "the original itself is staged already"
        pauses.append(round(bench.lease().retry["boottime"] - bench.clock.now, 1))
        bench.clock.now += pauses[-1] - 0.5
        assert swept(bench) == {}
        bench.clock.now += 0.5
    assert pauses == [5, 10, 20]
    swept(bench)
    full[0] = False
    assert swept(bench) == {}
    assert bench.call("recover", resource="miner-0")["proven"]


def test_a_conflict_waits_for_a_person_not_for_the_clock(bench: Bench) -> None:
    path = borrow(bench)
    path.write_text("a third party's")
    bench.clock.now += 60
    swept(bench)
    assert (bench.lease().state, bench.lease().retry) == ("unproven", None)
    bench.clock.now += 100000
    assert swept(bench) == {}
    assert path.read_text() == "a third party's"


@pytest.mark.parametrize("damage", ["lease", "journal"])
def test_one_resource_that_cannot_be_judged_does_not_keep_the_others(bench: Bench, damage: str) -> None:
    path = borrow(bench)
    bench.call("acquire", **{**OTHER, "resource": "other-0"})
    if damage == "lease":
        (bench.state / "leases" / "other-0").write_bytes(b"x" * 8192)
    else:  # a link is damage like any other
        journal = bench.state / "runs" / "run-2" / "other-0" / "journal.jsonl"
        journal.rename(journal.with_name("elsewhere"))
        journal.symlink_to("elsewhere")
    bench.clock.now += 60
    assert swept(bench) == {"miner-0": "its time ran out"}
    assert path.read_text() == "theirs"


def _user() -> str:
    import pwd  # noqa: PLC0415

    return pwd.getpwuid(os.getuid()).pw_name


# What set a restore off


def cause(bench: Bench) -> str:
    """Return what set the last restore off, as evidence and people are told."""
    told = str(bench.call("evidence", resource="miner-0", run_id="run-1")["restored"]["why"])
    page = human.render("status", bench.call("status"))
    assert bench.call("status")["leases"][0]["restored"]["why"] == told
    assert f"restored because {told}" in page
    return told


def ran_out(bench: Bench) -> None:
    bench.clock.now += 60


def started_anew(bench: Bench) -> None:
    rebooted(bench)
    boot.boot(bench.restart())


def lost(bench: Bench) -> None:
    hold.begin(bench.restart(), {"fence": bench.fence}).cut()
    bench.clock.now += sweep.GRACE


def asked_by_its_run(bench: Bench) -> None:
    bench.call("recover", resource="miner-0", nonce=NONCE)


def taken_by_force(bench: Bench) -> None:
    bench.call("recover", resource="miner-0", force=True, run_id="run-1")


def wanted_by_another(bench: Bench) -> None:
    holder = {key: HOLDER[key] for key in ("controller_id", "pid", "start_time")}
    bench.call("release", fence={**bench.fence, "run_id": "run-2", "nonce": "f" * 32, "token": take(bench, holder_gone=holder)})


def take(bench: Bench, **more: Any) -> int:
    return int(bench.call("acquire", **OTHER, **more)["token"])


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (ran_out, "its time ran out"),
        (started_anew, "the machine was started anew under it"),
        (lost, "its holder has been gone for 10 s"),
        (asked_by_its_run, "its own run asked for it"),
        (taken_by_force, "somebody took it from its run (--force)"),
        (wanted_by_another, "its holder's own computer said that it is dead"),
    ],
)
def test_what_set_a_restore_off_is_written_down(bench: Bench, end: Any, why: str) -> None:
    borrow(bench)
    end(bench)
    swept(bench)
    if end is wanted_by_another:  # the status is that of the next one by now
        assert bench.call("evidence", resource="miner-0", run_id="run-1")["restored"]["why"] == why
    else:
        assert cause(bench) == why


def test_a_restore_that_failed_or_was_cut_short_keeps_what_set_it_off(bench: Bench) -> None:
    path = borrow(bench)
    bench.triggers.asleep = True
    bench.clock.now += 60
    keeper = bench.restart()
    with keeper.store.host_lock():
        restore.mark(keeper, "miner-0", "a test")
    bench.triggers.asleep = False
    probe = {"gone": {"kind": "file", "path": str(path)}}
    before = bench.state / "runs" / "run-1" / "miner-0" / "before.json"
    unlike = {"host": "h", "kinds": {"gone": "file"}, "invariant": {"gone": {"exists": False}}, "observed": {}, "errors": {}}
    before.write_text(json.dumps({"probes": probe, "proof": {"deadline": 0}, "snapshot": unlike}))
    for _try in range(3):
        swept(bench)
        assert bench.lease().state == "unproven"
        assert cause(bench) == "a test"
        bench.clock.now += 700
    bench.try_call("recover", resource="miner-0")
    assert cause(bench) == "somebody asked for it"


# Third parties while it is borrowed

EDIT = {"json": [{"op": "set", "path": "pool", "value": "ours"}]}


@pytest.mark.parametrize("policy", ["end", "rearm"])
def test_somebody_writes_a_borrowed_file(bench: Bench, policy: str) -> None:
    path = Path(bench.root, "config.json")
    path.write_text('{"pool": "theirs"}')
    bench.acquire()
    bench.guarded("file", "mine", path=str(path), edit=EDIT, canonical=["pool"], on_conflict=policy)
    armed = path.read_text()
    path.write_text(json.dumps({**json.loads(armed), "noise": 1}))
    assert swept(bench) == {}  # not one of our keys
    path.write_text('{"pool": "theirs"}')  # its tool rendered it anew
    found = swept(bench)
    if policy == "rearm":
        assert found == {}
        assert json.loads(path.read_text())["pool"] == "ours"
        bench.call("look", fence=bench.fence)
        bench.clock.now += 60
        swept(bench)
    assert path.read_text() == '{"pool": "theirs"}'
    assert bench.lease().state == "free"


def test_a_third_version_ends_the_borrow_and_both_are_kept(bench: Bench) -> None:
    path = Path(bench.root, "config.json")
    path.write_text('{"pool": "theirs"}')
    bench.acquire()
    bench.guarded("file", "mine", path=str(path), edit=EDIT, canonical=["pool"], on_conflict="rearm")
    path.write_text('{"pool": "a third"}')
    swept(bench)
    code, refused = bench.try_call("renew", fence=bench.fence)
    assert (code, refused["error"]["kind"]) == (3, "fence")
    assert "somebody else" in refused["error"]["message"]
    assert bench.lease().state == "unproven"
    assert path.read_text() == '{"pool": "a third"}'
    bench.call("settle", resource="miner-0", item="mine", keep="original", reason="the tool is wrong")
    assert path.read_text() == '{"pool": "theirs"}'


def test_what_somebody_changed_after_the_undo_can_be_accepted_by_a_person(bench: Bench) -> None:
    path = Path(bench.root, "file")
    path.write_text("theirs")
    bench.acquire()
    probe = {"here": {"kind": "file", "path": str(path)}}
    bench.call("snapshot", fence=bench.fence, probes=probe, proof={"deadline": 0})
    bench.call("file", fence=bench.fence, item="mine", path=str(path), content="ours")
    rebooted(bench)
    bench.triggers.asleep = True
    boot.boot(bench.restart())
    path.write_text("the owner's new one")
    bench.triggers.asleep = False
    swept(bench)
    assert bench.lease().state == "unproven"
    page = human.render("status", bench.call("status"))
    assert "sudo keeper settle proof --resource miner-0 --keep current" in page
    assert bench.try_call("settle", resource="miner-0", item="proof", keep="original", reason="x")[0] == 2
    bench.call("settle", resource="miner-0", item="proof", keep="current", reason="it is right")
    assert bench.lease().state == "free"
    assert path.read_text() == "the owner's new one"


# Boot


def rebooted(bench: Bench, seconds: float = 5.0) -> None:
    bench.clock.now += seconds
    bench.clock.identity = Boot("boot-1", bench.clock.identity.init_start + 1)


def test_at_a_boot_files_are_back_before_anything_else_and_the_rest_follows(bench: Bench) -> None:
    path = borrow(bench)
    bench.guarded("service", "stopped", group="svc", unit="xmrig.service", state="stopped", enabled=False)
    bench.triggers.asleep = True
    rebooted(bench)
    assert boot.boot(bench.restart()) == []
    assert path.read_text() == "theirs"
    assert bench.services.units["xmrig.service"] == {"load": "loaded", "active": "inactive", "enabled": "enabled"}
    assert bench.lease().state == "restoring"
    assert boot.boot(bench.restart()) == []
    bench.triggers.asleep = False
    swept(bench)
    assert bench.services.units["xmrig.service"]["active"] == "active"
    assert bench.lease().state == "free"


def test_a_boot_that_cannot_put_a_file_back_says_so(bench: Bench) -> None:
    path = borrow(bench)
    path.write_text("a third party's")
    rebooted(bench)
    assert "both versions are kept" in boot.boot(bench.restart())[0]


def test_stage_one_stops_at_what_it_may_not_undo(bench: Bench) -> None:
    """A file under a command of its group stays until stage 2: strict reverse order."""
    path = borrow(bench)
    bench.guarded("command", "on", argv=["true"], user=_user(), undo={"argv": ["true"], "user": _user()})
    rebooted(bench)
    boot.boot(bench.restart())
    assert path.read_text() == "ours"
    swept(bench)
    assert path.read_text() == "theirs"


def test_an_announced_reboot_goes_on_if_the_holder_is_back_in_time(bench: Bench) -> None:
    path = borrow(bench)
    hold.begin(bench.restart(), {"fence": bench.fence})
    bench.call("expect_reboot", fence=bench.fence, within=90)
    rebooted(bench, 20.0)
    assert boot.boot(bench.restart()) == []
    assert swept(bench) == {}
    assert path.read_text() == "ours"
    assert hold.begin(bench.restart(), {"fence": bench.fence}).generation == 1
    bench.guarded("file", "again", path=str(path), content="still ours")
    rebooted(bench)  # this one was not announced
    boot.boot(bench.restart())
    assert path.read_text() == "theirs"


def test_an_announced_reboot_without_the_holder_goes_back(bench: Bench) -> None:
    path = borrow(bench)
    bench.call("expect_reboot", fence=bench.fence, within=90)
    rebooted(bench, 20.0)
    boot.boot(bench.restart())
    bench.clock.now += 71
    assert swept(bench) == {"miner-0": "its time ran out"}
    assert path.read_text() == "theirs"


def test_a_person_announces_a_reboot_for_what_is_lent(bench: Bench) -> None:
    path = borrow(bench)
    bench.call("acquire", **{**OTHER, "resource": "other-0"})
    hold.begin(bench.restart(), {"fence": bench.fence})
    left = bench.call("status")["leases"][0]["left"]
    answer = bench.call("expect_reboot", within=90, by="ann")
    page = human.render("expect-reboot", answer)
    assert "miner-0: run run-1 of ann@desk, process 42 keeps it over one reboot if it is back by" in page
    assert "other-0: run run-2" in page
    assert bench.call("status")["leases"][0]["left"] == left  # a person is no sign of life
    assert "a reboot is expected (announced by ann) until" in human.render("status", bench.call("status"))
    rebooted(bench, 20.0)
    assert boot.boot(bench.restart()) == []
    assert "a reboot came; its run has to be back until" in human.render("status", bench.call("status"))
    assert path.read_text() == "ours"
    bench.clock.now += 50
    hold.begin(bench.restart(), {"fence": bench.fence})
    bench.clock.now += 21
    assert swept(bench) == {"other-0": "its time ran out"}  # nobody came back for this one
    assert (path.read_text(), bench.lease().state) == ("ours", "held")


def test_a_reboot_that_did_not_come_changes_nothing(bench: Bench) -> None:
    path = borrow(bench)
    bench.call("expect_reboot", within=10, by="ann", resource="miner-0")
    bench.clock.now += 11
    assert bench.call("status")["leases"][0]["expect_reboot"] is None
    rebooted(bench)
    boot.boot(bench.restart())
    assert path.read_text() == "theirs"


def _nobody(_bench: Bench) -> None:
    pass


def _given_back(bench: Bench) -> None:
    borrow(bench)
    bench.call("recover", resource="miner-0", nonce=NONCE)


def _ran_out(bench: Bench) -> None:
    borrow(bench)
    bench.clock.now += 60


def _cut_off(bench: Bench) -> None:
    borrow(bench)
    hold.begin(bench.restart(), {"fence": bench.fence}).cut()


def _being_restored(bench: Bench) -> None:
    borrow(bench)
    with bench.keeper.store.host_lock():
        restore.mark(bench.restart(), "miner-0", "a test")


@pytest.mark.parametrize(
    ("begin", "code", "why"),
    [
        (_nobody, 2, "nothing on this machine was ever lent"),
        (_given_back, 2, "miner-0 is free, a reboot changes nothing"),
        (_ran_out, 3, "miner-0 ran out"),
        (_cut_off, 3, "miner-0 lost its holder"),
        (_being_restored, 3, "miner-0 is restoring, which goes on after a reboot by itself"),
    ],
)
def test_a_reboot_that_would_carry_nothing_over_is_not_announced(bench: Bench, begin: Any, code: int, why: str) -> None:
    begin(bench)
    got, answer = bench.try_call("expect_reboot", within=60, by="ann")
    assert got == code
    assert why in answer["error"]["message"]
    assert bench.try_call("expect_reboot", within=0, by="ann")[0] == 2
    assert bench.try_call("expect_reboot", within=60)[0] == 2  # neither a run nor a person


def test_the_others_are_told_why_not(bench: Bench) -> None:
    borrow(bench)
    bench.call("acquire", **{**OTHER, "resource": "other-0", "ttl": 1})
    bench.clock.now += 2
    page = human.render("expect-reboot", bench.call("expect_reboot", within=60, by="ann"))
    assert page.splitlines()[1] == "other-0: ran out, everything is put back"


# The connection itself


def test_the_hold_as_a_program(bench: Bench) -> None:
    borrow(bench)
    code = (
        "import sys\n"
        "from tests.unit.keeper.bench import Bench\n"
        "from pathlib import Path\n"
        "from keeper import hold\n"
        "bench = Bench.__new__(Bench)\n"
        f"bench.adopt(Path({str(bench.root)!r}), {bench.clock.now})\n"
        "sys.exit(hold.main(bench.keeper, sys.stdin.buffer))\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'collections'}"}
    argv: Any = [sys.executable, "-c", code]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root, "env": environment}

    def talk(*lines: Dict[str, Any]) -> tuple[List[Dict[str, Any]], int]:
        with subprocess.Popen(argv, **pipes) as process:
            out, _ = process.communicate("".join(json.dumps(line) + "\n" for line in lines), timeout=30)
        return [json.loads(line) for line in out.splitlines()], process.returncode

    said, code_ = talk({"fence": bench.fence}, {"renew": True})
    assert ([sorted(one) for one in said], code_) == ([["held"], ["renewed"]], 0)
    assert bench.lease().hold["lost_at"] is not None
    said, _ = talk({"fence": bench.fence}, {"detach": 500})
    assert (bench.lease().keep, bench.lease().hold, bench.lease().ttl) == (True, None, 500)
    said, _ = talk({"fence": bench.fence}, {"bye": True})
    assert bench.lease().hold is None
    said, code_ = talk({"fence": {**bench.fence, "token": 9}})
    assert (said[0]["error"]["kind"], code_) == ("fence", 3)
    said, code_ = talk({"fence": bench.fence}, {"dance": 1})
    assert (said[-1]["error"]["kind"], code_) == ("usage", 2)
    assert NONCE not in json.dumps(said)


def test_lines_do_not_grow_without_end() -> None:
    read, write = os.pipe()
    os.write(write, b"x" * 60000)
    stream = os.fdopen(read, "rb", buffering=0)
    lines = hold._Lines(stream)
    assert lines.next(0.1) is None
    os.write(write, b"x" * 60000)
    lines._waiting = b"x" * hold.LINE_LIMIT
    with pytest.raises(KeeperError, match="too long"):
        lines.next(0.1)
    os.close(write)
    stream.close()


# Connections


def _process(proc: Path, pid: int, name: str, parent: int, started: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = ["S", str(parent), *["0"] * 17, str(started), "0"]
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_a_shared_connection_is_as_old_as_its_first_session(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    _process(tmp_path, 100, "sshd", 1, 10 * ticks)  # listens
    _process(tmp_path, 200, "sshd", 100, 500 * ticks)  # serves the connection, privileged
    _process(tmp_path, 201, "sshd", 200, 501 * ticks)  # as the user
    _process(tmp_path, 300, "sh) (x", 201, 900 * ticks)
    _process(tmp_path, 301, "python3", 300, 901 * ticks)
    assert SshSessions(str(tmp_path), 301).began() == 500
    _process(tmp_path, 400, "bash", 1, 900 * ticks)
    assert SshSessions(str(tmp_path), 400).began() is None


def test_confirm_keeps_what_was_changed_but_not_over_a_connection_from_before(bench: Bench) -> None:
    path = borrow(bench)
    changed_at = bench.clock.now
    bench.sessions.time = changed_at - 1
    bench.clock.now += 5
    code, answer = bench.try_call("confirm", fence=bench.fence)
    assert (code, answer["error"]["kind"]) == (3, "conflict")
    assert "stood before the first change" in answer["error"]["message"]
    bench.sessions.time = changed_at + 1
    assert bench.call("confirm", fence=bench.fence) == {"confirmed": True, "items": ["mine"]}
    assert path.read_text() == "ours"
    assert bench.lease().state == "free"
    assert [one.name for one in bench.root.iterdir() if "bk-" in one.name] == []
    assert swept(bench) == {}


def test_an_unconfirmed_change_is_undone_and_confirming_late_is_refused(bench: Bench) -> None:
    path = borrow(bench)
    bench.clock.now += 60
    assert bench.try_call("confirm", fence=bench.fence)[1]["error"]["kind"] == "fence"
    swept(bench)
    assert path.read_text() == "theirs"
    assert bench.try_call("confirm", fence=bench.fence)[1]["error"]["kind"] == "fence"


def test_who_only_looks_does_not_cut_a_line_that_somebody_is_writing(bench: Bench) -> None:
    borrow(bench)
    journal = bench.state / "runs" / "run-1" / "miner-0" / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"half":')
    bench.call("status")
    assert swept(bench) == {}
    assert journal.read_bytes() == whole + b'{"half":'
    bench.guarded("file", "more", path=str(bench.root / "more"), content="x")  # whoever writes next cuts it off
    assert journal.read_bytes().startswith(whole)
    assert b"half" not in journal.read_bytes()
    bench.clock.now += 60
    swept(bench)
    assert bench.lease().state == "free"


def test_a_renewal_that_finds_the_machine_busy_is_no_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    borrow(bench)
    held = hold.begin(bench.restart(), {"fence": bench.fence})
    monkeypatch.setattr(hold, "RENEW_WAIT", 0.0)
    with bench.keeper.store.host_lock():
        assert held.renew() == {"renewed": None}
    assert held.renew()["renewed"]


def test_a_proof_that_died_before_it_could_free_the_lease_is_not_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the simulation: whoever cleaned up after the proof took the key that the lease still needed."""
    path = borrow(bench)

    def die(*_words: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restore, "free", die)
    bench.clock.now += 60
    with pytest.raises(KeyboardInterrupt):
        swept(bench)
    monkeypatch.undo()
    assert bench.lease().state == "proving"
    restore.clean(bench.restart(), "miner-0")
    assert swept(bench) == {"miner-0": "its restore was cut short (proving)"}
    assert bench.lease().state == "free"
    assert path.read_text() == "theirs"
    assert bench.call("acquire", **OTHER)["token"]
