from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

_path = Path(__file__).parents[4] / "plugins" / "filter" / "run.py"
_spec = importlib.util.spec_from_file_location("run_filters", _path)
assert _spec is not None
assert _spec.loader is not None
run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run)

TAKEN = {"item": {"name": "bench-0"}, "token": 3, "run_id": "r"}
DEAD = {"item": {"name": "miner-0"}, "unreachable": True, "msg": "no route"}
BUSY = {"item": {"name": "miner-1"}, "failed": True, "busy": {"run_id": "other"}, "msg": "held by other"}


def test_fences_are_those_of_leases_that_were_taken() -> None:
    found = run.fences([TAKEN, DEAD, BUSY], json.dumps({"nonce": "n"}))
    assert found == {"bench-0": {"resource": "bench-0", "run_id": "r", "nonce": "n", "token": 3}}


def test_a_dead_host_is_named() -> None:
    assert run.unreachable([TAKEN, DEAD]) == ["miner-0"]
    assert run.reasons([DEAD]) == ["miner-0: no route"]


def test_a_signal_that_is_not_there_is_a_reason() -> None:
    late = {"name": "z", "ok": False, "why": "not waited for without x", "since": "x"}
    waited = {
        "item": {"name": "b"},
        "signals": [{"name": "x", "ok": False, "why": "w"}, {"name": "y", "ok": True, "why": ""}, late],
    }
    assert run.reasons([waited, {"skipped": True}]) == ["b: x: w"]


@pytest.mark.parametrize(
    ("result", "fitness", "who"),
    [
        ({"msg": "x"}, {}, {}),
        ({"busy": {"run_id": "other"}}, {}, {"run_id": "other"}),
        ({"results": [TAKEN, BUSY]}, {}, {"run_id": "other"}),
        (
            {},
            {"results": [{"item": "b", "signals": [{"name": "unlocked", "ok": False, "why": "by p"}]}]},
            {"resource": "b", "holder": "by p"},
        ),
        ({}, {"results": [{"item": "b", "signals": [{"name": "space", "ok": False, "why": "full"}]}]}, {}),
        ({}, {"results": [{"item": "b", "signals": [{"name": "unlocked", "ok": True, "why": ""}]}]}, {}),
    ],
)
def test_who_holds_it(result: dict[str, Any], fitness: dict[str, Any], who: dict[str, Any]) -> None:
    assert run.busy_of(result, fitness, {"b": ["unlocked"]}) == who


def test_a_failed_loop_says_what_its_first_failed_item_says() -> None:
    assert run.failure_of({"msg": "One or more items failed", "results": [TAKEN, BUSY]}) == "miner-1: held by other"
    assert run.failure_of({"msg": "boom"}) == "boom"


def test_steps_of_what_did_not_come_back_are_red() -> None:
    item = {"id": "s", "title": "t", "phase": "lifecycle"}
    loop = {"results": [{"item": item, "failed": True, "msg": "gone"}, {"item": item, "skipped": True}]}
    assert run.steps_of_loop(loop) == [{**item, "ok": False, "why": "gone", "seconds": 0}]
    assert run.all_ok(loop) is False
    assert run.all_ok({}) is False
    assert run.all_ok({"results": [{"step": {"ok": True}}]}) is True


def test_a_command_that_failed_is_a_red_step_with_its_last_words() -> None:
    (step,) = run.step_of_command({"rc": 1, "stderr_tail": "boom"}, "deploy.command", "t", "deploy")
    assert not step["ok"]
    assert "boom" in step["why"]
    (unreached,) = run.step_of_command({"unreachable": True, "msg": "no route"}, "deploy.command", "t", "deploy")
    assert not unreached["ok"]
    assert run.step_of_command({"skipped": True}, "x", "t", "p") == []


def test_an_archive_is_taken_from_what_the_backup_said() -> None:
    pattern = r"^(?:\[pithead\] )?Backup written to: (?P<path>/\S+)$"
    assert run.backup_path({"stdout_tail": "a\n[pithead] Backup written to: /b/c.tar.gz\nd"}, pattern) == "/b/c.tar.gz"
    with pytest.raises(AnsibleFilterError, match="disk full"):
        run.backup_path({"stdout_tail": "", "stderr_tail": "disk full"}, pattern)


def test_the_live_directory_is_the_one_the_containers_name() -> None:
    asked = {"live_label": {"service": "dashboard"}, "live": "/profile", "checkout": "/e2e"}

    def seen(place: str) -> dict[str, Any]:
        return {"invariant": {"stack": {"services": {"dashboard": {"working_dir": place}}}}}

    assert run.live_dir(seen("/real"), asked) == "/real"
    assert run.live_dir(seen("/e2e"), asked) == "/profile"
    assert run.live_dir({}, asked) == "/profile"


