"""Everything is back, byte for byte, and proven; what was done is written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

testinfra_hosts = ["ssh://miner-1"]


def test_what_was_made_is_gone(host: Host) -> None:
    assert not host.file("/opt/molecule-restore").exists


def test_what_was_changed_is_as_it_was(host: Host) -> None:
    motd = host.file("/etc/motd")
    assert "Lent." not in motd.content_string
    assert (motd.user, oct(motd.mode)) == ("root", "0o644")
    assert host.service("xmrig.service").is_running


def test_it_is_free(lease: Callable[[], dict[str, Any]]) -> None:
    assert lease() == {}


def test_how_it_came_back_is_written_down(results: Path) -> None:
    end = json.loads((results / "work" / "restore.json").read_text(encoding="utf-8"))["miner-1"]
    assert (end["restored"], end["proven"], end["failures"]) == (True, True, [])
    assert {item["item"]: item["verdict"] for item in end["items"]} == {
        "directory": "PUT_BACK",
        "message": "PUT_BACK",
        "unit": "PUT_BACK",
    }


def test_the_looks_and_the_journal_are_kept(results: Path) -> None:
    assert {path.name for path in (results / "hosts" / "miner-1").iterdir()} >= {"after.json", "journal.json"}
