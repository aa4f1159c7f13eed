"""What is the run's is gone; what anybody else made stands as it stood."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


def planted(host: Host, kind: str, field: str) -> set[str]:
    words = host.check_output(f"sudo docker {kind} --format '{{{{.{field}}}}}'").split()
    return {word for word in words if word.startswith("bk-reap-")}


def test_only_the_runs_containers_are_gone(host: Host) -> None:
    assert planted(host, "ps --all", "Names") == {"bk-reap-theirs-one-label", "bk-reap-theirs-product", "bk-reap-theirs-run"}


def test_strangers_still_run(host: Host) -> None:
    assert planted(host, "ps", "Names") == {"bk-reap-theirs-one-label", "bk-reap-theirs-product", "bk-reap-theirs-run"}


def test_only_the_runs_network_and_volume_are_gone(host: Host) -> None:
    assert planted(host, "network ls", "Name") == set()
    assert planted(host, "volume ls", "Name") == {"bk-reap-theirs-vol"}


def test_only_the_runs_directory_is_gone(host: Host) -> None:
    found = host.check_output("sudo find /var/tmp -maxdepth 1 -name 'benchkeeper-*' -printf '%f '").split()
    assert found == ["benchkeeper-20260131T120000Z-ffffff-00112233445566778899aabbccddeeff"]


def test_the_baseline_is_untouched(host: Host) -> None:
    names = host.check_output("sudo docker ps --format '{{.Label \"com.docker.compose.project\"}}'").split()
    assert "pithead" in names
