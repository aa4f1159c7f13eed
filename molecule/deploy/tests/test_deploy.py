"""What runs is the branch, from its checkout, and the way back is in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


def inspect(host: Host, name: str, template: str) -> str:
    return str(host.check_output(f"docker inspect --format '{template}' {name}"))


def test_the_checkout_drives_the_stack(host: Host) -> None:
    label = '{{ index .Config.Labels "com.docker.compose.project.working_dir" }}'
    assert inspect(host, "dashboard", label) == "/srv/code/pithead-e2e"


def test_the_running_image_is_of_the_commit(host: Host, context: dict[str, Any]) -> None:
    image = inspect(host, "dashboard", "{{.Image}}")
    assert inspect(host, image, '{{ index .Config.Labels "org.opencontainers.image.revision" }}') == context["commit"]


def test_the_branch_works(host: Host) -> None:
    assert host.run("cd /srv/code/pithead-e2e && ./pithead status").rc == 0


def test_the_baseline_can_come_back(host: Host, lease: Callable[[], dict[str, Any]], state: dict[str, Any]) -> None:
    assert "deploy" in [item["item"] for item in lease()["items"]]
    assert f"benchkeeper/keep:{state['run_id']}" in host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'")
