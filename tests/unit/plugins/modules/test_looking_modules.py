from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.benchkeeper.core.plugins.modules import host_snapshot_info, stack_wait

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[[Any, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(module: Any, args: dict[str, Any]) -> dict[str, Any]:
        with patch_module_args(args), pytest.raises(SystemExit):
            module.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


DISK = {"disk": {"kind": "disk", "path": "/"}}


def signal(value: int) -> dict[str, Any]:
    return {"name": "space", "deadline": 0, "all": [{"probe": "disk", "path": "free_bytes", "op": "ge", "value": value}]}


def test_a_look_changes_nothing_also_in_a_dry_run(run: Run) -> None:
    for dry in (False, True):
        result = run(host_snapshot_info, {"probes": DISK, "host": "bench-0", "_ansible_check_mode": dry})
        assert result["changed"] is False
        assert result["snapshot"]["host"] == "bench-0"
        assert "disk" in result["snapshot"]["observed"]


def test_the_same_text_makes_comparable_fingerprints(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x", "utf-8")
    args = {"probes": {"f": {"kind": "file", "path": f"{tmp_path}/f"}}, "run_id": "r", "host": "h", "key": "some-nonce"}
    prints = {run(host_snapshot_info, args)["snapshot"]["invariant"]["f"]["fp"] for _look in range(2)}
    assert len(prints) == 1


def test_a_lease_that_is_not_there_fails(run: Run) -> None:
    result = run(host_snapshot_info, {"probes": DISK, "lease": {"resource": "no-such", "run_id": "no-such"}})
    assert result["failed"]
    assert "missing" in result["msg"]


def test_a_wait_tells_and_fails_only_when_asked(run: Run) -> None:
    there = run(stack_wait, {"probes": DISK, "signals": [signal(1)]})
    assert (there["ok"], there["changed"]) == (True, False)
    missing = run(stack_wait, {"probes": DISK, "signals": [signal(1), signal(2**70)]})
    assert missing["ok"] is False
    assert "failed" not in missing
    assert [one["ok"] for one in missing["signals"]] == [True, False]
    failed = run(stack_wait, {"probes": DISK, "signals": [signal(2**70)], "fail": True})
    assert failed["failed"]
    assert failed["msg"].startswith("not there: space: disk: free_bytes should be ge")


def test_a_wrong_signal_fails_at_once(run: Run) -> None:
    wrong = {"name": "x", "all": [{"probe": "nope", "op": "exists"}]}
    assert "no probe nope" in run(stack_wait, {"probes": DISK, "signals": [wrong]})["msg"]
