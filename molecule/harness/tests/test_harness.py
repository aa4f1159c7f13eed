"""What the role brought up is healthy, says whose it is, and can be reached from this computer only."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["local://"]
CHECKOUT = hashlib.sha256(os.environ["MOLECULE_PROJECT_DIRECTORY"].encode()).hexdigest()[:8]
PROJECT = f"bk-molecule-{CHECKOUT}"
TRIPLE = {
    "benchkeeper.owner": CHECKOUT,
    "benchkeeper.stack": "molecule-harness",
    "benchkeeper.run": f"20260131T120000Z-{CHECKOUT[:6]}",
}


def inspected(host: Host, kind: str, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(host.check_output(f"docker {kind} inspect {name}"))
    return found[0]


def test_it_is_healthy(host: Host) -> None:
    assert inspected(host, "container", f"{PROJECT}-page-1")["State"]["Health"]["Status"] == "healthy"


def test_everything_says_whose_it_is(host: Host) -> None:
    container = inspected(host, "container", f"{PROJECT}-page-1")
    labels = {
        "container": container["Config"]["Labels"],
        "image": inspected(host, "image", container["Image"])["Config"]["Labels"],
        "network": inspected(host, "network", f"{PROJECT}_door")["Labels"],
    }
    for kind, found in labels.items():
        assert TRIPLE.items() <= found.items(), kind
    assert (labels["container"]["benchkeeper.kind"], labels["image"]["benchkeeper.kind"]) == ("container", "image")


def test_it_answers_on_loopback_only(host: Host) -> None:
    ports = inspected(host, "container", f"{PROJECT}-page-1")["NetworkSettings"]["Ports"]["8000/tcp"]
    assert [one["HostIp"] for one in ports] == ["127.0.0.1"]
    port = ports[0]["HostPort"]
    assert (
        host.check_output(f"python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/page').read())\"")
        == "b'here\\n'"
    )
    listening = host.check_output("cat /proc/net/tcp /proc/net/tcp6").splitlines()
    bound = [line.split()[1] for line in listening if line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A"]
    assert bound in ([], [f"0100007F:{int(port):04X}"]), "by the engine's proxy on loopback, or by the kernel's rules"


def test_of_what_failed_nothing_runs(host: Host) -> None:
    names = host.check_output(
        f"docker ps --all --format '{{{{.Names}}}}' --filter label=com.docker.compose.project={PROJECT}-broken"
    )
    assert names == ""
