"""Which blows a sweep makes, how it judges, and that the keeper it brings strikes where it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchkeeper.crash_sweep import Boundary, Struck, journals, phases, plan, told
from benchkeeper.crash_watch import Watched
from keeper.build import build

STRIKE = Path(__file__).parents[2] / "e2e" / "crash" / "strike.py"
KINDS = {("bench-0", "engine"), ("miner-0", "file")}


class Dice:
    """Takes the last ones."""

    @staticmethod
    def sample(population: range, k: int) -> list[int]:
        return list(population)[-k:]


def test_a_journal_is_read_as_places_in_the_life_of_each_kind_of_change(tmp_path: Path) -> None:
    records = [
        {"type": "OPEN", "seq": 1},
        {"type": "INTENT", "seq": 2, "kind": "file"},
        {"type": "DONE", "seq": 3, "ref": 2},
        {"type": "INTENT", "seq": 4, "kind": "tree"},
        {"type": "TRY", "seq": 5, "ref": 4},
        {"type": "UNDONE", "seq": 6, "ref": 2},
    ]
    folder = tmp_path / "hosts" / "miner-0"
    folder.mkdir(parents=True)
    (folder / "journal.json").write_text(json.dumps(records), encoding="utf-8")
    found = phases(journals(tmp_path))
    assert found == {
        ("miner-0", "file", "INTENT"),
        ("miner-0", "file", "DONE"),
        ("miner-0", "file", "UNDONE"),
        ("miner-0", "tree", "INTENT"),
    }


def test_every_boundary_is_struck_and_each_kind_loses_each_part_of_the_controller() -> None:
    blows = plan(KINDS, None, Dice())
    assert len(blows) == len(set(blows)) == 2 * (3 * 3 + 2 * 2)
    for host, kind in KINDS:
        mine = [one for one in blows if (one.host, one.kind) == (host, kind)]
        assert {one.hit for one in mine} == {"supervisor", "ansible-playbook", "group", "keeper", "machine"}
        assert {one.at for one in mine if one.hit == "keeper"} == {"intent", "change", "done", "undo", "undone"}
        assert {one.at for one in mine if one.hit == "machine"} == {"intent", "change", "done", "undo", "undone"}


def test_some_of_each_kind_are_chosen_by_the_dice() -> None:
    assert plan(KINDS, 2, Dice()) == [
        Boundary(host, kind, "undone", hit) for host, kind in sorted(KINDS) for hit in ("keeper", "machine")
    ]


def test_a_row_says_who_put_what_back_and_the_end_counts_what_is_bad() -> None:
    boundary = Boundary("bench-0", "engine", "undo", "machine")
    good = Struck(boundary, {"miner-0": Watched(1.0, 2.5), "bench-0": Watched(3.0, None)}, {"bench-0": "boot"}, 40.0, "")
    assert "bench-0   3.0/never s (boot)" in good.line()
    assert good.line().endswith("ok")
    bad = Struck(boundary, {}, {}, 70.0, "bench-0 was restored after 70 s, allowed 60")
    assert "BAD: bench-0 was restored" in bad.line()
    slow = Struck(boundary, {}, {}, 61.0, "")
    assert slow.line().endswith("SLOW: allowed 60 s")
    assert told([good, bad]) == ["2 blows, 1 not as expected; 55 s each, at most 70 (1 longer than 60)"]


@pytest.mark.parametrize(
    ("at", "types"),
    [
        ("intent", ["OPEN", "INTENT"]),
        ("change", ["OPEN", "INTENT"]),
        ("done", ["OPEN", "INTENT", "DONE"]),
        ("undo", ["OPEN", "INTENT", "DONE"]),
        ("undone", ["OPEN", "INTENT", "DONE", "UNDONE"]),
    ],
)
def test_the_keeper_of_a_sweep_dies_where_it_is_told_to(tmp_path: Path, at: str, types: list[str]) -> None:
    program = tmp_path / "keeper"
    build(program, STRIKE)
    order = tmp_path / "order.json"
    order.write_text(json.dumps({"resource": "miner-0", "kind": "file", "at": at, "act": "kill"}), encoding="ascii")
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(program)!r})
import keeper.strike
keeper.strike.ORDER = Path({str(order)!r})
keeper.strike.CALL = Path({str(tmp_path / "nobody")!r})
from keeper.ports import FileLocks, RealClock
from keeper.store import Store
from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
store = Store(_fsio.RealFiles(), FileLocks({str(tmp_path)!r}, RealClock()), {str(tmp_path / "state")!r})
store.make("runs", "run-1", "miner-0")
run = store.run("run-1", "miner-0")
run.open_journal(run_id="run-1")
other = store.run("run-2", "miner-0")
intent = run.append("INTENT", kind="file", item="f", group="g")
run.append("DONE", ref=intent["seq"])
run.append("UNDONE", ref=intent["seq"])
print("alive")
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr
    raw = (tmp_path / "state" / "runs" / "run-1" / "miner-0" / "journal.jsonl").read_bytes().rstrip(b"\0")
    assert [json.loads(line)["type"] for line in raw.decode("ascii").splitlines()] == types
    assert not order.exists()


def test_the_keeper_that_people_use_strikes_nobody(tmp_path: Path) -> None:
    build(tmp_path / "keeper")
    assert b"strike" not in (tmp_path / "keeper").read_bytes()
