"""The filter in front of an engine: what passes, what it becomes, and what does not pass."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from socket_filter import __main__ as program
from socket_filter import proxy, rules
from socket_filter.rules import KIND, Policy, Refused
from yarl import URL

from tests.unit.owned.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

MINE = {"benchkeeper.owner": "0a1b2c3d", "benchkeeper.stack": "spawner", "benchkeeper.run": "r1"}
THEIRS = {**MINE, "benchkeeper.run": "r2"}
POLICY = Policy(MINE, ("/srv/state",))
PLAIN = {"Image": "debian:trixie-slim"}
FORCED = {**MINE, KIND: "container"}

LOOKS = [
    "GET /_ping",
    "HEAD /_ping",
    "GET /version",
    "GET /containers/json?all=1&filters={}",
    "GET /v1.43/containers/json",
    "GET /containers/abc/json",
    "GET /networks",
    "GET /networks/n",
    "GET /volumes",
    "GET /volumes/v",
    "GET /images/json",
    "GET /images/debian:trixie-slim/json",
    "GET /images/reg:5000/a/b@sha256:00/json",
]
NOT = [
    "POST /build",
    "POST /images/create?fromImage=x",
    "DELETE /images/x",
    "POST /images/x/tag",
    "POST /containers/x/exec",
    "POST /exec/x/start",
    "POST /containers/x/attach",
    "GET /containers/x/attach/ws",
    "GET /containers/x/archive?path=/",
    "PUT /containers/x/archive?path=/",
    "GET /containers/x/export",
    "GET /containers/x/logs",
    "POST /containers/x/update",
    "POST /containers/x/rename?name=y",
    "POST /containers/prune",
    "POST /networks/prune",
    "POST /volumes/prune",
    "POST /networks/x/connect",
    "POST /networks/x/disconnect",
    "GET /info",
    "GET /events",
    "GET /secrets",
    "GET /plugins",
    "POST /auth",
    "POST /session",
    "POST /grpc",
    "GET /",
    "PATCH /containers/x",
    "DELETE /containers",
    "DELETE /containers/x/y",
    "DELETE /containers/x?link=1",
    "DELETE /containers/x?force=1&force=0",
    "GET /containers/json/../../images/x",
    "GET /containers/%2e%2e/json",
    "GET /containers/a%2Fb/json",
    "GET //containers/json",
    "GET /containers/v1.43/json/v1.43/json",
    "GET /v1.43/v1.43/containers/json",
    "DELETE /containers/-x",
    "POST /containers/create?name=x&name=y",
    "get /containers/json",
]


def judged(text: str) -> rules.Wish:
    verb, _space, target = text.partition(" ")
    url = URL(target, encoded=True)
    return rules.judge(verb, target.partition("?")[0], url.query.items())


@pytest.mark.parametrize("text", LOOKS)
def test_looking_passes(text: str) -> None:
    assert judged(text).rule.action == rules.LOOK


def test_a_version_is_taken_off_the_beginning_only() -> None:
    for text in ("GET /v1.43/containers/v1.41/json", "GET /containers/v1.41/json"):
        assert judged(text).path == "/containers/v1.41/json"


@pytest.mark.parametrize("text", NOT)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        judged(text)


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]), st.text(max_size=40))
def test_no_path_that_changes_something_passes_without_an_object_of_ours(verb: str, path: str) -> None:
    with contextlib.suppress(Refused):
        wish = rules.judge(verb, f"/{path}", [])
        assert wish.rule.action == rules.LOOK or wish.path.startswith(("/containers/", "/networks/", "/volumes/"))


# Bodies

BODIES: dict[str, dict[str, Any]] = {
    "privileged": {"HostConfig": {"Privileged": True}},
    "privileged in another case": {"hostconfig": {"privileged": True}},
    "the host's processes": {"HostConfig": {"PidMode": "host"}},
    "the host's network": {"HostConfig": {"NetworkMode": "host"}},
    "a network of a container": {"HostConfig": {"NetworkMode": "container:abc"}},
    "the host's ipc": {"HostConfig": {"IpcMode": "host"}},
    "the host's users": {"HostConfig": {"UsernsMode": "host"}},
    "capabilities": {"HostConfig": {"CapAdd": ["SYS_ADMIN"]}},
    "devices": {"HostConfig": {"Devices": [{"PathOnHost": "/dev/sda"}]}},
    "requests for devices": {"HostConfig": {"DeviceRequests": [{"Count": -1}]}},
    "no confinement": {"HostConfig": {"SecurityOpt": ["seccomp=unconfined"]}},
    "somebody's volumes": {"HostConfig": {"VolumesFrom": ["abc"]}},
    "a parent group": {"HostConfig": {"CgroupParent": "/"}},
    "another runtime": {"HostConfig": {"Runtime": "other"}},
    "sysctls": {"HostConfig": {"Sysctls": {"kernel.core_pattern": "|/x"}}},
    "the whole host": {"HostConfig": {"Binds": ["/:/host"]}},
    "the engine's socket": {"HostConfig": {"Binds": ["/var/run/docker.sock:/var/run/docker.sock"]}},
    "beside the root": {"HostConfig": {"Binds": ["/srv/state-of-others:/x"]}},
    "out of the root": {"HostConfig": {"Binds": ["/srv/state/../../etc:/x"]}},
    "a volume that nobody would own": {"HostConfig": {"Binds": ["data:/x"]}},
    "propagation": {"HostConfig": {"Binds": ["/srv/state/a:/x:shared"]}},
    "a mount of the host": {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}},
    "a mount that propagates": {
        "HostConfig": {
            "Mounts": [{"Type": "bind", "Source": "/srv/state", "Target": "/x", "BindOptions": {"Propagation": "shared"}}]
        }
    },
    "a volume with a driver": {
        "HostConfig": {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/x",
                    "VolumeOptions": {"DriverConfig": {"Options": {"device": "/", "o": "bind"}}},
                }
            ]
        }
    },
    "an unknown kind of mount": {"HostConfig": {"Mounts": [{"Type": "npipe", "Source": "/x", "Target": "/x"}]}},
    "a port for everybody": {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}}},
    "another run's label": {"Labels": {"benchkeeper.run": "r2"}},
    "an empty label": {"Labels": {"benchkeeper.stack": ""}},
    "labels that are none": {"Labels": {"a": 1}},
    "a list for a body": {"HostConfig": []},
    "an address of its own choice": {"NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "10.0.0.1"}}}}},
}


@pytest.mark.parametrize("name", BODIES)
def test_a_container_that_reaches_out_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        rules.container({**PLAIN, **BODIES[name]}, POLICY)


def test_a_container_gets_our_labels_and_keeps_its_own() -> None:
    given_ = {
        **PLAIN,
        "Labels": {"galaxy.backend": "1", "benchkeeper.stack": "spawner", KIND: "image"},
        "Volumes": None,
        "MacAddress": "",
        "HostConfig": {
            "Privileged": False,
            "Binds": ["/srv/state/g1:/srv/state/g1"],
            "NetworkMode": "game-net",
            "Mounts": [{"Type": "volume", "Source": "v", "Target": "/v"}, {"Type": "volume", "Target": "/w"}],
            "MaskedPaths": [],
        },
        "NetworkingConfig": {"EndpointsConfig": {"other-net": {"Aliases": ["x"], "DriverOpts": None}}},
    }
    body, needs = rules.container(given_, POLICY)
    assert body["Labels"] == {"galaxy.backend": "1", **FORCED}
    assert set(body) == {"Image", "Labels", "HostConfig", "NetworkingConfig"}
    assert set(body["HostConfig"]) == {"Binds", "Mounts", "NetworkMode", "PortBindings", "SecurityOpt"}
    assert body["HostConfig"]["Mounts"][0]["VolumeOptions"] == {"Labels": {**MINE, KIND: "volume"}}
    assert (needs.networks, needs.volumes, needs.paths) == (["game-net", "other-net"], ["v"], ["/srv/state/g1"])


@pytest.mark.parametrize("raw", [b'{"Labels":{},"labels":{}}', b'{"Image":"a","Image":"b"}', b"[]", b"{", b'"x"', b"\xff"])
def test_a_body_that_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        rules.parse(raw)


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.dictionaries(st.text(max_size=3), st.text(max_size=3))),
    ),
    st.dictionaries(st.sampled_from([*MINE, KIND, "x"]), st.sampled_from([*MINE.values(), "container", ""])),
)
def test_whatever_passes_carries_the_triple(extra: dict[str, Any], labels: dict[str, str]) -> None:
    with contextlib.suppress(Refused):
        body, _needs = rules.container({**PLAIN, **extra, "Labels": labels}, POLICY)
        assert body["Labels"].items() >= FORCED.items()


@pytest.mark.parametrize(
    ("make", "body"),
    [
        (rules.network, {"Name": "n", "Driver": "macvlan"}),
        (rules.network, {"Name": "n", "Options": {"parent": "eth0"}}),
        (rules.network, {"Name": "n", "Labels": {"benchkeeper.run": "r2"}}),
        (rules.volume, {"Name": "v", "DriverOpts": {"device": "/", "o": "bind", "type": "none"}}),
        (rules.volume, {"Name": "v", "Driver": "nfs"}),
    ],
)
def test_networks_and_volumes_that_reach_out_are_refused(make: Callable[..., Any], body: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        make(body, POLICY)


def test_without_the_whole_triple_it_does_not_start() -> None:
    env = {"BENCHKEEPER_OWNER": "o", "BENCHKEEPER_STACK": "s", "BENCHKEEPER_RUN": "r", "FILTER_ROOTS": "/srv/state/:/srv/more"}
    assert program.policy(env).roots == ("/srv/state", "/srv/more")
    for name in ("BENCHKEEPER_OWNER", "BENCHKEEPER_STACK", "BENCHKEEPER_RUN"):
        with pytest.raises(ValueError, match=name):
            program.policy({**env, name: ""})
    for roots in ("/", "/srv", "srv/state"):
        with pytest.raises(ValueError, match="FILTER_ROOTS"):
            program.policy({**env, "FILTER_ROOTS": roots})


# In front of an engine

Ask = "Callable[..., Awaitable[tuple[int, Any]]]"


@contextlib.asynccontextmanager
async def filtered(socket: str, place: Path) -> AsyncIterator[Any]:
    """Serve the filter on a socket of its own; yields what asks it."""
    runner = web.AppRunner(proxy.application(Policy(MINE, (str(place / "state"),)), socket))
    await runner.setup()
    await web.UnixSite(runner, str(place / "filter.sock")).start()
    connector = aiohttp.UnixConnector(str(place / "filter.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(verb: str, path: str, body: Any = None) -> tuple[int, Any]:
            url = URL(f"http://engine{path}", encoded=True)
            async with session.request(verb, url, json=body) as answer:
                raw = await answer.read()
                return answer.status, json.loads(raw) if raw.strip() and b"{" in raw[:1] + raw[1:2] else raw

        try:
            yield ask
        finally:
            await session.close()
            await runner.cleanup()


def through(world: World, place: Path, story: Callable[[Any], Awaitable[None]]) -> None:
    (place / "state").mkdir(exist_ok=True)

    async def play() -> None:
        async with filtered(socket, place) as ask:
            await story(ask)

    with world.on(place) as socket:
        asyncio.run(play())


def test_what_is_made_is_ours_whoever_asked(tmp_path: Path) -> None:
    world = World()

    async def story(ask: Any) -> None:
        status, made = await ask("POST", "/v1.43/containers/create?name=game", {**PLAIN, "Labels": {"galaxy.backend": "1"}})
        assert status == 201
        assert world.boxes[made["Id"]]["labels"] == {"galaxy.backend": "1", **FORCED}
        assert (await ask("POST", f"/containers/{made['Id']}/start"))[0] == 204
        assert (await ask("POST", "/networks/create", {"Name": "n"}))[0] == 201
        assert (await ask("POST", "/volumes/create", {"Name": "v"}))[0] == 201
        assert {net["labels"][KIND] for net in world.nets.values()} == {"network"}
        assert world.vols["v"]["labels"] == {**MINE, KIND: "volume"}
        assert (await ask("DELETE", "/containers/game?force=1"))[0] == 204
        assert (await ask("DELETE", "/networks/n"))[0] == 204
        assert (await ask("DELETE", "/volumes/v"))[0] == 204

    through(world, tmp_path, story)
    assert world.names() == {"image sha256:plain", "tag debian:trixie-slim"}
    deletes = [request for request, _query in world.asked if request.startswith("DELETE /containers/")]
    assert "game" not in deletes[0], "removed by its id, which nobody else can have"


def test_what_is_not_ours_is_seen_and_not_touched(tmp_path: Path) -> None:
    world = World()
    world.box("theirs", THEIRS)
    world.box("nobodys", {})
    world.net("theirs-net", THEIRS)
    world.vol("theirs-vol", THEIRS)
    before = world.names()

    async def story(ask: Any) -> None:
        assert (await ask("GET", "/containers/theirs/json"))[0] == 200
        assert len((await ask("GET", "/containers/json?all=1"))[1]) == 2
        for name in ("theirs", "nobodys"):
            for verb, path in (
                ("DELETE", f"/containers/{name}?force=1"),
                *(("POST", f"/containers/{name}/{act}") for act in ("start", "stop", "kill")),
            ):
                status, said = await ask(verb, path)
                assert (status, said["message"]) == (403, f"socket filter: {name} is not of this run")
        assert (await ask("DELETE", "/networks/theirs-net"))[0] == 403
        assert (await ask("DELETE", "/volumes/theirs-vol"))[0] == 403
        assert (await ask("DELETE", "/containers/nowhere"))[0] == 404

    through(world, tmp_path, story)
    assert world.names() == before
    assert world.log == []
    assert {box["state"] for box in world.boxes.values()} == {"running"}


def test_joining_what_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    world = World()
    world.net("theirs-net", THEIRS)
    world.net("ours-net", MINE)
    world.vol("theirs-vol", THEIRS)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "g1").mkdir()
    (tmp_path / "state" / "way-out").symlink_to("/etc")
    (tmp_path / "state" / "file").write_text("x")
    state = tmp_path / "state"

    def bind(path: Path) -> dict[str, Any]:
        return {"Binds": [f"{path}:/x"]}

    refused: list[dict[str, Any]] = [
        {"NetworkMode": "theirs-net"},
        {"NetworkMode": "nowhere"},
        {"Mounts": [{"Type": "volume", "Source": "theirs-vol", "Target": "/x"}]},
        bind(state / "way-out"),
        bind(state / "way-out" / "ssh"),
        bind(state / "file"),
        bind(state / "nowhere"),
    ]

    async def story(ask: Any) -> None:
        for host in refused:
            assert (await ask("POST", "/containers/create", {**PLAIN, "HostConfig": host}))[0] == 403, host
        assert (await ask("POST", "/volumes/create", {"Name": "theirs-vol"}))[0] == 403
        endpoints = {"EndpointsConfig": {"theirs-net": {}}}
        assert (await ask("POST", "/containers/create", {**PLAIN, "NetworkingConfig": endpoints}))[0] == 403
        assert world.boxes == {}
        host = {"NetworkMode": "ours-net", **bind(state / "g1")}
        assert (await ask("POST", "/containers/create", {**PLAIN, "HostConfig": host}))[0] == 201

    through(world, tmp_path, story)


def test_a_label_cannot_be_talked_out_of(tmp_path: Path) -> None:
    world = World()

    async def story(ask: Any) -> None:
        for labels in ({"benchkeeper.run": "r2"}, {"benchkeeper.owner": ""}, {"benchkeeper.stack": "dev"}):
            status, said = await ask("POST", "/containers/create", {**PLAIN, "Labels": labels})
            assert status == 403
            assert "not yours to choose" in said["message"]

    through(world, tmp_path, story)
    assert world.boxes == {}
    assert [request for request, _query in world.asked if request.startswith("POST")] == []


def test_refused_requests_never_reach_the_engine(tmp_path: Path) -> None:
    world = World()

    async def story(ask: Any) -> None:
        for text in NOT:
            verb, _space, path = text.partition(" ")
            if verb.isupper() and "/../" not in path:  # a client takes dots out before it sends
                assert (await ask(verb, path))[0] in (403, 405), text

    through(world, tmp_path, story)
    assert world.asked == []


def test_an_engine_that_is_gone_is_503_and_not_an_empty_list(tmp_path: Path) -> None:
    async def story() -> None:
        async with filtered(str(tmp_path / "nowhere.sock"), tmp_path) as ask:
            assert (await ask("GET", "/containers/json"))[0] == 503
            assert (await ask("DELETE", "/containers/x"))[0] == 503

    asyncio.run(story())
