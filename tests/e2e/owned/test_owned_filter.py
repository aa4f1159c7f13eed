"""The socket filter in a container, in front of the real engine: what is made is ours, and nothing of anybody else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import KIND, RUN

from tests.unit.spawner_stack.test_spawner import status_of

if TYPE_CHECKING:
    from tests.e2e.owned.engine_rig import Rig, Sandbox


def refused(engine: Engine, method: str, path: str, query: Any = None, body: Any = None) -> str:
    """What a request that must not pass is answered."""
    with pytest.raises(EngineError) as caught:
        engine.call(method, path, query, body)
    assert caught.value.status == 403
    return str(caught.value)


def test_what_is_made_through_it_is_ours_and_can_be_ended(rig: Rig) -> None:
    run = rig.begin()
    engine = Engine(rig.socket_filter(run))
    command = {"Image": rig.images.bare, "Cmd": ["sleep", "600"]}
    box = engine.post(
        "/containers/create", {"name": f"bk-test-{run.lease.run}"}, {**command, "HostConfig": {"NetworkMode": "none"}}
    )["Id"]
    labels = rig.engine.inspect(box)["Config"]["Labels"]
    assert run.own.owns(labels)
    assert labels[KIND] == "container"
    engine.start(box)
    engine.kill(box)
    engine.remove(box, force=True)
    assert rig.state(box) == "gone"
    net = engine.post("/networks/create", body={"Name": f"bk-net-{run.lease.run}", "Internal": True})["Id"]
    vol = engine.post("/volumes/create", body={"Name": f"bk-vol-{run.lease.run}"})["Name"]
    assert run.own.owns(rig.engine.network(net)["Labels"])
    assert run.own.owns(rig.engine.volume(vol)["Labels"])
    engine.remove_network(net)
    engine.remove_volume(vol)
    assert rig.kinds_left(run) == {"container", "directory", "lease", "process"}, "the filter itself"


def test_what_is_a_strangers_is_seen_and_not_touched(rig: Rig, sandbox: Sandbox) -> None:
    run = rig.begin()
    engine = Engine(rig.socket_filter(run))
    theirs, net, vol = sandbox.played["container"], sandbox.network, sandbox.volume
    assert theirs in {one["Id"] for one in engine.containers()}
    assert engine.inspect(theirs)["State"]["Running"]
    assert engine.network(net)["Name"] == net
    for method, path in (
        ("DELETE", f"/containers/{theirs}"),
        ("DELETE", f"/containers/{theirs[:12]}"),
        ("DELETE", f"/networks/{net}"),
        ("DELETE", f"/volumes/{vol}"),
        ("POST", f"/containers/{theirs}/stop"),
        ("POST", f"/containers/{theirs}/kill"),
        ("POST", f"/containers/{theirs}/start"),
    ):
        assert "is not of this run" in refused(engine, method, path)
    plain = {"Image": rig.images.bare, "Cmd": ["sleep", "600"]}
    refused(engine, "POST", "/containers/create", None, {**plain, "HostConfig": {"NetworkMode": net}})
    mount = {"Type": "volume", "Source": vol, "Target": "/data"}
    refused(engine, "POST", "/containers/create", None, {**plain, "HostConfig": {"NetworkMode": "none", "Mounts": [mount]}})
    refused(engine, "POST", "/volumes/create", None, {"Name": vol})
    assert status_of(sandbox.backend) == ["running"]
    assert rig.kinds_left(run) == {"container", "directory", "lease", "process"}


def test_labels_cannot_be_chosen_and_nothing_reaches_past_the_run(rig: Rig) -> None:
    run = rig.begin()
    engine = Engine(rig.socket_filter(run))
    plain: dict[str, Any] = {"Image": rig.images.bare, "Cmd": ["true"]}
    # A link that a container of ours could have made: the engine would follow it.
    link = Path(run.state_directory(), "way-out")
    link.symlink_to("/etc")
    for body in (
        {"Labels": {RUN: "20260131T120000Z-ffffff"}},
        # The engine reads keys in any case, and takes the last of two.
        {"Labels": {}, "labels": {RUN: "20260131T120000Z-ffffff"}},
        {"HostConfig": {"Privileged": True}},
        {"hostconfig": {"Privileged": True}},
        {"HostConfig": {"Binds": ["/:/host"]}},
        {"HostConfig": {"Binds": ["/var/run/docker.sock:/var/run/docker.sock"]}},
        {"HostConfig": {"Binds": [f"{link}:/etc"]}},
        {"HostConfig": {"NetworkMode": "host"}},
        {"HostConfig": {"PidMode": "host"}},
        {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}}},  # noqa: S104 - what is refused
    ):
        refused(engine, "POST", "/containers/create", None, {**plain, **body})
    own = rig.box(run.labels)
    for method, path in (
        ("POST", f"/containers/{own}/exec"),
        ("GET", f"/containers/{own}/logs"),
        ("GET", f"/containers/{own}/archive"),
        ("POST", "/containers/prune"),
        ("POST", "/volumes/prune"),
        ("POST", "/build"),
        ("POST", "/images/create"),
        ("POST", "/commit"),
        ("GET", "/events"),
        ("DELETE", f"/images/{rig.images.bare}"),
    ):
        refused(engine, method, path)
    assert rig.state(own) == "running"
    link.unlink()


def test_behind_it_even_a_backend_that_forgets_labels_makes_engines_of_ours(rig: Rig) -> None:
    run = rig.begin()
    given = rig.options(
        run.labels,
        run.state_directory(),
        "integration",
        socket=rig.socket_filter(run),
        extra={"SPAWNER_BREAK": "no-ownership"},
    )
    backend = rig.backend(given)
    game = rig.game(backend)
    assert run.own.owns(rig.engine.inspect(game["container"])["Config"]["Labels"])
    assert status_of(backend) == ["running"]
    outcome = run.end()
    assert outcome.clean, (outcome.left, outcome.strays)
    assert rig.state(game["container"]) == "gone"
