"""Who waits, in order of arrival; and the product's own lock."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any, Dict

import pytest

from keeper import human, product_lock, queue
from keeper.errors import KeeperError
from keeper.ports import RealClock
from tests.unit.keeper.bench import HOLDER, NONCE, Bench


def ask(bench: Bench, number: int, **more: Any) -> tuple[int, Dict[str, Any]]:
    request = {"resource": "miner-0", "run_id": f"run-{number}", "nonce": f"{number:032x}", "holder": {**HOLDER, "pid": number}}
    return bench.try_call("acquire", **{**request, "ttl": 60, **more})


def free(bench: Bench) -> None:
    bench.call("recover", resource="miner-0", force=True, run_id=bench.lease().run_id)


def test_who_came_first_is_served_first(bench: Bench) -> None:
    bench.acquire()
    for number, position in ((11, 1), (12, 2), (11, 1), (13, 3)):
        code, answer = ask(bench, number, queue=True)
        assert (code, answer["busy"]["position"]) == (75, position)
        assert f"position {position} in the queue" in answer["error"]["message"]
    page = human.render("status", bench.call("status"))
    assert "waiting: 2. run run-12 of ann@desk, process 12" in page
    free(bench)
    code, answer = ask(bench, 99)  # who does not wait does not get before those who do
    assert (code, answer["busy"]["state"], answer["busy"]["run_id"]) == (75, "queued", "run-11")
    assert ask(bench, 12, queue=True)[0] == 75
    assert ask(bench, 11, queue=True)[0] == 0
    free(bench)
    assert ask(bench, 13, queue=True)[1]["busy"]["position"] == 2
    assert ask(bench, 12, queue=True)[0] == 0
    free(bench)
    assert ask(bench, 13, queue=True)[0] == 0
    assert bench.call("status")["leases"][0]["queue"] == []


def test_a_place_is_lost_by_whoever_does_not_ask_again(bench: Bench) -> None:
    bench.acquire(ttl=1000)
    ask(bench, 11, queue=True)
    bench.clock.now += 20
    ask(bench, 12, queue=True)
    bench.clock.now += queue.PATIENCE - 19
    code, answer = ask(bench, 12, queue=True)
    assert (code, answer["busy"]["position"]) == (75, 1)
    bench.clock.identity = type(bench.clock.identity)("boot-1", 8)
    assert queue.waiting(bench.restart(), "miner-0") == []


def test_waiting_here_gives_the_place_up_when_the_time_is_over(bench: Bench) -> None:
    bench.acquire(ttl=1000)
    code, answer = ask(bench, 11, wait=5)
    assert (code, answer["busy"]["position"]) == (75, 1)
    assert bench.call("status")["leases"][0]["queue"] == []


def test_how_long_it_may_take_is_told_from_how_long_runs_took(bench: Bench) -> None:
    bench.acquire()
    assert ask(bench, 11, queue=True)[1]["busy"]["expected_seconds"] is None
    bench.clock.now += 40
    free(bench)
    ask(bench, 11, queue=True)
    bench.clock.now += 10
    told = [ask(bench, number, queue=True)[1]["busy"]["expected_seconds"] for number in (12, 13)]
    assert told == [30, 70]


def test_a_queue_that_cannot_be_read_is_begun_anew_and_one_that_is_full_is_not_joined(bench: Bench) -> None:
    bench.acquire(ttl=1000)
    ask(bench, 11, queue=True)
    (bench.state / "queue" / "miner-0").write_text("{torn")
    assert ask(bench, 12, queue=True)[1]["busy"]["position"] == 1
    for number in range(100, 100 + queue.LENGTH):
        ask(bench, number, queue=True)
    code, answer = ask(bench, 999, queue=True)
    assert code == 75
    assert "too many" in answer["error"]["message"]
    assert "position" not in answer["busy"]


# The product's own lock


def lock_in(place: Path) -> Dict[str, str]:
    return {"path": str(place / "rig.lock"), "holder": str(place / "rig.lock.holder")}


def test_a_lease_has_the_products_lock_or_is_refused_with_who_has_it(bench: Bench) -> None:
    lock = lock_in(bench.root)
    Path(lock["path"]).touch()
    Path(lock["holder"]).write_text("nightly pid=7 started=2026-01-01T00:00:00Z\n")
    taken = os.open(lock["path"], os.O_RDONLY)
    fcntl.flock(taken, fcntl.LOCK_EX)
    code, answer = ask(bench, 1, lock=lock)
    assert (code, answer["busy"]["said"]) == (75, "nightly pid=7 started=2026-01-01T00:00:00Z")
    assert bench.call("status")["leases"] == []
    os.close(taken)
    code, answer = ask(bench, 1, lock=lock)  # it is free, but nobody takes it for us
    assert code == 75
    assert "could not be taken" in answer["error"]["message"]
    assert (bench.lease().state, bench.triggers.locks) == ("free", ["on miner-0", "off miner-0"])
    Path(lock["holder"]).write_text(f"{product_lock.ours('run-1')}pid=1\n")
    assert ask(bench, 1, lock=lock)[0] == 0
    assert bench.lease().lock == lock
    free(bench)
    assert bench.lease().lock is None


@pytest.mark.parametrize("bad", ["x", {"path": "relative"}, {"holder": "/x"}, {"path": "/a/../b"}])
def test_a_lock_that_is_none_is_refused(bench: Bench, bad: Any) -> None:
    assert ask(bench, 1, lock=bad)[0] == 2


def test_the_holder_keeps_the_lock_of_the_file_that_is_there(tmp_path: Path) -> None:
    lock = lock_in(tmp_path)
    holder = product_lock.Holder(lock, "benchkeeper run-1 pid=1\n")
    assert holder.keep()
    assert product_lock.read_holder(lock) == "benchkeeper run-1 pid=1"
    with pytest.raises(KeeperError, match="benchkeeper run-1"):
        product_lock.check_free(lock)
    Path(lock["path"]).rename(tmp_path / "moved")
    product_lock.check_free(lock)  # the file was replaced: the lock is another one now,
    assert holder.keep()  # until we look
    with pytest.raises(KeeperError, match="held"):
        product_lock.check_free(lock)
    holder.drop()
    product_lock.check_free(lock)
    assert not Path(lock["holder"]).exists()


def test_a_link_where_the_lock_should_be_is_not_followed(tmp_path: Path) -> None:
    lock = lock_in(tmp_path)
    (tmp_path / "elsewhere").touch()
    Path(lock["path"]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeeperError, match="cannot be opened"):
        product_lock.check_free(lock)


def test_the_lock_is_held_as_long_as_the_lease_and_no_longer(bench: Bench) -> None:
    lock = lock_in(bench.root)
    Path(lock["holder"]).write_text(f"{product_lock.ours('run-1')}pid=1\n")
    ask(bench, 1, lock=lock)
    keeper = bench.restart()
    keeper.clock = RealClock()
    ended = []
    handlers = pytest.MonkeyPatch()
    handlers.setattr("keeper.product_lock.signal.signal", lambda *_words: None)  # of the main thread only
    handlers.setattr("keeper.product_lock.LOOK_EVERY", 0.05)
    thread = threading.Thread(target=lambda: ended.append(product_lock.hold(keeper, "miner-0")))
    thread.start()
    try:
        while "pid=" + str(os.getpid()) not in product_lock.read_holder(lock):
            thread.join(0.01)
        with pytest.raises(KeeperError):
            product_lock.check_free(lock)
        free(bench)
        thread.join(10)
        assert ended == [0]
        product_lock.check_free(lock)
        assert not Path(lock["holder"]).exists()
        assert product_lock.hold(bench.restart(), "miner-0") == 0
    finally:
        handlers.undo()


def test_an_acquisition_that_is_over_says_nothing_of_secrets(bench: Bench) -> None:
    ask(bench, 11, queue=True)
    assert NONCE not in str(bench.call("status"))
