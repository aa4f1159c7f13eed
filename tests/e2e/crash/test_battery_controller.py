"""F1-F4: the controller is killed, interrupted, or stops waiting. Nobody does anything then; the machine comes back by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.crash.machine import BOUND, Machine, controller
from tests.e2e.crash.playing import Play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.crash.machine import Loan

FIRST, SECOND = "first.json", "second"
ORIGINAL = '{"pool": "theirs", "threads": 1}\n'


def steps(loan: Loan, folder: str) -> list[Callable[[], Any]]:
    """What a run does, boundary by boundary."""
    edit = {"json": [{"op": "set", "path": "pool", "value": "ours"}]}
    flag = f"{folder}/flag"
    return [
        lambda: loan.looking_at(f"{folder}/{FIRST}", f"{folder}/{SECOND}"),
        lambda: loan.does("file", "first", group="a", path=f"{folder}/{FIRST}", edit=edit, canonical=["pool"]),
        lambda: loan.does("file", "second", group="b", path=f"{folder}/{SECOND}", remove=True),
        lambda: loan.does("tree", "room", group="b", path=f"{folder}/room"),
        lambda: loan.does("file", "inside", group="b", path=f"{folder}/room/file", content="x"),
        lambda: loan.does("command", "flag", group="c", argv=["touch", flag], undo={"argv": ["rm", "-f", flag]}),
        lambda: loan.machine.must("restore", resource=loan.resource, run_id=loan.run_id, nonce=loan.wish["nonce"]),
    ]


@pytest.mark.case(
    "F1",
    tier="machine",
    oracle="killed -9 at any boundary, every lease is restored and proven within the bound, and a second restore does nothing",
)
def test_a_controller_that_is_killed_at_any_boundary(miner: Machine) -> None:
    """One controller that holds a lease for each boundary: its death comes to all of them in the same moment."""
    loans: list[tuple[Loan, str]] = []
    with controller() as process:
        for number in range(len(steps(None, "")) + 1):  # type: ignore[arg-type] # only counted
            folder = f"{miner.place}/{number}"
            miner.sh(f"mkdir {folder}; echo theirs >{folder}/{SECOND}")
            miner.write(f"{folder}/{FIRST}", ORIGINAL)
            loan = miner.lend(resource=f"boundary-{number}", ttl=120)
            loan.hold(process.pid)
            for step in steps(loan, folder)[:number]:
                step()
            loans.append((loan, folder))
        # The last one is killed in the middle of a command.
        loan, folder = loans[-2]
        script = f"sleep 60; echo late >{folder}/late"
        asked = loan.starts("command", "long", group="d", argv=["sh", "-c", script], undo={"argv": ["true"]})
        miner.until_unit(f"bk-{loan.resource}-*.service")
        asked.kill()
        process.kill()
        process.wait()
        begun = time.monotonic()
        for loan, folder in loans:
            miner.until_state("free", max(1.0, BOUND + begun - time.monotonic()), loan.resource)
            assert sorted(miner.sh(f"ls -A {folder}").split()) == sorted([FIRST, SECOND])
            assert miner.read(f"{folder}/{FIRST}") == ORIGINAL.rstrip("\n")
            assert miner.read(f"{folder}/{SECOND}") == "theirs"
    for loan, _folder in loans:
        again = loan.recover()
        assert (again["code"], again["nothing_to_do"]) == (0, True)
        loan.is_over()


@pytest.mark.case(
    "F2",
    tier="machine",
    oracle="a restore that gets the same signal twice is taken up again until it is whole; it is never left half",
)
@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "KILL"])
def test_a_restore_that_is_interrupted_twice(miner: Machine, number: str) -> None:
    path, flag = f"{miner.place}/config", f"{miner.place}/flag"
    miner.write(path, "theirs\n")
    loan = miner.lend(ttl=300)
    loan.looking_at(path)
    loan.does("file", "mine", group="a", path=path, content="ours\n")
    loan.does("command", "on", group="b", argv=["touch", flag], undo={"argv": ["sh", "-c", f"sleep 4; rm -f {flag}"]})

    def tries() -> int:
        return len([one for one in loan.evidence()["journal"] if one["type"] == "TRY"])

    miner.must("renew", fence=loan.fence, ttl=0.5)  # nobody asks: the machine's own sweep does it
    for turn in range(2):
        miner.until("an undo runs", lambda: tries() > turn, 30)  # noqa: B023
        miner.sh(f"systemctl kill -s {number} benchkeeper-restore.service")
    miner.until_state("free", 60)
    assert miner.read(path) == "theirs"
    assert miner.names() == ["./config"]
    assert tries() > 2, "it was never interrupted in the middle"
    loan.is_over()


@pytest.mark.case(
    "F2",
    tier="machine",
    oracle="a run that is interrupted twice while it puts everything back finishes that, and ends with 128+n",
)
def test_a_run_that_is_interrupted_twice_in_its_restore(bench: Any, machine: Callable[[str], Machine]) -> None:
    machines = [machine("bench-0"), machine("miner-0")]
    argv = [str(bench.root / "bench"), "e2e", "main", "--wait", "300"]
    process = subprocess.Popen(argv, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        print(line, end="")
        if "── restore" in line:
            break
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    print(out, err)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    result = bench.result()
    assert {name: end["proven"] for name, end in result["restored"].items()} == {"bench-0": True, "miner-0": True}
    assert bench.owned(result["run_id"]) == []
    assert [one.traces() for one in machines] == [[], []]


def lending(tmp_path: Path, miner: Machine) -> tuple[Play, str, str]:
    """A play that changes a file, and then waits for a command that writes it again much later."""
    path = f"{miner.place}/config"
    miner.write(path, "theirs\n")
    play = Play(tmp_path, miner, ttl=60)
    play.task("host_proof", lease=play.lease, probes={"config": {"kind": "file", "path": path}}, proof={"deadline": 5})
    play.task("guarded_file", lease=play.lease, item="mine", path=path, content="ours\n")
    return play, path, f"sleep 25; echo late >{path}; touch {miner.place}/late"


@pytest.mark.case(
    "F3",
    tier="machine",
    oracle="ansible and its group are killed -9 during a long task: the task ends, its late write never comes, its "
    "fence opens nothing",
)
@pytest.mark.parametrize("what", ["ansible-playbook", "the group"])
def test_ansible_is_killed_during_a_long_task(miner: Machine, tmp_path: Path, what: str) -> None:
    play, path, script = lending(tmp_path, miner)
    play.task("guarded_command", lease=play.lease, item="long", argv=["sh", "-c", script], undo={"argv": ["true"]}, timeout=120)
    process = play.start()
    miner.until_unit("bk-miner-1-*.service", 60)
    assert miner.read(path) == "ours"
    token = miner.status()["token"]
    if what == "the group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    begun = time.monotonic()
    found = miner.until_state("free", BOUND)
    assert miner.read(path) == "theirs"
    assert miner.processes(script) == []
    fence = {"resource": "miner-1", "run_id": play.run_id, "nonce": play.nonce, "token": token}
    late = miner.ask("file", fence=fence, item="late", path=path, content="late")
    assert (late["code"], late["error"]["kind"]) == (3, "fence")
    process.communicate(timeout=120)
    time.sleep(max(0.0, begun + 26 - time.monotonic()))  # when it would have written
    assert miner.read(path) == "theirs"
    assert miner.names() == ["./config"]
    assert found["waited"] < BOUND


@pytest.mark.case(
    "F4",
    tier="machine",
    oracle="a task that ran into its timeout goes on behind our back, and its late write never comes",
)
def test_a_task_that_ran_into_its_timeout(miner: Machine, tmp_path: Path) -> None:
    play, path, script = lending(tmp_path, miner)
    timeout = {"timeout": 4, "ignore_errors": True}
    argv = ["sh", "-c", script]
    play.task("guarded_command", "long", keywords=timeout, lease=play.lease, item="long", argv=argv, undo={"argv": ["true"]})
    play.plain("ansible.builtin.assert", that=["long is failed"])
    play.plain("ansible.builtin.command", "alive", argv=["pgrep", "-f", "sleep 25"])
    play.task("keeper_recover", "back", resource="miner-1", run_id=play.run_id, nonce=play.nonce)
    play.plain("ansible.builtin.assert", that=["alive.rc == 0", "back.proven"])
    begun = time.monotonic()
    done = play.to_the_end()
    assert done.returncode == 0, done.stdout
    assert miner.read(path) == "theirs"
    assert miner.processes(script) == []
    time.sleep(max(0.0, begun + 32 - time.monotonic()))
    assert miner.read(path) == "theirs"
    assert miner.names() == ["./config"]