def test_a_keeper_that_holds_a_lease_is_not_exchanged() -> None:
    results = [
        {"item": {"name": "a"}, "sha256": "old", "leases": [{"state": "free"}]},
        {"item": {"name": "b"}, "sha256": "old", "leases": [{"state": "held"}]},
        {"item": {"name": "c"}, "sha256": "new", "watched": True, "leases": []},
        {"item": {"name": "d"}},
        {"item": {"name": "e"}, "sha256": "new", "watched": False, "leases": []},
    ]
    assert run.keeper_missing(results, "new\n") == ["a", "d", "e"]


def test_hosts_with_a_keeper_are_told_by_name() -> None:
    assert run.keeper_there(
        [{"item": {"name": "a"}, "installed": True}, {"item": "b", "installed": True}, {"item": "c"}, DEAD]
    ) == ["a", "b"]


def test_every_leased_host_is_told_how_it_came_back() -> None:
    look = {"schema": 1, "invariant": {"f": {"x": 1}}, "observed": {}, "errors": {}}
    asked = {"hosts": [{"name": "b", "proof": {"ignore": [], "predicates": []}}]}
    done = [{"item": {"name": "m"}, "restored": True, "proven": True, "after": look, "journal": []}, DEAD]
    seen = [{"item": {"name": "b"}, "snapshot": {**look, "invariant": {"f": {"x": 2}}}}]
    files = run.restore_files(asked, done, seen, {"b": look}, run.left_as_is({"m": {}, "miner-0": {}, "forgotten": {}}, []))
    ends = files["work/restore.json"]
    assert {name: end["proven"] for name, end in ends.items()} == {"m": True, "miner-0": False, "b": False, "forgotten": False}
    assert ends["forgotten"]["failures"] == [{"why": "nobody put it back"}]
    assert files["hosts/m/after.json"] == look


def test_only_a_lease_that_was_renewed_is_kept() -> None:
    kept = [
        {"item": {"name": "b"}, "token": 3, "deadline": "2026-01-01T01:00:00+00:00"},
        {"item": {"name": "m"}, "failed": True, "token": 3, "deadline": "x", "msg": "not your lease any more"},
        DEAD,
    ]
    ends = run.left_as_is({"b": {}, "m": {}, "miner-0": {}}, kept)
    assert {name: (end["state"], end.get("deadline")) for name, end in ends.items()} == {
        "b": ("kept", "2026-01-01T01:00:00+00:00"),
        "m": ("unknown", None),
        "miner-0": ("unknown", None),
    }
    assert ends["b"]["failures"] == [{"why": "kept as asked, until 2026-01-01T01:00:00+00:00"}]
    assert ends["m"]["failures"] == [{"why": "could not be kept: not your lease any more"}]


LOCKED = {"item": "bench-0", "rc": 75, "stderr_tail": "a\n[x] another command (pid=7 verb=up since=2026); nothing was changed\n"}


def test_a_program_that_found_its_own_lock_held_names_the_holder() -> None:
    said = "[x] another command (pid=7 verb=up since=2026); nothing was changed"
    assert run.locked([LOCKED, {"item": "m", "rc": 1}, DEAD], 75) == {"bench-0": said}
    assert run.locked([{**LOCKED, "stderr_tail": " "}], 75) == {"bench-0": "somebody who is not recorded"}
    assert run.locked([LOCKED], 0) == {}, "a program without such an exit code"
    assert run.busy_of({"msg": "x"}, {}, {}, [LOCKED], 75) == {"resource": "bench-0", "holder": said}
    assert run.busy_of({"msg": "x"}, {}, {}, [{"item": "bench-0", "rc": 1}], 75) == {}


def test_a_host_whose_logs_were_not_searched_is_not_named() -> None:
    told = {"item": "b", "hits": ["journal: raw"], "gaps": [], "texts": {}}
    assert run.searched([told, DEAD, {"item": "m", "failed": True}]) == {"b": {"hits": ["journal: raw"], "gaps": []}}


def test_worker_names_come_from_the_inventory() -> None:
    hostvars = {"miner-0": {"bench_worker_name": "rig-a"}, "miner-1": {}}
    assert run.worker_names(hostvars, ["miner-0", "miner-1", "gone"]) == {"miner-0": "rig-a"}
