from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

POOLS = {"pools": [{"url": "pool-0:3333", "user": "w", "pass": "secret-pass"}], "cpu": {"threads": 1}}


@pytest.fixture
def config(bench: Any) -> Path:
    path = Path(bench.root) / "config.json"
    path.write_text(json.dumps(POOLS, indent=4))
    path.chmod(0o600)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


REPOINT = {
    "json": [
        {
            "op": "first_in_list",
            "list": "pools",
            "match": {"rig-id": "bk"},
            "url_host": "bench-0",
            "set": {"url": "bench-0:3333"},
            "tag": {"rig-id": "bk"},
        }
    ]
}


def test_a_file_comes_back_with_bytes_mode_owner_and_time(bench: Any, config: Path) -> None:
    before = (config.read_bytes(), config.stat())
    bench.acquire()
    bench.call("snapshot", fence=bench.fence, probes={"config": {"kind": "file", "path": str(config)}}, proof={})
    answer = bench.guarded("file", "repoint", path=str(config), edit=REPOINT, canonical=["pools"])
    assert answer["changed"]
    assert json.loads(config.read_text())["pools"][0]["url"] == "bench-0:3333"
    assert config.stat().st_mode == before[1].st_mode
    assert "secret-pass" not in json.dumps(answer)

    again = bench.guarded("file", "repoint", path=str(config), edit=REPOINT, canonical=["pools"])
    assert (again["changed"], again["already"]) == (False, True)

    done = bench.call("restore", resource="miner-0", fence=bench.fence)
    assert [one["verdict"] for one in done["items"]] == ["PUT_BACK"]
    assert config.read_bytes() == before[0]
    after = config.stat()
    assert (after.st_mode, after.st_uid, after.st_gid, after.st_mtime) == (
        before[1].st_mode,
        before[1].st_uid,
        before[1].st_gid,
        before[1].st_mtime,
    )
    proof = bench.call("prove", resource="miner-0")
    assert proof["proven"]
    assert bench.lease().state == "free"
    assert [one.name for one in Path(bench.root).iterdir()] == ["state", "config.json"] or sorted(
        one.name for one in Path(bench.root).iterdir()
    ) == ["config.json", "state"]
    assert bench.call("recover", resource="miner-0")["nothing_to_do"]


def test_who_sets_a_restore_off_and_asks_again_is_told_how_it_came_out(bench: Any, config: Path) -> None:
    bench.acquire()
    bench.call("snapshot", fence=bench.fence, probes={"config": {"kind": "file", "path": str(config)}}, proof={})
    bench.guarded("file", "repoint", path=str(config), edit=REPOINT)
    bench.triggers.asleep = True
    asked = {"resource": "miner-0", "run_id": "run-1", "nonce": bench.fence["nonce"]}
    code, answer = bench.try_call("recover", **asked, begin=True)
    begun = answer["resources"]["miner-0"]
    assert (code, begun["begun"], begun["state"], begun["proven"]) == (4, True, "restoring", False)
    bench.triggers.asleep = False
    bench.triggers.start()
    told = bench.call("recover", **asked)["resources"]["miner-0"]
    assert (told["proven"], told["nothing_to_do"], told["state"]) == (True, True, "free")
    assert [one["verdict"] for one in told["items"]] == ["PUT_BACK"]
    assert told["after"] is not None
    assert bench.call("recover", **asked, begin=True)["resources"]["miner-0"]["nothing_to_do"]


def test_a_third_partys_change_is_kept_and_so_is_the_original(bench: Any, config: Path) -> None:
    original = config.read_bytes()
    bench.acquire()
    bench.guarded("file", "repoint", path=str(config), edit=REPOINT)
    config.write_text('{"pools": [{"url": "elsewhere:1"}]}')
    code, answer = bench.try_call("restore", resource="miner-0", fence=bench.fence)
    assert code == 4
    assert answer["items"][0]["verdict"] == "CONFLICT"
    assert config.read_text() == '{"pools": [{"url": "elsewhere:1"}]}'
    staged = next(one for one in Path(bench.root).iterdir() if one.name.startswith(".config.json.bk-"))
    assert staged.read_bytes() == original
    assert bench.lease().state == "unproven"
    code, answer = bench.try_call("acquire", resource="miner-0", run_id="run-2", nonce="f" * 32, holder={"controller_id": "x"})
    assert code == 75
    assert "quarantine" in answer["error"]["message"]
    settled = bench.call("settle", resource="miner-0", item="repoint", keep="original", reason="it was me")
    assert settled["proven"]
    assert config.read_bytes() == original
    assert bench.lease().state == "free"


def test_a_command_runs_in_its_unit_and_is_undone(bench: Any, me: str) -> None:
    bench.acquire()
    target = Path(bench.root) / "made"
    answer = bench.guarded(
        "command",
        "make",
        argv=["sh", "-c", f"echo hello; pwd; id -un >&2; touch {target}; exit 3"],
        cwd="/",
        user=me,
        timeout=10,
        undo={"argv": ["rm", "-f", str(target)], "cwd": "/", "user": me, "timeout": 10},
    )
    assert answer["rc"] == 3
    assert answer["stdout_tail"] == "hello\n/\n"
    assert answer["stderr_tail"] == me + "\n"
    assert answer["unit"] == "bk-miner-0-1-2.service"
    assert target.exists()
    done = bench.call("recover", resource="miner-0", nonce="0123456789abcdef0123456789abcdef")
    assert done["proven"]
    assert not target.exists()
    assert bench.units.stopped == ["miner-0"]
