"""After a scenario gave back what it took: nothing of its run is on any host, and the hosts do again what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0", "ssh://miner-1"]


def test_no_lease_is_left(lease: Callable[[], dict[str, Any]]) -> None:
    assert lease() == {}


def test_nothing_that_was_made_or_staged_is_left(host: Host, state: dict[str, Any]) -> None:
    run = state["run_id"]
    assert host.check_output(f"sudo grep -rlsF --include=.benchkeeper.json {run} /srv/code /opt /run || true") == ""
    assert host.check_output(f"sudo find /srv /opt /etc -xdev -name '*{run}*'") == ""


def test_no_secret_of_the_run_is_left(host: Host, state: dict[str, Any]) -> None:
    assert host.check_output(f"sudo find /var/lib/benchkeeper/runs/{state['run_id']} -name key 2>/dev/null || true") == ""


def test_the_bench_runs_its_baseline(host: Host, state: dict[str, Any]) -> None:
    label = '{{.Label "com.docker.compose.project.working_dir"}}'
    assert set(host.check_output(f"sudo docker ps -a --format '{label}'").split()) <= {"/srv/code/pithead"}
    assert state["run_id"] not in host.check_output("sudo docker images --format '{{.Repository}}:{{.Tag}}'")
