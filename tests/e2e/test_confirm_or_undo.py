"""Confirm or undo, on a miner that nobody borrows: a playbook locks itself out, and the host gives itself back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench

HOST = "miner-1"
SECONDS = 20
LOOK = "sudo cat /etc/ssh/sshd_config.d/50-confirm.conf 2>/dev/null; sudo iptables -S INPUT; ss -ltnH | awk '{print $4}' | sort"


class Example:
    """The example, played as a person does; the machine itself is reached by the engine, whatever SSH says."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        assert bench.run("up").returncode == 0
        self.container = next(one["container"] for one in bench.status()["machines"] if one["name"] == HOST)
        self.ansible("playbooks/keeper.yml", json.dumps({"targets": [HOST]}))

    def ansible(self, playbook: str, *extra: str) -> subprocess.CompletedProcess[str]:
        words = [word for one in extra for word in ("-e", one)]
        program = str(Path(sys.executable).parent / "ansible-playbook")
        done = subprocess.run(
            [program, playbook, *words], cwd=self.bench.root, check=False, capture_output=True, text=True, timeout=300
        )
        print(done.stdout, done.stderr)
        return done

    def on_host(self, command: str) -> str:
        argv = ["docker", "exec", self.container, "sh", "-c", command]
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60).stdout

    def lease(self) -> dict[str, Any]:
        found = json.loads(self.on_host("keeper status --json"))["leases"]
        return next((one for one in found if one["resource"] == HOST), {"state": "free"})

    def wait_free(self, seconds: float) -> float:
        begun = time.monotonic()
        while self.lease()["state"] != "free":
            assert time.monotonic() - begun < seconds, self.on_host("keeper status")
        return time.monotonic() - begun


@pytest.fixture
def example(bench: Bench) -> Iterator[Example]:
    found = Example(bench)
    yield found
    found.on_host("rm -f /etc/ssh/sshd_config.d/50-confirm.conf; iptables -F INPUT; systemctl reload ssh")


def test_who_locks_himself_out_is_let_in_again(example: Example) -> None:
    before = example.on_host(LOOK)
    done = example.ansible("playbooks/examples/confirm_or_undo.yml", f"target={HOST}", f"seconds={SECONDS}")
    assert done.returncode == 2
    assert "not confirmed" in done.stdout
    if example.lease()["state"] != "free":
        assert "2222" in example.on_host(LOOK)
    example.wait_free(SECONDS + 30)
    assert example.on_host(LOOK) == before
    assert "restored" in example.on_host("journalctl -q -u benchkeeper-restore --since -3min")
    assert example.bench.ssh(HOST, "hostname").strip() == HOST


def test_what_is_confirmed_over_the_new_way_stays(example: Example) -> None:
    done = example.ansible("playbooks/examples/confirm_or_undo.yml", f"target={HOST}", f"seconds={SECONDS}", "confirm_port=2222")
    assert done.returncode == 0
    assert example.lease()["state"] == "free"
    assert "2222" in example.on_host(LOOK)
    assert example.on_host("find /etc/ssh -name '*.bk-*'") == ""


def test_a_keeper_that_is_taken_away_leaves_the_tokens_only(example: Example) -> None:
    tokens = example.on_host("cat /var/lib/benchkeeper/tokens/* | sha256sum")
    gone = example.ansible("playbooks/keeper.yml", "state=absent", json.dumps({"targets": [HOST]}))
    assert gone.returncode == 0
    # What role baseline remembers is the embedded bench's own, not the keeper's.
    names = "-name '*benchkeeper*' ! -name benchkeeper-baseline"
    look = f"find /etc /usr/local /run /var/lib -path /var/lib/docker -prune -o {names} -print"
    assert example.on_host(look).split() == ["/var/lib/benchkeeper"]
    assert example.on_host("ls /var/lib/benchkeeper").split() == ["tokens"]
    assert example.ansible("playbooks/keeper.yml", json.dumps({"targets": [HOST]})).returncode == 0
    assert example.on_host("cat /var/lib/benchkeeper/tokens/* | sha256sum") == tokens
    assert example.on_host("systemctl is-active benchkeeper-sweep.timer").strip() == "active"
