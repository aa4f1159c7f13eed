"""The keeper is there, belongs to root, answers programs and people, and nobody else may ask it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["ssh://miner-1"]


def test_the_program_belongs_to_root(host: Host) -> None:
    program = host.file("/usr/local/lib/benchkeeper/keeper")
    assert (program.user, program.group, oct(program.mode)) == ("root", "root", "0o755")


def test_it_answers(host: Host) -> None:
    status = json.loads(host.check_output("sudo keeper status --json"))
    assert status["version"] == host.check_output("sudo keeper version").split()[1]
    assert isinstance(status["leases"], list)


def test_it_wants_root(host: Host) -> None:
    done = host.run("/usr/local/sbin/keeper status")
    assert done.rc == 2
    assert "sudo" in done.stderr


def test_a_verb_that_does_not_exist_is_refused(host: Host) -> None:
    done = host.run("echo '{}' | sudo keeper call nothing")
    assert done.rc == 2
    assert json.loads(done.stdout)["error"]["kind"] == "usage"
