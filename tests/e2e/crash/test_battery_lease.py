"""F11, F23-F29: who gets a machine, when, and who does not (any more)."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchkeeper import crash
from tests.e2e.crash.machine import BOUND, KEEPER, NOBODY, PATHS, STATE, Loan, Machine, controller, wish

HELD = 75
PATIENCE = 30.0  # seconds after which the place of a waiter that did not ask again is gone
SECOND = {**NOBODY, "user": "bob", "pid": 3}


def lent(miner: Machine, text: str = "theirs\n", **more: Any) -> tuple[Loan, str]:
    """A lease under which one file was changed."""
    path = f"{miner.place}/config"
    miner.write(path, text)
    loan = miner.lend(**more)
    loan.looking_at(path)
    loan.does("file", "mine", path=path, content="ours\n")
    return loan, path


@pytest.mark.case("F11", tier="machine", oracle="of two who ask at the same moment one has the machine, and the other is told who")
def test_two_borrowers_at_the_same_moment(miner: Machine) -> None:
    row = crash.borrowers(PATHS, 5, secrets.randbelow(1_000_000))
    assert row.good, row.why


@pytest.mark.case("F11", tier="machine", oracle="the next borrowers get the original of a dead and dirty one, and exactly one does")
def test_two_who_come_while_the_first_is_dead_and_dirty(miner: Machine) -> None:
    _dead, path = lent(miner, ttl=6)
    asked = [miner.start("acquire", **wish("miner-1", wait=14, ttl=60, holder={**SECOND, "pid": number})) for number in (10, 11)]
    answers = [one.answer() for one in asked]
    assert sorted(one["code"] for one in answers) == [0, HELD]
    won = next(one for one in answers if one["code"] == 0)
    lost = next(one for one in answers if one["code"] == HELD)
    assert lost["busy"]["run_id"] == won["run_id"]
    assert miner.read(path) == "theirs"
    assert miner.names() == ["./config"]
    done = miner.ask("recover", resource="miner-1", run_id=won["run_id"], force=True)
    assert done["proven"], done


@pytest.mark.case(
    "F11",
    tier="machine",
    oracle="a holder that is paused for longer than its time is put back, and refused when it goes on",
)
def test_a_holder_that_sleeps_longer_than_its_time(miner: Machine) -> None:
    with controller() as process:
        loan, path = lent(miner, ttl=15)
        loan.hold(process.pid)
        time.sleep(16)  # longer than its time: it is renewed
        assert miner.status()["state"] == "held"
        process.send_signal(signal.SIGSTOP)
        miner.until_state("free", BOUND)
        assert miner.read(path) == "theirs"
        process.send_signal(signal.SIGCONT)
        assert "free" in loan.is_refused(path)
        assert miner.read(path) == "theirs"
    loan.is_over()


@pytest.mark.case(
    "F23",
    tier="machine",
    oracle="to put back what nobody lent, or what is back already, is no error and changes nothing",
)
def test_a_restore_without_a_loan_and_a_second_one(miner: Machine) -> None:
    nothing = miner.must("recover", resource="miner-1")
    assert nothing["nothing_to_do"]
    loan, path = lent(miner)
    first = loan.recover()
    assert (first["code"], first["proven"], first["nothing_to_do"]) == (0, True, False)
    stamp = miner.sh(f"stat -c '%i %Y %Z' {path}")
    for _turn in range(2):
        again = loan.recover()
        assert (again["code"], again["proven"], again["nothing_to_do"]) == (0, True, True)
    assert miner.sh(f"stat -c '%i %Y %Z' {path}") == stamp
    assert miner.read(path) == "theirs"
    loan.is_over()


@pytest.mark.case(
    "F23",
    tier="machine",
    oracle="somebody else at the machine puts it back by the command that `keeper status` prints",
)
def test_another_person_puts_it_back(miner: Machine) -> None:
    loan, path = lent(miner, ttl=300)
    refused = miner.run("keeper", "recover", "--resource", "miner-1")
    assert refused.returncode == HELD
    assert "ann@desk" in refused.stdout
    page = miner.run("keeper", "status").stdout
    told = next(line.split("sudo ", 1)[1] for line in page.splitlines() if "sudo keeper recover --resource miner-1" in line)
    done = miner.run(*told.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "restored and proven" in done.stdout
    assert miner.read(path) == "theirs"
    loan.is_over()


# Rewrites every record as another version of the keeper would have written it; the checksums are right.
OTHER_VERSION = """
import json, sys, zlib
path, out = sys.argv[1], []
for line in open(path, "rb").read().splitlines():
    record = {**json.loads(line), "v": 2}
    del record["crc"]
    spell = lambda one: json.dumps(one, sort_keys=True, separators=(",", ":")).encode()
    out.append(spell({**record, "crc": "%08x" % zlib.crc32(spell(record))}) + b"\\n")
