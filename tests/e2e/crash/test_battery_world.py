"""F6, F7: the power is cut, the machine is started anew, or cannot be reached when it has to be put back."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder

from benchkeeper import operations, sshfiles
from tests.e2e.crash.machine import BOUND, PATHS, Machine, wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READER = """
[Unit]
Description=Reads a configuration as early as anything may
DefaultDependencies=no
After=local-fs.target

[Service]
Type=oneshot
ExecStart=/bin/cp {place}/config {place}/seen

[Install]
WantedBy=sysinit.target
"""
UNIT = "crash-reader.service"


@contextlib.contextmanager
def reader(machine: Machine) -> Iterator[None]:
    """A service of the machine that reads the file at each boot."""
    machine.write(f"/etc/systemd/system/{UNIT}", READER.format(place=machine.place))
    machine.sh(f"systemctl enable -q {UNIT}")
    try:
        yield
    finally:
        machine.sh(f"systemctl disable -q {UNIT}; rm /etc/systemd/system/{UNIT}; systemctl daemon-reload")


@pytest.mark.case(
    "F6",
    tier="machine",
    oracle="after a power cut, or a reboot, the file is back before the service that reads it starts; then it is proven and free",
)
@pytest.mark.parametrize(
    ("name", "blow"), [("miner-1", ("kill", "start")), ("miner-1", ("reboot",)), ("bench-0", ("kill", "start"))]
)
def test_a_machine_that_is_started_anew_while_it_is_borrowed(
    machine: Callable[[str], Machine], name: str, blow: tuple[str, ...]
) -> None:
    one = machine(name)
    path = f"{one.place}/config"
    one.write(path, "theirs\n")
    healthy = "docker ps --format '{{.Names}} {{.Status}}' | grep '(healthy)' | cut -d' ' -f1 | sort"
    before = one.sh(healthy)
    with reader(one):
        loan = one.lend(ttl=600)
        loan.looking_at(path)
        loan.does("file", "mine", path=path, content="ours\n", unit=UNIT)
        one.sh(f"cp {path} {one.place}/seen; sync")
        assert one.read(f"{one.place}/seen") == "ours"
        for action in blow:
            operations.operate(PATHS, name, action)
        assert one.read(f"{one.place}/seen") == "theirs"
        assert one.read(path) == "theirs"
        one.until_state("free", 60)
        loan.is_refused(path)
    one.sh(f"rm {one.place}/seen")
    assert one.names() == ["./config"]
    loan.is_over()
    one.until("what was up is up again", lambda: one.sh(healthy) == before, 180)


def on_host(name: str, script: str) -> None:
    """Do something on a machine by the engine, whatever SSH says."""
    document = json.loads(PATHS.machines.read_text(encoding="utf-8"))
    container = document["machines"][name]["container"]
    subprocess.run(["docker", "exec", container, "sh", "-euc", script], check=True, timeout=60, capture_output=True)


@contextlib.contextmanager
def no_cable(name: str) -> Iterator[None]:
    operations.operate(PATHS, name, "cut")
    try:
        yield
    finally:
        operations.operate(PATHS, name, "heal")


@contextlib.contextmanager
def firewall(name: str) -> Iterator[None]:
    on_host(name, "iptables -I INPUT -p tcp --dport 22 -j DROP")
    sshfiles.forget_connection(PATHS, name)
    try:
        yield
    finally:
        on_host(name, "iptables -D INPUT -p tcp --dport 22 -j DROP")


@contextlib.contextmanager
def another_key(name: str) -> Iterator[None]:
    known = PATHS.ssh / "known_hosts"
    before = known.read_text(encoding="utf-8")
    keys = dict(line.split(" ", 1) for line in before.splitlines())
    sshfiles.replace(known, "".join(f"{host} {keys['pool-0' if host == name else host]}\n" for host in keys))
    sshfiles.forget_connection(PATHS, name)
    try:
        yield
    finally:
        sshfiles.replace(known, before)


FAULTS = {"no cable": no_cable, "a firewall": firewall, "another host key": another_key}


@pytest.mark.case(
    "F7",
    tier="machine",
    oracle="a machine that cannot be reached is named and stays lent, exit 4; the other one is back; nobody gets it "
    "before it is back",
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_machine_that_cannot_be_reached_when_it_is_put_back(bench: Any, machine: Callable[[str], Machine], fault: str) -> None:
    dead = subprocess.Popen(["sleep", "600"])
    holder = _keeper_holder.describe(dead.pid)
    dead.kill()
    dead.wait()
    here, there = machine("miner-0"), machine("miner-1")
    loans = {}
    for one in (here, there):
        one.write(f"{one.place}/config", "theirs\n")
        loans[one.name] = one.lend(ttl=600, holder=holder)
        loans[one.name].looking_at(f"{one.place}/config")
        loans[one.name].does("file", "mine", path=f"{one.place}/config", content="ours\n")
    words = ("recover", "--host", "miner-0", "--host", "miner-1")
    with FAULTS[fault](there.name):
        done = bench.run(*words, timeout=180)
        said = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("miner-")}
        assert done.returncode == 4
        assert "restored and proven" in said["miner-0"]
        assert "not reached" in said["miner-1"]
        assert here.read(f"{here.place}/config") == "theirs"
        loans[here.name].is_over()
    there.until("it answers", lambda: there.run("true").returncode == 0, 60)
    assert there.status()["state"] == "held"
    assert there.read(f"{there.place}/config") == "ours"
    refused = there.ask("acquire", **wish("miner-1"))
    assert refused["code"] == 75
    assert str(os.uname().nodename) in refused["error"]["message"]
    again = bench.run(*words, timeout=180)
    assert again.returncode == 0
    assert there.read(f"{there.place}/config") == "theirs"
    loans[there.name].is_over()


@pytest.mark.case(
    "F7",
    tier="machine",
    oracle="cut off for longer than its lease lives, a machine puts itself back, and is free when it is reached again",
)
def test_a_machine_that_is_cut_off_puts_itself_back(miner: Machine) -> None:
    path = f"{miner.place}/config"
    miner.write(path, "theirs\n")
    loan = miner.lend()
    loan.looking_at(path)
    loan.does("file", "mine", path=path, content="ours\n")
    miner.must("renew", fence=loan.fence, ttl=5)
    with no_cable(miner.name):
        on_host(miner.name, "for turn in $(seq 300); do grep -q theirs " + path + " && exit 0; sleep 0.1; done; exit 1")
    miner.until_state("free", BOUND)
    loan.is_refused(path)
    assert miner.read(path) == "theirs"
    loan.is_over()
