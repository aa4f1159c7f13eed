"""Engines that a backend starts by itself, on the real engine: whose they are, what its reconciler sees, when it is ready."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from spawner import push
from testenv.start import NotReady, Refused

from tests.unit.spawner_stack.test_spawner import ask, eventually, status_of

if TYPE_CHECKING:
    from testenv import start

    from benchkeeper import owned
    from tests.e2e.owned.engine_rig import Rig, Sandbox


def backend(rig: Rig, run: owned.OwnedRun, label: str = "integration", deadline: float = 60.0, **more: Any) -> start.Backend:
    return rig.backend(rig.options(run.labels, run.state_directory(), label, **more), deadline)


def test_engines_of_a_backend_carry_the_triple_and_go_with_the_run(rig: Rig, sandbox: Sandbox) -> None:
    run = rig.begin()
    net = rig.network(run.labels, internal=False)
    made = [backend(rig, run, network=net) for _start in range(2)]
    bound = [entries for one in made for entries in rig.engine.inspect(one.container)["NetworkSettings"]["Ports"].values()]
    assert {entry["HostIp"] for entries in bound for entry in entries} == {"127.0.0.1"}
    games = [rig.game(one, labels={"size": "big"}) for one in made for _turn in range(2)]
    for game in games:
        document = rig.engine.inspect(game["container"])
        assert run.own.owns(document["Config"]["Labels"])
        assert document["Config"]["Labels"]["size"] == "big"
        assert list(document["NetworkSettings"]["Networks"]) == [net]
        # What it wrote inside stands outside under the same path, so a backend can hand it on.
        source = document["Mounts"][0]["Source"]
        where = Path(source, "where")
        assert eventually(lambda where=where: where.is_file() and where.read_text(encoding="utf-8")) == source  # type: ignore[misc]
    assert len({Path(rig.engine.inspect(game["container"])["Mounts"][0]["Source"]).parent for game in games}) == 2
    assert [status_of(one) for one in made] == [["running", "running"]] * 2
    outcome = run.end()
    assert outcome.clean, (outcome.left, outcome.strays)
    assert sorted(one["kind"] for one in outcome.removed) == ["container"] * 6 + ["directory"] * 2 + ["network"]
    assert rig.state(sandbox.played["container"]) == "running"


def test_engines_without_the_triple_are_found_by_ancestry_and_fail_the_run(rig: Rig) -> None:
    run = rig.begin()
    game = rig.game(backend(rig, run, extra={"SPAWNER_BREAK": "no-ownership"}))
    rig.die(run)
    done = rig.bench("reap")
    assert done.returncode == 1, "what was made without labels fails"
    assert f"without labels container galaxy-game-{game['id']}: uses the run's directory" in done.stdout
    assert rig.state(game["container"]) == "running", "told, and not touched"
    rig.engine.remove(game["container"], force=True)


def test_our_cleanup_leaves_the_reconcilers_view_and_the_incidents_turns_it_red(rig: Rig) -> None:
    """Two environments with the same label of the product. What the sandbox is asked at the end of every test can fail."""
    ours, theirs = rig.begin(), rig.begin("sandbox")
    label = f"shared-{ours.lease.run.lower()}"
    other, own = backend(rig, theirs, label), backend(rig, ours, label)
    game = rig.game(other)
    rig.game(own)
    assert ours.end().clean
    assert status_of(other) == ["running"]
    # As it was done: by the product's label alone.
    for one in rig.engine.containers({"galaxy.stack": label}):
        rig.engine.remove(one["Id"], force=True)
    assert status_of(other) == ["cancelled"]
    assert ask(other, "GET", f"/games/{game['id']}")[1]["reason"] == "container disappeared"


# A label cannot be dropped


@pytest.mark.parametrize("name", ["BACKEND_STACK_LABEL", "BENCHKEEPER_RUN"])
def test_extra_environment_that_says_whose_it_is_is_refused_before_anything_is_made(rig: Rig, name: str) -> None:
    run = rig.begin()
    with pytest.raises(Refused, match=name):
        backend(rig, run, extra={name: "dev"})
    assert rig.kinds_left(run) == {"directory", "lease"}


def test_whoever_asks_for_a_game_cannot_say_whose_it_is(rig: Rig) -> None:
    run = rig.begin()
    one = backend(rig, run)
    for label in ("galaxy.stack", "benchkeeper.run"):
        code, answer = ask(one, "POST", "/games", {"labels": {label: "dev"}})
        assert (code, label in answer["error"]) == (400, True)
    assert rig.kinds_left(run) == {"container", "directory", "lease", "process"}


# Readiness


def test_a_backend_that_ends_at_once_is_told_at_once_with_its_log(rig: Rig) -> None:
    run, begun = rig.begin(), time.monotonic()
    with pytest.raises(NotReady, match="ended with 3 before it was ready; it said: backend: panic: planted"):
        backend(rig, run, extra={"SPAWNER_BREAK": "exit-at-once"})
    assert time.monotonic() - begun < 20
    assert rig.kinds_left(run) == {"directory", "lease"}


@pytest.mark.parametrize(("fault", "pending"), [("never-ready", "HTTP /healthz on 8080"), ("push-never", "gRPC push on 8081")])
def test_a_backend_that_is_never_ready_is_told_with_port_and_log(rig: Rig, fault: str, pending: str) -> None:
    run = rig.begin()
    with pytest.raises(NotReady, match=rf"not ready within 6 s, still waiting for {pending}; it said: .*http 0\.0\.0\.0:8080"):
        backend(rig, run, deadline=6.0, extra={"SPAWNER_BREAK": fault})
    assert rig.kinds_left(run) == {"directory", "lease"}


def test_a_push_port_that_listens_late_is_waited_for(rig: Rig) -> None:
    """The engine's own proxy accepts connections before anybody listens behind it: only an answer counts."""
    run, begun = rig.begin(), time.monotonic()
    one = backend(rig, run, extra={"SPAWNER_BREAK": "push-late=3s"})
    assert time.monotonic() - begun > 3
    assert asyncio.run(push.answers(*one.push))
