from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from keeper import human
from tests.unit.keeper.bench import HOLDER, NONCE, Bench


def write(bench: Bench, fence: Dict[str, Any]) -> tuple[int, Dict[str, Any]]:
    return bench.try_call("file", fence=fence, item="late", path=str(Path(bench.root, "late")), content="late")


@pytest.mark.parametrize("wrong", [{"token": 2}, {"token": 0}, {"nonce": "g" * 32}, {"run_id": "run-9"}, {"resource": "miner-9"}])
def test_a_fence_that_is_not_the_leases_is_refused(bench: Bench, wrong: Dict[str, Any]) -> None:
    bench.acquire()
    code, answer = write(bench, {**bench.fence, **wrong})
    assert (code, answer["error"]["kind"]) == (3, "fence")
    assert not Path(bench.root, "late").exists()
    assert NONCE not in str(answer)


@pytest.mark.parametrize("wrong", [{}, {"token": True}, {"token": "1"}, {"nonce": 3}, {"resource": "a/b"}])
def test_a_fence_that_is_none_is_a_mistake_of_the_caller(bench: Bench, wrong: Dict[str, Any]) -> None:
    bench.acquire()
    assert write(bench, {**bench.fence, **wrong} if wrong else {})[0] == 2


def test_nothing_is_changed_at_or_after_the_deadline_even_if_nobody_swept(bench: Bench) -> None:
    bench.acquire()
    bench.clock.now += 60
    code, answer = write(bench, bench.fence)
    assert (code, answer["error"]["kind"]) == (3, "fence")
    lease = answer["lease"]
    assert (lease["resource"], lease["run_id"], lease["state"], lease["token"]) == ("miner-0", "run-1", "held", bench.token)
    assert lease["deadline"]
    assert bench.lease().state == "held"


def test_a_zombie_bounces_after_the_restore_and_after_the_next_acquisition(bench: Bench) -> None:
    bench.acquire()
    old = bench.fence
    bench.call("recover", resource="miner-0", nonce=NONCE)
    assert write(bench, old)[0] == 3
    bench.acquire(run_id="run-2")
    assert write(bench, old)[0] == 3
    assert write(bench, {**old, "token": bench.token})[0] == 3


def test_a_token_that_was_taken_but_not_yet_written_down_fences_already(bench: Bench) -> None:
    bench.acquire()
    bench.keeper.store.bump("miner-0", 1)  # a restore that died right behind its first step
    assert write(bench, bench.fence)[1]["error"]["kind"] == "fence"
    assert bench.call("recover", resource="miner-0", nonce=NONCE)["proven"]


def test_a_command_that_ends_after_its_lease_is_not_recorded(bench: Bench) -> None:
    bench.acquire()
    bench.look()
    start = bench.units.start

    def slow(unit: str, spec: str, timeout: float) -> None:
        start(unit, spec, timeout)
        bench.clock.now += 61

    bench.units.start = slow  # type: ignore[method-assign]
    code, answer = bench.try_call("command", fence=bench.fence, item="slow", argv=["true"], undo={"argv": ["true"]}, user=_me())
    assert (code, answer["error"]["kind"]) == (3, "fence")
    bench.units.start = start  # type: ignore[method-assign]
    assert bench.call("recover", resource="miner-0")["proven"]


def _me() -> str:
    import os  # noqa: PLC0415
    import pwd  # noqa: PLC0415

    return pwd.getpwuid(os.geteuid()).pw_name


def test_two_leases_of_a_host_do_not_guard_the_same_file(bench: Bench) -> None:
    bench.acquire()
    path = str(Path(bench.root, "shared"))
    bench.guarded("file", "mine", path=path, content="one")
    answer = bench.call("acquire", resource="bench-0", run_id="run-2", nonce="f" * 32, holder=HOLDER)
    fence = {"resource": "bench-0", "run_id": "run-2", "nonce": "f" * 32, "token": answer["token"]}
    bench.call("snapshot", fence=fence, probes={})
    code, refused = bench.try_call("file", fence=fence, item="yours", path=path, content="two")
    assert (code, refused["error"]["kind"]) == (3, "conflict")
    assert "run-1" in refused["error"]["message"]
    assert Path(path).read_text() == "one"


@pytest.mark.parametrize("damage", ["lease", "journal", "key", "both slots", "a link", "a directory"])
def test_what_cannot_be_trusted_is_not_acted_upon(bench: Bench, damage: str) -> None:
    bench.acquire()
    path = Path(bench.root, "new")
    bench.guarded("file", "new", path=str(path), content="x")
    run = bench.state / "runs" / "run-1" / "miner-0"
    if damage == "lease":
        (bench.state / "leases" / "miner-0").unlink()
    elif damage == "both slots":
        (bench.state / "leases" / "miner-0").write_bytes(b"x" * 8192)
    elif damage == "key":
        (run / "key").unlink()
    elif damage == "a link":
        (run / "journal.jsonl").rename(run / "elsewhere")
        (run / "journal.jsonl").symlink_to(run / "elsewhere")
    elif damage == "a directory":
        (run / "journal.jsonl").unlink()
        (run / "journal.jsonl").mkdir()
    else:
        raw = bytearray((run / "journal.jsonl").read_bytes())
        raw[len(raw) // 2] ^= 1
        (run / "journal.jsonl").write_bytes(bytes(raw))
    assert write(bench, bench.fence)[0] == 4
    code, answer = bench.try_call("recover", resource="miner-0", nonce=NONCE)
    assert code == 4
    told = answer.get("error", {}).get("message") or answer["resources"]["miner-0"]["reason"]
    assert "trusted" in told or "missing" in told
    assert path.read_text() == "x"
    refused, _answer = bench.try_call("acquire", resource="miner-0", run_id="r", nonce="f" * 32, holder=HOLDER)
    assert refused in (4, 75)
    status = bench.call("status")["leases"][0]
    assert status["state"] == "unproven"
    assert status["reason"]
    page = human.render("status", bench.call("status"))
    assert "sudo find / -xdev -name '.*.bk-" in page
