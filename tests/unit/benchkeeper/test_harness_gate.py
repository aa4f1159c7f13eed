"""The gate: what answers must be what was built, the edge must reach whom it names, and nobody may have a way out."""

from __future__ import annotations

import http.server
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper.harness import gate
from benchkeeper.harness.place import Place, TenantPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD = "r1-abc"


class World:
    def __init__(self) -> None:
        self.url = ""
        self.builds = {"alpha": BUILD, "beta": BUILD, "edge": BUILD}
        self.closed = 401  # what the tenant without an administrator says
        self.swapped = 0  # so many questions reach the other tenant


@pytest.fixture
def world() -> Iterator[World]:
    made = World()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.headers["Host"].partition(".")[0]
            made.swapped -= 1
            if self.path == "/__edge/buildinfo":
                self._say(200, {"git_sha": made.builds["edge"]})
            elif self.path == "/buildinfo":
                self._say(200, {"git_sha": made.builds[name]})
            elif self.path == "/health":
                self._say(200, {"status": "ok"})
            elif name == "closed":
                self._say(404 if made.swapped >= 0 or self.headers["X-Molecule-Org-Id"] != "org-closed" else made.closed, None)
            elif made.swapped >= 0 or self.headers["Authorization"] != f"Bearer token-{name}":
                self._say(404, None)
            else:
                self._say(200, [])

        def _say(self, status: int, body: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield made
        server.shutdown()


def place(url: str, build_id: str = BUILD) -> Place:
    both = tuple(TenantPlace(name, f"{name}.localhost", f"org-{name}", url, f"token-{name}") for name in ("alpha", "beta"))
    return Place("r1", "builtin", build_id, url, url, "", "", both)


def test_what_was_built_answers(world: World) -> None:
    assert gate.answering(place(world.url)) == []
    assert gate.answering(place(world.url, "")) == [], "nobody knows what a tenant from outside has to say"


@pytest.mark.parametrize("name", ["alpha", "beta", "edge"])
@pytest.mark.parametrize("build", ["dev", "", None, f"{BUILD}-before"])
def test_anything_else_is_told(world: World, name: str, build: Any) -> None:
    world.builds[name] = build
    said = gate.answering(place(world.url))
    assert said
    assert all(name in one and repr(build) in one for one in said)


def test_no_answer_is_told() -> None:
    assert "no answer" in gate.answering(place("http://127.0.0.1:9"))[0]


def test_another_tenant_under_its_name_is_waited_out(world: World) -> None:
    world.swapped = 3
    gate.wait_until_reachable(place(world.url))
    world.swapped = 10_000
    with pytest.raises(gate.GateError, match=r"does not reach tenant alpha .* answers 404"):
        gate.wait_until_reachable(place(world.url), 0.3)


@pytest.mark.parametrize("status", [401, 200])
def test_a_tenant_without_an_administrator_is_known_by_its_organisation(world: World, status: int) -> None:
    world.closed = status  # 200 is what it says with its bug on
    alone = TenantPlace("closed", "closed.localhost", "org-closed", world.url, "")
    gate.wait_until_reachable(replace(place(world.url), tenants=(), closed=(alone,)), 0.3)
    with pytest.raises(gate.GateError, match=r"does not reach tenant closed .* answers 404"):
        gate.wait_until_reachable(replace(place(world.url), tenants=(), closed=(replace(alone, org="org-beta"),)), 0.3)


def container(pid: Any, answer: tuple[int, bytes] = (1, b"")) -> Any:
    return SimpleNamespace(attrs={"State": {"Pid": pid}}, exec_run=lambda _command: answer)


def test_routes_are_the_kernels() -> None:
    ours = gate.destinations(container(os.getpid()))
    assert ours == [line.split()[1] for line in Path("/proc/self/net/route").read_text(encoding="ascii").splitlines()[1:]]
    table = b"Iface\tDestination\tGateway\neth0\t000014AC\t00000000\n"
    assert gate.destinations(container("none", (0, table))) == ["000014AC"]
    assert gate.destinations(container("none")) == [gate.DEFAULT_ROUTE], "what cannot be seen is not proven"


class Services:
    def __init__(self, networks: dict[str, list[str]], image: str, pid: Any) -> None:
        self._made = {name: (found, image, pid) for name, found in networks.items()}

    def container(self, name: str) -> Any:
        networks, image, pid = self._made[name]
        attrs = {"NetworkSettings": {"Networks": dict.fromkeys(networks)}, "Config": {"Image": image}, "State": {"Pid": pid}}
        table = b"Iface\tDestination\neth0\t000014AC\n" if pid == "shut" else b"Iface\tDestination\neth0\t00000000\n"
        return SimpleNamespace(attrs=attrs, exec_run=lambda _command: (0, table))


@pytest.mark.parametrize(
    ("networks", "image", "pid", "said"),
    [
        (["bk-r1_inside"], "parts:1", "shut", ""),
        (["bk-r1_inside", "bridge"], "parts:1", "shut", "is attached to bridge"),
        (["bk-r1_inside"], "parts:0", "shut", "runs from parts:0"),
        (["bk-r1_inside"], "parts:1", "open", "has a way out"),
    ],
)
def test_who_is_not_shut_in_is_told(networks: list[str], image: str, pid: str, said: str) -> None:
    document = {"services": {"tenant-alpha": {"image": "parts:1", "networks": ["inside"]}}}
    services: Any = Services({"tenant-alpha": networks}, image, pid)
    harness: Any = SimpleNamespace(services=services, plan=SimpleNamespace(document=lambda: document), project="bk-r1")
    found = gate.shut_in(harness)
    assert [said in one for one in found] == ([True] if said else [])
