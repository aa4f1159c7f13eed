"""A machine is reached, and stands, as a live host does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0", "ssh://miner-0", "ssh://miner-1", "ssh://pool-0"]


def test_systemd_runs_it(host: Host) -> None:
    assert host.check_output("cat /proc/1/comm") == "systemd"
    assert host.run("systemctl is-system-running --wait").stdout.strip() in ("running", "degraded")


def test_ops_logs_in_with_a_key_and_becomes_root_without_a_password(host: Host) -> None:
    assert host.check_output("id -un") == "ops"
    assert host.check_output("sudo -n id -u") == "0"


def test_nobody_else_logs_in(host: Host) -> None:
    sshd = host.check_output("sudo sshd -T")
    assert {"permitrootlogin no", "passwordauthentication no", "allowusers ops"} <= set(sshd.splitlines())


def test_it_is_called_as_the_inventory_calls_it(host: Host) -> None:
    assert host.check_output("hostname") == host.backend.get_hostname()


def test_it_has_an_engine_of_its_own(host: Host) -> None:
    assert host.check_output("docker info --format '{{.Name}}'") == host.backend.get_hostname()


def test_its_address_is_on_no_network_of_its_own_engine(host: Host) -> None:
    assert host.check_output("ip -4 -o addr show eth0").split()[3].startswith("10.2")
    assert host.check_output("ip -4 -o addr show docker0").split()[3] == "10.200.0.1/24"
