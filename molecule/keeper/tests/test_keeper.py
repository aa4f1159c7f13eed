"""The keeper is there, belongs to root, and answers."""

from __future__ import annotations

import json

testinfra_hosts = ["ssh://miner-0"]


def test_the_program_belongs_to_root(host) -> None:  # type: ignore[no-untyped-def]
    program = host.file("/usr/local/lib/benchkeeper/keeper")
    assert (program.user, program.group, oct(program.mode)) == ("root", "root", "0o755")


def test_it_answers(host) -> None:  # type: ignore[no-untyped-def]
    status = json.loads(host.check_output("sudo keeper status --json"))
    assert status["leases"] == []
