"""Nobody came back for the lease: the host's own sweep put the file back, proved it, and watches for late writes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["ssh://miner-1"]
LIMIT = 30.0  # seconds: the lease, a round of the sweep, one restore


@pytest.fixture
def end(host: Host) -> dict[str, Any]:
    """How the lease ended, waited for."""
    deadline = time.monotonic() + LIMIT
    while True:
        leases = json.loads(host.check_output("sudo keeper status --json"))["leases"]
        found: dict[str, Any] = next(one for one in leases if one["resource"] == "miner-1")
        if found["state"] == "free":
            return found
        assert time.monotonic() < deadline, host.check_output("sudo keeper status")
        time.sleep(0.5)


def test_the_sweep_put_it_back(host: Host, end: dict[str, Any]) -> None:
    assert end["run_id"].endswith("-forgotten")
    assert end["restored"]["why"] == "its time ran out"
    assert end["proof"]["proven"]
    assert {item["item"]: item["state"] for item in end["items"]} == {"message": "put back"}
    assert "Lent." not in host.file("/etc/motd").content_string


def test_a_person_can_read_why(host: Host, end: dict[str, Any]) -> None:
    page = host.check_output("sudo keeper status")
    assert f"last run {end['run_id']}; everything was put back and proven" in page
    assert "restored because its time ran out" in page


def test_it_was_the_machines_own_restore(host: Host) -> None:
    assert "restored" in host.check_output("sudo journalctl -q -u benchkeeper-restore --since -2min")


def test_the_watch_for_late_writes_ends(host: Host, end: dict[str, Any]) -> None:
    key = f"/var/lib/benchkeeper/runs/{end['run_id']}/miner-1/key"
    deadline = time.monotonic() + LIMIT
    while host.run(f"sudo test -e {key}").rc == 0:
        assert time.monotonic() < deadline, host.check_output("sudo keeper status")
        time.sleep(0.5)
    assert "late writes" not in host.check_output("sudo keeper status")
