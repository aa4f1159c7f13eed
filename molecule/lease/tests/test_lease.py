"""The host says who holds it, until when, and refuses everybody else; a person at the machine can read it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0", "ssh://miner-1"]


def test_the_run_holds_it(lease: Callable[[], dict[str, Any]], state: dict[str, Any]) -> None:
    held = lease()
    assert held["state"] == "held"
    assert held["holder"]["pid"] == state["holder"]["pid"]
    assert 0 < held["left"] <= 600
    assert held["arming"] == "benchkeeper-sweep.timer and benchkeeper-boot.service"


def test_somebody_else_is_told_who_holds_it(host: Host, state: dict[str, Any]) -> None:
    holder = {"controller_id": "elsewhere", "host": "elsewhere", "user": "nobody", "pid": 1, "start_time": 1}
    wish = {
        "resource": host.backend.get_hostname(),
        "run_id": "20260101T000000Z-000000",
        "nonce": "0" * 32,
        "ttl": 30,
        "holder": holder,
    }
    done = host.run("echo '%s' | sudo keeper call acquire" % json.dumps(wish))  # noqa: UP031 - the JSON is full of braces
    assert done.rc == 75
    assert json.loads(done.stdout)["busy"]["run_id"] == state["run_id"]


def test_the_nonce_is_nowhere_on_the_host(host: Host, state: dict[str, Any]) -> None:
    assert host.run(f"sudo grep -rF {state['nonce']} /var/lib/benchkeeper").rc == 1


def test_a_person_can_read_it(host: Host, state: dict[str, Any]) -> None:
    page = host.check_output("sudo keeper status")
    assert "HELD" in page
    assert state["run_id"] in page
