"""The archive is there, holds the secrets, and is known to the keeper, which will remove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


def test_the_archive_holds_what_it_must(host: Host) -> None:
    names = host.check_output("sudo sh -c 'cd /srv/code/pithead/backups && ls -t'").splitlines()
    listed = host.check_output(f"sudo tar -tzf /srv/code/pithead/backups/{names[0]}").split()
    assert {"config.json", ".env"} <= {name.rpartition("/")[2] for name in listed}


def test_the_keeper_knows_it(host: Host, lease: Callable[[], dict[str, Any]]) -> None:
    kinds = {item["item"]: item["kind"] for item in lease()["items"]}
    assert kinds["backup.archive"] == "created"
    assert kinds["backup"] in ("command", "engine")


def test_the_stack_runs_again(host: Host) -> None:
    states = host.check_output("docker ps -a --format '{{.State}}'").split()
    assert set(states) == {"running"}
