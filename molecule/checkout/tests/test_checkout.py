"""The branch stands beside the live directory, belongs to the run, and has the live secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


LIVE, MADE = "/srv/code/pithead", "/srv/code/pithead-e2e"


def test_it_is_the_commit(host: Host, context: dict[str, Any]) -> None:
    assert host.check_output(f"git -C {MADE} rev-parse HEAD") == context["commit"]


def test_it_belongs_to_the_run(host: Host, state: dict[str, Any]) -> None:
    assert json.loads(host.check_output(f"sudo cat {MADE}/.benchkeeper.json"))["run"] == state["run_id"]
    assert host.file(MADE).user == "ops"


def test_the_secrets_are_those_of_the_live_directory(host: Host) -> None:
    assert host.check_output(f"cat {MADE}/.env") == host.check_output(f"cat {LIVE}/.env")
    assert oct(host.file(f"{MADE}/.env").mode) == "0o600"


def test_the_configuration_is_that_of_the_live_directory_but_for_the_canary(host: Host, state: dict[str, Any]) -> None:
    live, made = (json.loads(host.check_output(f"cat {place}/config.json")) for place in (LIVE, MADE))
    assert made["notifications"]["ntfy"]["token"] == state["canary"]
    made["notifications"]["ntfy"]["token"] = live.get("notifications", {}).get("ntfy", {}).get("token")
    assert {key: value for key, value in made.items() if key != "notifications"} == {
        key: value for key, value in live.items() if key != "notifications"
    }


def test_the_live_directory_is_as_it_was(host: Host) -> None:
    assert host.check_output(f"git -C {LIVE} status --porcelain") == ""
