from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any, Dict, List

import pytest

from keeper.store import Store
from tests.unit.keeper.bench import HOLDER, NONCE, Bench, FakeTriggers

OTHER = {"resource": "miner-0", "run_id": "run-2", "nonce": "f" * 32, "holder": {**HOLDER, "pid": 43}}


def test_a_lease_is_given_once_and_names_its_holder(bench: Bench) -> None:
    answer = bench.acquire()
    assert answer["token"] == 1
    assert answer["arming"] == "the sweep of a test"
    assert answer["armed"]
    code, refused = bench.try_call("acquire", **OTHER)
    assert code == 75
    assert refused["busy"]["holder"] == HOLDER
    assert refused["busy"]["run_id"] == "run-1"
    assert refused["busy"]["deadline"].startswith("2023-11-14T")
    assert "ann@desk" in refused["error"]["message"]
    assert NONCE not in json.dumps(refused)


def test_a_lost_answer_is_given_again_but_not_to_somebody_with_another_nonce(bench: Bench) -> None:
    assert bench.acquire()["token"] == bench.acquire()["token"]
    code, _answer = bench.try_call("acquire", **{**OTHER, "run_id": "run-1"})
    assert code == 75


@pytest.mark.parametrize(
    "bad",
    [
        {"nonce": "short"},
        {"nonce": None},
        {"resource": "../x"},
        {"run_id": "a b"},
        {"ttl": -1},
        {"ttl": True},
        {"ttl": 1e9},
        {"wait": "long"},
        {"holder": {}},
        {"holder": None},
    ],
)
def test_what_is_typed_wrong_changes_nothing(bench: Bench, bad: Dict[str, Any]) -> None:
    code, answer = bench.try_call("acquire", **{**OTHER, **bad})
    assert code == 2
    assert answer["error"]["kind"] == "usage"
    assert bench.call("status")["leases"] == []


def test_a_lease_that_ran_out_is_restored_before_it_is_given(bench: Bench) -> None:
    bench.acquire()
    path = Path(bench.root, "new")
    bench.guarded("file", "new", path=str(path), content="x")
    bench.clock.now += 59.9
    assert bench.try_call("acquire", **OTHER)[0] == 75
    bench.clock.now += 0.1
    answer = bench.call("acquire", **OTHER)
    assert answer["recovered"]["proven"]
    assert answer["token"] == 3
    assert not path.exists()


@pytest.mark.case("F10", tier="model", oracle="a wall clock that jumps days either way neither ends nor lengthens a lease")
def test_a_wall_clock_that_jumps_neither_ends_nor_lengthens_a_lease(bench: Bench) -> None:
    bench.acquire()
    bench.clock.wall_offset += 10 * 86400
    assert bench.try_call("acquire", **OTHER)[0] == 75
    bench.guarded("file", "new", path=str(Path(bench.root, "new")), content="x")
    bench.clock.wall_offset -= 20 * 86400
    bench.clock.now += 61
    assert bench.call("acquire", **OTHER)["recovered"]["proven"]


@pytest.mark.case("F10", tier="model", oracle="a lease ends with its boot, whatever the clock of the next one says")
def test_another_boot_ends_a_lease(bench: Bench) -> None:
    from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot  # noqa: PLC0415

    bench.acquire()
    bench.clock.identity = Boot("boot-1", 8)  # a machine in a container keeps the boot id of its host
    assert bench.try_call("renew", fence=bench.fence)[1]["error"]["kind"] == "fence"
    assert bench.call("acquire", **OTHER)["token"] == 3


def test_a_dead_holder_is_believed_only_on_its_own_controller(bench: Bench) -> None:
    bench.acquire()
    gone = {"controller_id": "c1", "pid": 42, "start_time": 1234}
    for claim in ({**gone, "controller_id": "c2"}, {**gone, "pid": 41}, {**gone, "start_time": 1}, {}):
        assert bench.try_call("acquire", **OTHER, holder_gone=claim)[0] == 75
    assert bench.call("acquire", **OTHER, holder_gone=gone)["recovered"]["proven"]


def test_a_kept_lease_outlives_its_holder_until_its_deadline(bench: Bench) -> None:
    bench.acquire(keep=True)
    assert bench.try_call("acquire", **OTHER, holder_gone=True)[0] == 75
    bench.clock.now += 60
    assert bench.call("acquire", **OTHER)["token"] == 3


def test_waiting_polls_until_the_lease_runs_out(bench: Bench) -> None:
    bench.acquire()
    started = bench.clock.now
    assert bench.call("acquire", **OTHER, wait=300)["token"] == 3
    assert 60 <= bench.clock.now - started < 62


def test_waiting_gives_up_and_says_who_has_it(bench: Bench) -> None:
    bench.acquire()
    code, answer = bench.try_call("acquire", **OTHER, wait=5)
    assert (code, answer["busy"]["run_id"]) == (75, "run-1")


