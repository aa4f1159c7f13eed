"""The table of tests that would have caught the incident: a cleanup by one label took another environment's engines with it.

Each row arranges an engine, cleans up after one run, and says what must be there afterwards. They run on an engine in memory.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned_dirs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import RealFiles
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import KIND, OWNER, RUN, STACK, triple
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import Means, Outcome, Prune, Scope

from tests.unit.owned.world import World

if TYPE_CHECKING:
    from pathlib import Path

OWN = triple("0a1b2c3d", "spawner", "20260131T120000Z-0a1b2c")
MINE = OWN.mapping()
OTHER_RUN = {**MINE, RUN: "20260131T120000Z-ffffff"}
ENGINE = {"galaxy.backend": "1"}


def without(key: str) -> dict[str, str]:
    return {name: value for name, value in MINE.items() if name != key}


def clean(world: World, roots: tuple[str, ...] = (), **scope: Any) -> Outcome:
    return Prune(OWN, Scope(roots=roots, **scope), Means(world, lambda _seconds: None, workers=2)).run()


@dataclass(frozen=True)
class Row:
    """What is there: labels of containers by name. What must go; everything else must stay."""

    boxes: dict[str, dict[str, str]]
    goes: set[str]
    states: dict[str, str] = field(default_factory=dict)


TABLE = {
    "foreign stack survives": Row({"theirs": {**ENGINE, **MINE, STACK: "dev"}, "ours": {**ENGINE, **MINE}}, {"ours"}),
    "one label alone is nobody's": Row(
        {"backend": ENGINE, "product": {**ENGINE, "galaxy.stack": "integration"}, "owner": {OWNER: MINE[OWNER]}, "ours": MINE},
        {"ours"},
    ),
    "two of three are not three": Row(
        {"no-owner": without(OWNER), "no-stack": without(STACK), "no-run": without(RUN), "ours": MINE}, {"ours"}
    ),
    "values are exact": Row(
        {
            "longer": {**MINE, STACK: "spawner-2"},
            "prefixed": {**MINE, STACK: "xspawner"},
            "upper": {**MINE, STACK: "SPAWNER"},
            "empty": {**MINE, STACK: ""},
            "blank": {**MINE, STACK: " spawner"},
            "run-longer": {**MINE, RUN: f"{MINE[RUN]}0"},
            "ours": MINE,
        },
        {"ours"},
    ),
    "keys are exact": Row({"near": {**without(RUN), "benchkeeper.Run": MINE[RUN]}, "ours": MINE}, {"ours"}),
    "each run cleans only its own": Row({"other": OTHER_RUN, "ours": MINE}, {"ours"}),
    "another checkout of the same stack": Row({"other": {**MINE, OWNER: "deadbeef"}, "ours": MINE}, {"ours"}),
    "what outlives runs": Row({"machine": {**MINE, RUN: "bench"}, "ours": MINE}, {"ours"}),
    "more labels than three are fine": Row({"ours": {**MINE, **ENGINE, "com.docker.compose.project": "p"}}, {"ours"}),
    "every state goes": Row(
        dict.fromkeys(("created", "running", "paused", "restarting", "exited", "dead"), MINE),
        {"created", "running", "paused", "restarting", "exited", "dead"},
        {name: name for name in ("created", "running", "paused", "restarting", "exited", "dead")},
    ),
    "nothing is there": Row({}, set()),
}


@pytest.mark.parametrize("either", [False, True], ids=["filters-and", "filters-or"])
@pytest.mark.parametrize("name", TABLE)
def test_what_goes_and_what_stays(name: str, either: bool) -> None:
    row, world = TABLE[name], World(either=either)
    for box, labels in row.boxes.items():
        world.box(box, labels, state=row.states.get(box, "running"))
    outcome = clean(world)
    assert {one["name"] for one in outcome.removed} == row.goes
    assert {box["name"] for box in world.boxes.values()} == set(row.boxes) - row.goes
    assert outcome.clean
    assert outcome.spared == [], "what is not ours is not even listed, whatever the engine's filter lets through"
    again = clean(world)
    assert (again.removed, again.clean) == ([], True), "the second time changes nothing"


def test_every_kind_goes_in_one_call_and_only_ours(tmp_path: Path) -> None:
    world = World()
    files = RealFiles()
    for labels, name in ((MINE, "ours"), (OTHER_RUN, "theirs")):
        own = triple(labels[OWNER], labels[STACK], labels[RUN])
        image = world.img("", labels, ("base", name), (f"{name}:{labels[RUN].lower()}",))
        net, vol = world.net(f"{name}-net", labels), world.vol(f"{name}-vol", labels)
        anonymous = world.vol(f"{name}-anonymous", {"com.docker.volume.anonymous": ""})
        path = _owned_dirs.make(files, str(tmp_path), own, f"{1:032x}", (tmp_path.stat().st_uid, tmp_path.stat().st_gid))
        world.box(f"{name}-box", {**labels, KIND: "container"}, image=image, nets=(net,), vols=(vol, anonymous), binds=(path,))
    outcome = clean(world, (str(tmp_path),))
    assert outcome.clean, (outcome.left, outcome.strays)
    assert [one["kind"] for one in outcome.as_json()["removed"]] == ["container", "network", "volume", "image", "directory"]
    assert not [name for name in world.names() if "ours" in name]
    assert len([name for name in world.names() if "theirs" in name]) == 5  # its image by its tag
    assert [path.name for path in tmp_path.iterdir()] == [f"benchkeeper-{OTHER_RUN[RUN]}-{1:032x}"]


def test_two_runs_clean_up_at_the_same_time_and_each_only_its_own() -> None:
    world = World()
    runs = [triple(MINE[OWNER], MINE[STACK], f"20260131T12000{number}Z-0a1b2c") for number in range(3)]
    for number, own in enumerate(runs):
        for each in range(4):
            world.box(f"run-{number}-{each}", own.mapping(), nets=(world.net(f"net-{number}-{each}", own.mapping()),))
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda own: Prune(own, Scope(), Means(world, lambda _seconds: None)).run(), runs[:2]))
    for number, outcome in enumerate(outcomes):
        assert outcome.clean
        assert {one["name"].split("-")[1] for one in outcome.removed} == {str(number)}
    assert {str(box["name"]) for box in world.boxes.values()} == {f"run-2-{each}" for each in range(4)}
    assert len(world.nets) == 4


def test_two_cleanups_of_the_same_run_do_not_trip_over_each_other() -> None:
    world = World()
    for each in range(6):
        world.box(f"ours-{each}", MINE, nets=(world.net(f"net-{each}", MINE),))
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda _turn: clean(world), range(3)))
    assert all(outcome.clean for outcome in outcomes)
    assert (world.boxes, world.nets) == ({}, {})


# Cleaning up that fails is never "nothing to tear down"


def unreachable(world: World) -> None:
    world.down = True


def list_refused(world: World) -> None:
    world.refused["list network"] = (403, "authorization denied by plugin")


@pytest.mark.parametrize("trouble", [unreachable, list_refused])
def test_an_engine_that_does_not_say_what_is_there_is_an_error(trouble: Callable[[World], None]) -> None:
    world = World()
    world.box("ours", MINE)
    trouble(world)
    with pytest.raises(EngineError):
        clean(world)


def test_an_engine_that_goes_away_in_the_middle_is_an_error() -> None:
    world = World()
    world.box("ours", MINE)

    def dies(_kind: str, _identity: str) -> None:
        world.down = True

    world.hook = dies
    with pytest.raises(EngineError):
        clean(world)


def test_a_refused_removal_is_told_with_its_reason() -> None:
    world = World()
    world.box("ours", MINE)
    world.refused["remove container"] = (500, "permission denied")
    outcome = clean(world)
    assert not outcome.clean
    assert [(one["name"], one["why"]) for one in outcome.left] == [("ours", "engine: 500: permission denied")]


def test_what_is_refused_once_is_tried_again() -> None:
    world = World()
    world.net("ours-net", MINE)
    world.refused["remove network"] = (403, "has active endpoints")

    def wait(_seconds: float) -> None:
        world.refused.clear()

    outcome = Prune(OWN, Scope(), Means(world, wait)).run()
    assert (outcome.clean, [one["name"] for one in outcome.removed]) == (True, ["ours-net"])


def test_what_comes_while_we_work_goes_too() -> None:
    """A killed command may still be making objects."""
    world, made = World(), []

    def late(kind: str, _identity: str) -> None:
        if kind == "container" and len(made) < 3:
            made.append(world.box(f"late-{len(made)}", MINE))

    world.box("ours", MINE)
    world.hook = late
    assert clean(world).clean
    assert world.boxes == {}


def test_what_never_stops_coming_is_left_and_told() -> None:
    world = World()
    world.box("ours", MINE)
    world.hook = lambda kind, _identity: None if kind != "container" else (world.box("again", MINE), None)[1]
    outcome = clean(world)
    assert [one["name"] for one in outcome.left] == ["again"]
    assert not outcome.clean


# Between the list and the deed


@pytest.mark.parametrize("kind", ["container", "network", "image"])
def test_what_lost_its_labels_since_the_list_is_spared(kind: str) -> None:
    world = World()
    identity = {"container": world.box, "network": world.net, "image": lambda name, labels: world.img("", labels, ("base", name))}[
        kind
    ]("ours", MINE)
    place = {"container": world.boxes, "network": world.nets, "image": world.imgs}[kind]
    name = {"container": "inspect", "network": "network", "image": "image"}[kind]
    look = getattr(world, name)

    def another(which: str) -> dict[str, Any]:
        if which == identity:
            place[which]["labels"] = {"somebody": "else"}
        return dict(look(which))

    setattr(world, name, another)
    outcome = clean(world)
    assert identity in place
    assert [(one["kind"], one["why"]) for one in outcome.spared] == [(kind, "its labels changed since it was listed")]
    assert outcome.clean


def test_a_volume_that_is_somebody_elses_by_now_is_spared() -> None:
    world = World()
    world.vol("data", MINE)
    listed = world.volumes

    def then_changed(labels: Any = None) -> list[dict[str, Any]]:
        found = listed(labels)
        if labels and "data" in world.vols:
            world.vol("data", {"somebody": "else"})
        return found

    world.volumes = then_changed  # type: ignore[method-assign]
    outcome = clean(world)
    assert "data" in world.vols
    assert [(one["name"], one["why"]) for one in outcome.spared] == [("data", "its labels changed since it was listed")]
    assert outcome.removed == []


def test_a_volume_made_again_with_our_labels_is_not_the_one_that_was_listed() -> None:
    world = World()
    world.vol("data", MINE)
    first = world.volume("data")["CreatedAt"]
    found = world.volume

    def another(name: str) -> dict[str, Any]:
        return {**found(name), "CreatedAt": "2020-01-01T00:00:00Z"}

    world.volume = another  # type: ignore[method-assign]
    outcome = clean(world)
    assert world.vols["data"]
    assert first != "2020-01-01T00:00:00Z"
    assert len(outcome.spared) == 1


def test_who_was_removed_by_somebody_else_is_no_trouble() -> None:
    world = World()
    identity = world.box("ours", MINE)

    def first(kind: str, _identity: str) -> None:
        if kind == "container":
            world.boxes.pop(identity, None)

    world.hook = first
    outcome = clean(world)
    assert (outcome.removed, outcome.clean) == ([], True)


# Labels that were only inherited


def test_a_strangers_container_of_our_image_is_spared_and_so_is_the_image() -> None:
    world = World()
    image = world.img("", MINE, ("base", "ours"), ("ours:1",))
    world.box("theirs", image=image)
    world.box("ours", {KIND: "container"}, image=image)
    outcome = clean(world)
    assert {box["name"] for box in world.boxes.values()} == {"theirs"}
    assert [one["name"] for one in outcome.spared] == ["theirs"]
    assert [(one["kind"], one["why"]) for one in outcome.left] == [("image", "engine: 409: image is being used by a container")]


def test_a_container_whose_image_is_gone_is_ours_only_if_it_says_what_it_is() -> None:
    world = World()
    image = world.img("", MINE)
    world.box("theirs", image=image)
    world.box("ours", {KIND: "container"}, image=image)
    del world.imgs[image]
    outcome = clean(world)
    assert [one["name"] for one in outcome.removed] == ["ours"]
    assert [one["name"] for one in outcome.spared] == ["theirs"]


@pytest.mark.parametrize("layers", [("base", "ours", "theirs"), ("base", "ours")], ids=["more layers", "the same layers"])
def test_a_strangers_image_upon_ours_is_spared_and_so_is_ours(layers: tuple[str, ...]) -> None:
    world = World()
    world.img("sha256:ours", MINE, ("base", "ours"))
    world.img("sha256:theirs", {**MINE, "org": "them"}, layers, ("theirs:1",))
    for _turn in range(2):
        outcome = clean(world)
        assert {"sha256:ours", "sha256:theirs"} <= set(world.imgs)
        assert [one["name"] for one in outcome.spared] == ["theirs:1"]
        assert [one["id"] for one in outcome.left] == ["sha256:ours"]


def test_an_image_that_has_to_stay_is_not_waited_for() -> None:
    world = World()
    world.box("theirs", image=world.img("", MINE, ("base", "ours")))
    pauses: list[float] = []
    outcome = Prune(OWN, Scope(), Means(world, pauses.append)).run()
    assert (len(outcome.left), pauses) == (1, [])


def test_our_own_images_upon_each_other_go() -> None:
    world = World()
    world.img("sha256:base", {**MINE, KIND: "image"}, ("base", "a"))
    world.img("sha256:upper", {**MINE, KIND: "image", "benchkeeper.image": "upper"}, ("base", "a", "b"))
    assert clean(world).clean
    assert set(world.imgs) == {"sha256:plain"}


def test_a_name_that_a_stranger_gave_our_image_stays() -> None:
    world = World()
    world.img("sha256:ours", MINE, ("base", "ours"), ("ours:1", "theirs:keep"))
    outcome = clean(world)
    assert {"tag ours:1", "tag theirs:keep"} <= world.names()
    assert "theirs:keep" in outcome.left[0]["why"]


def test_names_with_the_run_in_them_are_ours() -> None:
    world = World()
    world.img("sha256:ours", MINE, ("base", "ours"), (f"a:{OWN.run.lower()}", f"b:{OWN.run.lower()}"))
    assert clean(world).clean
    assert "sha256:ours" not in world.imgs


# Children without the triple


def on_network(world: World, net: str, _box: str, _path: str) -> None:
    world.box("child", ENGINE, nets=(net,))


def on_network_but_never_started(world: World, net: str, _box: str, _path: str) -> None:
    world.box("child", ENGINE, nets=(net,), state="created")


def on_volume(world: World, _net: str, _box: str, _path: str) -> None:
    world.box("child", ENGINE, vols=("ours-vol",))


def on_directory(world: World, _net: str, _box: str, path: str) -> None:
    world.box("child", ENGINE, binds=(f"{path}/game-1",))


def in_project(world: World, _net: str, _box: str, _path: str) -> None:
    world.box("child", {**ENGINE, "com.docker.compose.project": "p1"})


def in_network_of(world: World, _net: str, box: str, _path: str) -> None:
    world.box("child", ENGINE, mode=f"container:{box}")


def made_by(world: World, _net: str, box: str, _path: str) -> None:
    world.box("child", {**ENGINE, "galaxy.parent": box[:12]})


CHILDREN = [on_network, on_network_but_never_started, on_volume, on_directory, in_project, in_network_of, made_by]


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_without_the_triple_is_told_and_not_touched(child: Callable[..., None], tmp_path: Path) -> None:
    world, files = World(), RealFiles()
    net = world.net("ours-net", MINE)
    world.vol("ours-vol", MINE)
    uid, gid = tmp_path.stat().st_uid, tmp_path.stat().st_gid
    path = _owned_dirs.make(files, str(tmp_path), OWN, f"{7:032x}", (uid, gid))
    box = world.box("ours", {**MINE, "com.docker.compose.project": "p1"}, nets=(net,), vols=("ours-vol",))
    world.box("stranger", ENGINE)
    child(world, net, box, path)
    outcome = clean(world, (str(tmp_path),))
    assert [one["name"] for one in outcome.strays] == ["child"]
    assert not outcome.clean
    assert {one["name"] for one in world.boxes.values()} == {"child", "stranger"}


def test_volumes_networks_and_images_without_the_triple_are_found_too() -> None:
    world = World()
    world.vol("older")
    for _tick in range(5):
        world.clock()
    world.box("ours", {**MINE, "com.docker.compose.project": "p1"}, vols=("older",))
    # A volume that the engine made because a container named it, some seconds after the run began.
    for _tick in range(5):
        world.clock()
    world.box("ours-2", MINE, vols=("implicit",))
    world.box("ours-3", MINE, vols=("f" * 64,))  # anonymous, as an engine before 23 makes it
    world.net("p1_default", {"com.docker.compose.project": "p1"})
    world.img("sha256:built", {"com.docker.compose.project": "p1"}, ("base", "x"), ("p1-web:latest",))
    found = {(one["kind"], one["name"]) for one in clean(world).strays}
    assert found == {("volume", "implicit"), ("network", "p1_default"), ("image", "p1-web:latest")}


def test_what_the_run_is_known_to_share_is_no_stray() -> None:
    world = World()
    for _tick in range(5):
        world.clock()
    world.box("ours", MINE, vols=("cache",))
    assert clean(world, shared=("cache",)).clean


def test_a_cached_image_of_the_same_checkout_is_no_stray() -> None:
    world = World()
    world.box("ours", {**MINE, "com.docker.compose.project": "p1"})
    world.img("sha256:cached", {**MINE, RUN: "bench", "com.docker.compose.project": "p1"}, ("base", "x"))
    assert clean(world).clean
    assert "sha256:cached" in world.imgs


# Dry run


def test_a_dry_run_tells_and_does_not_touch(tmp_path: Path) -> None:
    world, files = World(), RealFiles()
    world.box("ours", MINE, nets=(world.net("ours-net", MINE),))
    world.vol("ours-vol", MINE)
    _owned_dirs.make(files, str(tmp_path), OWN, f"{7:032x}", (tmp_path.stat().st_uid, tmp_path.stat().st_gid))
    before = world.names()
    outcome = clean(world, (str(tmp_path),), dry=True)
    assert (world.names(), world.log) == (before, [])
    assert len(list(tmp_path.iterdir())) == 1
    wet = clean(world, (str(tmp_path),))
    assert outcome.as_json()["removed"] == wet.as_json()["removed"]
    assert outcome.clean
