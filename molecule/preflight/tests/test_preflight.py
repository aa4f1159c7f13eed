"""The run knows which directory drives the stack, from the containers themselves; nothing is held by anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


def test_the_live_directory_is_what_the_containers_say(host: Host, context: dict[str, Any]) -> None:
    label = '{{ index .Config.Labels "com.docker.compose.project.working_dir" }}'
    assert context["live"] == host.check_output(f"docker inspect --format '{label}' dashboard")


def test_it_takes_nothing(lease: Callable[[], dict[str, Any]]) -> None:
    assert lease() == {}
