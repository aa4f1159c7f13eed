from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from benchkeeper import leases, machines, status
from benchkeeper.errors import BusyError
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    from pathlib import Path

SEEN = machines.Seen("miner-0", "bk-0a1b2c-miner-0", "ff", "running", "10.220.9.11", "image:1", "c", attached=True)
HELD = leases.Lease("miner-0", "miner-0", "me@here pid 7", "20260131T120000Z-0a1b2c", "held", "2026-01-31T13:00:00Z")


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(status, "connect", lambda _: object())
    monkeypatch.setattr(machines, "look", lambda *_: {"miner-0": SEEN})
    monkeypatch.setattr(leases, "ask_all", lambda *_: [HELD])
    paths = Paths(tmp_path)
    paths.ssh.mkdir(parents=True)
    paths.ssh_config.write_text("", encoding="utf-8")
    run = paths.results / "20260131T120000Z-0a1b2c"
    run.mkdir(parents=True)
    (run / "result.json").write_text('{"run_id": "20260131T120000Z-0a1b2c", "verdict": "good", "exit_code": 0}', encoding="utf-8")
    (paths.results / "latest").symlink_to(run.name)
    return status.gather(paths)


def keys(value: object, prefix: str = "") -> set[str]:
    """Return every path of keys in a document, list items as []."""
    if isinstance(value, dict):
        return {path for key, inner in value.items() for path in ({f"{prefix}{key}"} | keys(inner, f"{prefix}{key}."))}
    if isinstance(value, list):
        return {path for inner in value for path in keys(inner, f"{prefix[:-1]}[].")}
    return set()


def test_the_documented_keys_are_the_printed_keys(document: dict[str, object]) -> None:
    page = (checkout().root / "docs" / "reference" / "status.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z_.\[\]]+)` \|", page, flags=re.MULTILINE))
    assert documented == keys(document)
    json.dumps(document)


def test_values(document: dict[str, object], tmp_path: Path) -> None:
    run = "20260131T120000Z-0a1b2c"
    assert document["schema"] == 1
    assert document["last_run"] == {"id": run, "verdict": "good", "path": str(tmp_path / "results" / run), "exit_code": 0}


def test_no_run_and_a_run_without_result(tmp_path: Path) -> None:
    assert status.last_run(tmp_path) is None
    (tmp_path / "r1").mkdir()
    (tmp_path / "latest").symlink_to("r1")
    found = status.last_run(tmp_path)
    assert found is not None
    assert (found["id"], found["verdict"]) == ("r1", None)
    (tmp_path / "r1" / "result.json").write_text("{", encoding="utf-8")
    found = status.last_run(tmp_path)
    assert found is not None
    assert found["verdict"] == "unreadable"


def test_a_held_machine_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ask_all", lambda *_: [HELD])
    with pytest.raises(BusyError, match=r"miner-0 is held by me@here pid 7 \(run 20260131T120000Z-0a1b2c\)"):
        leases.refuse_when_held(Paths(tmp_path), ["miner-0"], "not removed")