def test_traces_are_taken_away_by_one_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a lease and who gives it back come to it in the same moment."""
    held = []
    prune = Store.prune

    def watched(store: Store, resource: str, keep: int) -> None:
        held.append(store.locks.held("host"))
        prune(store, resource, keep)

    monkeypatch.setattr(Store, "prune", watched)
    bench.acquire()
    bench.call("release", fence=bench.fence)
    bench.call("acquire", **OTHER)
    assert held
    assert all(held)


def test_tokens_grow_even_if_the_leases_are_lost(bench: Bench) -> None:
    first = bench.acquire()["token"]
    bench.call("release", fence=bench.fence)
    (bench.state / "leases" / "miner-0").unlink()
    assert bench.call("acquire", **OTHER)["token"] > first


def test_the_runs_that_stay_for_a_reader_are_the_last_ones_whatever_they_are_called(bench: Bench) -> None:
    names = [f"run-{number:02}" for number in range(15, 0, -1)]
    for name in names:
        bench.acquire(run_id=name)
        fence = {**bench.fence, "run_id": name}
        bench.call("release", fence=fence)
        assert bench.call("recover", resource="miner-0", run_id=name)["proven"]
        assert bench.call("evidence", resource="miner-0", run_id=name)["closed"]
    assert sorted(one.run_id for one in bench.keeper.store.runs("miner-0")) == sorted(names[-10:])


def test_a_run_id_is_used_once(bench: Bench) -> None:
    bench.acquire()
    bench.call("release", fence=bench.fence)
    code, answer = bench.try_call("acquire", resource="miner-0", run_id="run-1", nonce=NONCE, holder=HOLDER)
    assert (code, answer["error"]["kind"]) == (3, "conflict")


def test_release_is_for_leases_under_which_nothing_was_changed(bench: Bench) -> None:
    bench.acquire()
    assert bench.call("release", fence=bench.fence) == {"released": True, "already": False}
    assert bench.call("release", fence=bench.fence)["already"]
    bench.acquire(run_id="run-3")
    fence = {**bench.fence, "run_id": "run-3"}
    bench.call("snapshot", fence=fence, probes={})
    bench.call("file", fence=fence, item="new", path=str(Path(bench.root, "new")), content="x")
    code, answer = bench.try_call("release", fence=fence)
    assert (code, answer["left"]) == (3, ["new"])


def test_a_lease_never_used_runs_out_and_nothing_is_touched(bench: Bench) -> None:
    bench.acquire()
    probe = {"here": {"kind": "file", "path": str(Path(bench.root, "here"))}}
    bench.call("snapshot", fence=bench.fence, probes=probe, proof={"predicates": [{"probe": "here", "op": "absent"}]})
    bench.clock.now += 100
    before = bench.clock.now
    assert bench.call("recover")["proven"]
    assert bench.clock.now == before
    assert bench.units.started == []


def test_renewing_gives_the_whole_time_again(bench: Bench) -> None:
    bench.acquire()
    for _turn in range(5):
        bench.clock.now += 59
        bench.call("renew", fence=bench.fence)
    assert bench.call("renew", fence=bench.fence, ttl=10, keep=True)["ttl"] == 10
    bench.clock.now += 10
    assert bench.try_call("renew", fence=bench.fence)[1]["error"]["kind"] == "fence"


def _race(root: str, number: int, barrier: Any, results: Any) -> None:
    from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio  # noqa: PLC0415

    from keeper import verbs  # noqa: PLC0415
    from keeper.core import Keeper  # noqa: PLC0415
    from keeper.ports import FileLocks, RealClock  # noqa: PLC0415
    from keeper.store import Store  # noqa: PLC0415

    clock: Any = RealClock()
    store = Store(_fsio.RealFiles(), FileLocks(root, clock), root)
    nothing: Any = None
    keeper = Keeper(store, clock, nothing, nothing, nothing, nothing, FakeTriggers(), nothing)
    barrier.wait()
    request = {"resource": "miner-0", "run_id": f"run-{number}", "nonce": "n" * 32, "holder": HOLDER}
    results.put(verbs.call(keeper, "acquire", request)[0])


def test_of_many_who_start_together_exactly_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    root = tmp_path / "state"
    root.mkdir()
    count = min(8, 4 * (os.cpu_count() or 1))
    barrier, results = context.Barrier(count), context.Queue()
    workers = [context.Process(target=_race, args=(str(root), n, barrier, results)) for n in range(count)]
    for worker in workers:
        worker.start()
    codes: List[int] = sorted(results.get(timeout=30) for _worker in workers)
    for worker in workers:
        worker.join()
    assert codes == [0] + [75] * (count - 1)