open(path, "wb").write(b"".join(out))
"""


@pytest.mark.case(
    "F23",
    tier="machine",
    oracle="what another version wrote is not acted upon, but how to put it back by hand is printed, and works",
)
def test_a_journal_of_another_version_says_what_to_do_by_hand(miner: Machine) -> None:
    loan, path = lent(miner, ttl=300)
    journal = f"{STATE}/runs/{loan.run_id}/miner-1/journal.jsonl"
    miner.sh(f"cp -p {journal} {miner.place}/kept")
    miner.run("python3", "-c", OTHER_VERSION, journal)
    refused = loan.recover()
    assert refused["code"] == 4
    assert "format 2" in refused["resources"]["miner-1"]["reason"]
    assert miner.read(path) == "ours"
    page = miner.run("keeper", "status").stdout
    assert "UNPROVEN" in page
    told = next(line for line in page.splitlines() if "sudo find " in line).split("sudo ", 1)[1]
    original = miner.sh(told).split()
    assert len(original) == 1
    assert miner.read(original[0]) == "theirs"
    miner.sh(f"mv {original[0]} {path}; mv {miner.place}/kept {journal}")
    assert loan.recover()["proven"]
    assert miner.read(path) == "theirs"
    loan.is_over()


@pytest.mark.case(
    "F24",
    tier="machine",
    oracle="whoever waits while it is put back gets it after the proof, each once, in order of arrival",
)
def test_waiters_are_served_after_the_proof_in_order_of_arrival(miner: Machine) -> None:
    loan, path = lent(miner, ttl=300)
    undo = {"argv": ["sleep", "6"]}
    loan.does("command", "slow", argv=["true"], undo=undo)
    waiters = []
    for number, ttl in enumerate((60, 7, 300)):  # each with another time
        asked = wish("miner-1", wait=60, ttl=ttl, holder={**SECOND, "pid": number})
        waiters.append((asked, miner.start("acquire", **asked)))
        miner.until(f"{number + 1} wait", lambda: len(miner.status()["queue"]) == number + 1, 10)  # noqa: B023
    assert [one["run_id"] for one in miner.status()["queue"]] == [str(asked["run_id"]) for asked, _process in waiters]
    with ThreadPoolExecutor(max_workers=1) as pool:
        restore = pool.submit(loan.recover)
        miner.until_unit("bk-miner-1-*-u*.service")
        assert miner.status()["state"] == "restoring"
        tokens = []
        for asked, process in waiters:
            given = process.answer()
            assert given["code"] == 0, given
            assert miner.read(path) == "theirs"
            assert loan.evidence()["proof"]["proven"]
            tokens.append(given["token"])
            fence = {**{key: asked[key] for key in ("resource", "run_id", "nonce")}, "token": given["token"]}
            assert miner.must("release", fence=fence)["released"]
        assert restore.result(timeout=60)["proven"]
    assert tokens == sorted(set(tokens))
    loan.is_over()


@pytest.mark.case("F25", tier="machine", oracle="a lease that is never used runs out, and the machine is free with nothing touched")
def test_a_lease_that_is_never_used(miner: Machine) -> None:
    miner.write(f"{miner.place}/config", "theirs\n")
    look = f"stat -c '%n %i %s %Y %Z' {miner.place} {miner.place}/*"
    before = miner.sh(look)
    loan = miner.lend()
    loan.looking_at(f"{miner.place}/config")
    miner.must("renew", fence=loan.fence, ttl=3)
    miner.until_state("free", BOUND)
    assert miner.sh(look) == before
    assert loan.is_over()["restored"]["items"] == []


@pytest.mark.case(
    "F26",
    tier="machine",
    oracle="a lease that ends while it is borrowed, used or given back leaves the original, and no third state",
)
@pytest.mark.parametrize("ttl", [0.1, 0.5, 1.0, 1.5])
def test_a_lease_that_ends_in_the_middle_of_a_borrow(miner: Machine, ttl: float) -> None:
    path = f"{miner.place}/config"
    miner.write(path, "theirs\n")
    loan = miner.lend()
    loan.looking_at(path)
    miner.must("renew", fence=loan.fence, ttl=ttl)
    codes = []
    for number in range(4):
        found = loan.call("file", f"file-{number}", path=path, content=f"ours {number}\n")
        codes.append(found["code"])
        if found["code"]:
            assert found["error"]["kind"] == "fence", found
    assert codes == sorted(codes), "once refused, always refused"
    loan.is_over(BOUND)
    assert miner.read(path) == "theirs"
    assert miner.names() == ["./config"]


@pytest.mark.case(
    "F26",
    tier="machine",
    oracle="a command that outlives its lease is stopped, its client is told so, its late write never comes",
)
def test_a_lease_that_ends_during_a_command(miner: Machine) -> None:
    loan, path = lent(miner)
    miner.must("renew", fence=loan.fence, ttl=4)
    script = f"sleep 12; echo late >{path}"
    asked = loan.starts("command", "long", argv=["sh", "-c", script], undo={"argv": ["true"]}, timeout=60)
    miner.until_state("free", BOUND)
    told = asked.answer()
    assert told["code"] != 0
    assert miner.read(path) == "theirs"
    assert miner.processes(script) == []
    loan.is_over()


@pytest.mark.case(
    "F26",
    tier="machine",
    oracle="who gives a lease back at its very end is free of it, or is told that it ended; the machine is free",
)
def test_a_lease_that_ends_while_it_is_given_back(miner: Machine) -> None:
    for late in (-0.4, -0.2, 0.0, 0.2):
        loan = miner.lend()
        loan.looking_at()
        miner.must("renew", fence=loan.fence, ttl=2)
        time.sleep(2 + late)
        done = miner.ask("release", fence=loan.fence)
        assert (done["code"] == 0 and done["released"]) or (done["code"], done["error"]["kind"]) == (3, "fence"), done
        loan.is_over()


@pytest.mark.case(
    "F27",
    tier="machine",
    oracle="whoever comes too late is refused at once, by every verb, and told why; nothing is changed",
)
def test_a_lease_that_is_over_opens_nothing(miner: Machine) -> None:
    loan, path = lent(miner)
    assert loan.recover()["proven"]
    calls: dict[str, dict[str, Any]] = {
        "renew": {},
        "snapshot": {"probes": {}},
        "look": {},
        "file": {"item": "late", "path": path, "content": "late"},
        "command": {"item": "late", "argv": ["touch", f"{miner.place}/late"], "undo": {"argv": ["true"]}},
        "service": {"item": "late", "unit": "xmrig.service", "state": "stopped"},
        "tree": {"item": "late", "path": f"{miner.place}/late"},
        "created": {"item": "late", "path": f"{miner.place}/late"},
        "confirm": {},
        "expect_reboot": {"within": 60},
    }
    for verb, request in calls.items():
        begun = time.monotonic()
        refused = miner.ask(verb, fence=loan.fence, **request)
        assert (refused["code"], refused["error"]["kind"]) == (3, "fence"), (verb, refused)
        assert "free" in refused["error"]["message"]
        assert time.monotonic() - begun < 10, f"{verb} took its time"
    held = miner.run(KEEPER, "hold", text=json.dumps({"fence": loan.fence}) + "\n", timeout=30)
    assert held.returncode == 3
    assert "does not hold it" in held.stdout
    assert miner.read(path) == "theirs"
    assert miner.names() == ["./config"]
    loan.is_over()


@pytest.mark.case(
    "F28",
    tier="machine",
    oracle="the place of a waiter that was killed is gone within its patience, and the next one is served",
)
def test_a_waiter_that_was_killed_loses_its_place(miner: Machine) -> None:
    loan = miner.lend(ttl=300)
    dead = miner.start("acquire", **wish("miner-1", wait=8, queue=True, holder={**SECOND, "pid": 5}))
    miner.until("somebody waits", lambda: miner.status()["queue"], 10)
    dead.kill()  # with its connection; as module lease asks for a few seconds at a time, nothing is asked after those
    time.sleep(8)
    begun = time.monotonic()
    mine = wish("miner-1", queue=True, holder={**SECOND, "pid": 6})
    second = miner.ask("acquire", **mine)
    assert (second["code"], second["busy"]["position"]) == (HELD, 2)
    assert miner.must("release", fence=loan.fence)["released"]
    refused = miner.ask("acquire", **mine)
    assert (refused["code"], refused["busy"]["state"]) == (HELD, "queued")
    given = miner.until("the next one is served", lambda: _given(miner, mine), PATIENCE + 10)
    assert time.monotonic() - begun < PATIENCE + 10
    fence = {**{key: mine[key] for key in ("resource", "run_id", "nonce")}, "token": given["token"]}
    assert miner.must("release", fence=fence)["released"]


def _given(miner: Machine, request: dict[str, Any]) -> dict[str, Any]:
    found = miner.ask("acquire", **request)
    return found if found["code"] == 0 else {}


# Holds the lock that dpkg and apt take, as they do.
PACKAGE_MANAGER = """
import fcntl, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(600)
"""


@pytest.mark.case(
    "F29",
    tier="machine",
    oracle="an undo that meets somebody's lock says so, is tried again by itself, and ends when the lock is free",
)
def test_a_lock_of_the_package_manager_is_waited_for(miner: Machine) -> None:
    loan, path = lent(miner, ttl=300)
    flag = f"{miner.place}/installed"
    undo = {"argv": ["sh", "-c", f"dpkg --configure -a && rm -f {flag}"]}
    loan.does("command", "package", argv=["touch", flag], group="packages", undo=undo)
    miner.sh(f"systemd-run -q --unit=somebody python3 -c {shlex.quote(PACKAGE_MANAGER)}")
    miner.sh("until dpkg --configure -a 2>&1 | grep lock; do sleep 0.1; done")
    try:
        begun = time.monotonic()
        stuck = loan.recover()
        assert time.monotonic() - begun < 30
        assert (stuck["code"], stuck["restored"]) == (4, False)
        assert re.search(r"locked by .*process with pid [0-9]+", stuck["resources"]["miner-1"]["reason"])
        now = miner.status()
        assert now["state"] == "unproven"
        assert now["retry_in"] is not None
        assert miner.read(path) == "theirs"  # its group is another
        assert miner.ask("acquire", **wish("miner-1"))["code"] == HELD
    finally:
        miner.sh("systemctl stop somebody")
    miner.until_state("free", 60)
    assert miner.names() == ["./config"]
    loan.is_over()


@pytest.mark.case(
    "F29",
    tier="machine",
    oracle="the product's own lock in somebody's hand refuses the lease and names him; with the lease it is ours to the end",
)
def test_the_products_own_lock(miner: Machine) -> None:
    lock = {"path": f"{miner.place}/lock", "holder": f"{miner.place}/lock.holder"}
    miner.write(lock["holder"], "rig 4711 since noon\n")
    miner.sh(f"systemd-run -q --unit=somebody flock {lock['path']} sleep 600")
    miner.sh(f"until ! flock -n {lock['path']} true; do sleep 0.1; done")
    try:
        refused = miner.ask("acquire", **wish("miner-1", lock=lock))
    finally:
        miner.sh("systemctl stop somebody")
    assert refused["code"] == HELD
    assert "rig 4711 since noon" in refused["error"]["message"]
    loan, path = lent(miner, lock=lock)
    assert loan.run_id in miner.read(lock["holder"])
    assert miner.run("flock", "-n", lock["path"], "true").returncode == 1
    miner.sh("systemctl kill -s KILL benchkeeper-lease@miner-1.service")
    miner.until("the lock is ours again", lambda: miner.run("flock", "-n", lock["path"], "true").returncode == 1, 10)
    assert loan.recover()["proven"]
    assert miner.read(path) == "theirs"
    assert miner.run("flock", "-n", lock["path"], "true").returncode == 0
    miner.sh(f"rm -f {lock['path']} {lock['holder']}")
    loan.is_over()


@pytest.mark.case("F29", tier="machine", oracle="while somebody holds the keeper's own lock a restore waits, and goes on after it")
def test_a_restore_waits_for_the_machines_lock(miner: Machine) -> None:
    loan, path = lent(miner)
    miner.must("renew", fence=loan.fence, ttl=4)
    miner.sh(f"systemd-run -q --unit=somebody flock {STATE}/host.lock sleep 12")
    time.sleep(8)
    assert miner.read(path) == "ours"
    miner.until_state("free", BOUND)
    assert miner.read(path) == "theirs"
    loan.is_over()


@pytest.mark.case(
    "F29",
    tier="machine",
    oracle="a directory of ours in which something is mounted is not emptied; it waits, and says why",
)
def test_a_busy_mount_is_not_emptied(miner: Machine) -> None:
    loan = miner.lend(ttl=300)
    loan.looking_at()
    room = f"{miner.place}/room"
    loan.does("tree", "room", path=room)
    miner.sh(f"mkdir {room}/disk && mount -t tmpfs -o size=64k somebody {room}/disk && echo data >{room}/disk/file")
    stuck = loan.recover()
    assert (stuck["code"], stuck["restored"]) == (4, False)
    assert "is a mount" in stuck["resources"]["miner-1"]["reason"]
    assert miner.status()["state"] == "unproven"
    assert miner.read(f"{room}/disk/file") == "data"
    miner.sh(f"umount {room}/disk")
    assert loan.recover()["proven"]
    assert miner.names() == []
    loan.is_over()
