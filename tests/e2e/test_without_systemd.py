"""A host without systemd: a table of cron is all that brings it back, by its minute and at a boot."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from benchkeeper import engine as engines
from benchkeeper import images, keeper_program, labels, machines, spec
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent / "without_systemd"
HOST = "cron-0"
SWEEP = 60.0  # seconds until a minute's line of cron is due at the latest
RESTORE = 15.0  # and for one restore, the start of a program included


class Machine:
    """A container in which cron and sshd run, with the keeper that its playbook brought."""

    def __init__(self, place: Path) -> None:
        self.paths = checkout()
        self.paths.make_work()
        keeper_program.ensure(self.paths)
        self.engine = engines.ensure(install=True)
        self.name = f"bk-{self.paths.checkout_id}-{HOST}"
        self.remove()
        self.key = place / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.container = self._make()
        self.inventory = place / "hosts.yml"
        self.start()

    def _image(self) -> str:
        stack = self.paths.stack_names()[0]
        wanted = images.recipes(self.paths, stack, list(spec.needs(self.paths, stack).packages))
        tags = images.ensure(self.engine, self.paths, {"machine": wanted["machine"]}, install=True)
        recipe = images.Recipe("machine-cron", HERE, labels.BENCH, {"MACHINE": tags["machine"]})
        return images.ensure(self.engine, self.paths, {"cron": recipe}, install=True)["cron"]

    def _make(self) -> Any:
        container = self.engine.client.containers.create(
            self._image(),
            name=self.name,
            hostname=HOST,
            privileged=True,  # as the bench's machines are: cron's sessions ask for more than a container may
            # In memory as everywhere: what cron remembers of a boot must not outlive it.
            tmpfs={"/run": "rw,nosuid,nodev,mode=755"},
            labels=labels.triple(self.paths.checkout_id) | {labels.MACHINE: HOST},
        )
        public = self.key.with_suffix(".pub").read_bytes()
        container.put_archive("/", machines.pack({"home/ops/.ssh/authorized_keys": (public, 0o600, 1000)}))
        return container

    def start(self) -> None:
        """Switch it on, and write down where it is: its address may be another one than before."""
        self.container.start()
        self.container.reload()
        address = next(iter(self.container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"]
        words = f"-F none -i {self.key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        host = {
            "ansible_host": address,
            "ansible_user": "ops",
            "ansible_ssh_common_args": words,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        known = {"hosts": {HOST: host, "localhost": here}, "vars": {"bench_keeper": str(self.paths.work / "keeper")}}
        self.inventory.write_text(json.dumps({"all": known}), encoding="utf-8")
        end = time.monotonic() + 30
        while self.run("ss -ltnH 'sport = :22'") == "":
            assert time.monotonic() < end, "sshd does not listen"
            time.sleep(0.1)

    def run(self, command: str) -> str:
        return str(self.container.exec_run(["sh", "-c", command]).output.decode())

    def play(self, playbook: str, **values: Any) -> None:
        program = str(Path(sys.executable).parent / "ansible-playbook")
        words = [program, "-i", str(self.inventory), playbook, "-e", json.dumps(values)]
        done = subprocess.run(words, cwd=self.paths.root, check=False, capture_output=True, text=True, timeout=300)
        print(done.stdout, done.stderr)
        assert done.returncode == 0, done.stdout

    def lend(self, run_id: str, **values: Any) -> None:
        self.play(str(HERE / "lend.yml"), run_id=run_id, nonce=secrets.token_hex(16), **values)

    def lease(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("keeper status --json"))["leases"][0]
        return found

    def back_within(self, seconds: float, original: str) -> float:
        """Wait until the file is as it was; return how long that took."""
        begun = time.monotonic()
        while self.run("cat /etc/motd") != original:
            assert time.monotonic() - begun < seconds, self.run("keeper status")
            time.sleep(0.2)
        return round(time.monotonic() - begun, 1)

    def free_within(self, seconds: float, run_id: str, why: str) -> None:
        """Wait until the proof is done; see who set the restore off."""
        begun = time.monotonic()
        while self.lease()["state"] != "free":
            assert time.monotonic() - begun < seconds, self.run("keeper status")
            time.sleep(0.2)
        assert (self.lease()["run_id"], self.lease()["proof"]["proven"]) == (run_id, True)
        assert self.lease()["restored"]["why"] == why

    def remove(self) -> None:
        try:
            found = self.engine.client.containers.get(self.name)
        except docker.errors.NotFound:
            return
        machines.remove_container(self.engine.client, self.paths.checkout_id, str(found.id))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("cron"))
    try:
        made.play("playbooks/keeper.yml", targets=[HOST])
        yield made
    finally:
        made.remove()


def test_the_keeper_is_installed_as_a_table_of_cron(machine: Machine) -> None:
    assert machine.run("cat /proc/1/comm").strip() == "cron"
    assert "@reboot root /usr/local/lib/benchkeeper/keeper boot" in machine.run("cat /etc/cron.d/benchkeeper")
    assert machine.run("find /etc/systemd -name '*benchkeeper*'") == ""


def test_a_run_that_died_is_put_back_by_the_minute(machine: Machine) -> None:
    original = machine.run("cat /etc/motd")
    machine.lend("forgotten", ttl=5, hold=False)
    if machine.run("cat /etc/motd") == "Lent.\n":  # the sweep may have been faster than the end of the playbook
        assert machine.lease()["arming"] == "/etc/cron.d/benchkeeper"
    print("restored after", machine.back_within(5 + SWEEP + RESTORE, original), "s")
    machine.free_within(RESTORE, "forgotten", "its time ran out")


def test_a_run_whose_connection_ended_is_put_back(machine: Machine) -> None:
    original = machine.run("cat /etc/motd")
    machine.lend("cut", ttl=600, hold=True)  # its playbook has ended by now: nobody holds it
    print("restored after", machine.back_within(10 + SWEEP + RESTORE, original), "s")
    machine.free_within(RESTORE, "cut", "its holder has been gone for 10 s")


def test_at_a_boot_the_file_is_back_before_the_first_minute(machine: Machine) -> None:
    original = machine.run("cat /etc/motd")
    machine.lend("rebooted", ttl=600, hold=False)
    assert machine.run("cat /etc/motd") == "Lent.\n"
    machine.container.kill()
    machine.start()
    # By the line for boots, not by the one for minutes: the lease is not yet free, which only the latter can do.
    print("restored after", machine.back_within(RESTORE, original), "s")
    machine.free_within(SWEEP + RESTORE, "rebooted", "the machine was started anew under it")


def test_a_keeper_that_is_taken_away_leaves_no_table(machine: Machine) -> None:
    machine.play("playbooks/keeper.yml", targets=[HOST], state="absent")
    assert machine.run("find /etc /usr/local /run -name '*benchkeeper*'") == ""
    assert machine.run("ls /var/lib/benchkeeper").split() == ["tokens"]
    machine.play("playbooks/keeper.yml", targets=[HOST])
    assert machine.run("ls /etc/cron.d/benchkeeper").strip() == "/etc/cron.d/benchkeeper"
