"""The filter and the judgements, and the promise behind them: no history of creations by strangers ever removes theirs."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned, _owned_dirs
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import FileError, RealDirectory, RealFiles, opened
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import (
    KIND,
    OWNER,
    RUN,
    STACK,
    OwnershipError,
    ownership,
    triple,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import Means, Prune, Scope
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.owned.world import PLAIN, World

OWN = triple("0a1b2c3d", "spawner", "20260131T120000Z-0a1b2c")
MINE = OWN.mapping()
WORDS = OWN.words()
ME = (os.geteuid(), os.getegid())

REFUSED: dict[str, list[str]] = {
    "empty": [],
    "one label": WORDS[:1],
    "two labels": WORDS[:2],
    "no stack": [word for word in WORDS if not word.startswith(STACK)],
    "a key without value": [*WORDS[:2], RUN],
    "an empty value": [*[word for word in WORDS if not word.startswith(STACK)], f"{STACK}="],
    "blanks for a value": [*[word for word in WORDS if not word.startswith(STACK)], f"{STACK}=  "],
    "a pattern": [*[word for word in WORDS if not word.startswith(STACK)], f"{STACK}=*"],
    "a key twice": [*WORDS, f"{STACK}=dev"],
    "a word twice": [*WORDS, WORDS[0]],
    "what outlives runs": [*[word for word in WORDS if not word.startswith(RUN)], f"{RUN}=bench"],
    "only the product's": ["galaxy.backend=1", "galaxy.stack=integration"],
    "no label": [*WORDS, "=x"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_filter_that_could_match_more_is_refused(name: str) -> None:
    with pytest.raises(OwnershipError):
        ownership(REFUSED[name])


def test_a_filter_goes_to_the_engine_as_a_list_of_all() -> None:
    assert ownership([*WORDS, "galaxy.backend=1"]).words() == [*WORDS, "galaxy.backend=1"]


TEXT = st.text(max_size=6)
LABELS = st.dictionaries(
    st.sampled_from([OWNER, STACK, RUN, KIND, "galaxy.backend", "org"]), st.one_of(TEXT, st.sampled_from(list(MINE.values())))
)


@given(LABELS)
def test_only_all_three_with_their_values_are_ours(labels: dict[str, str]) -> None:
    assert OWN.owns(labels) == (MINE.items() <= labels.items())


@pytest.mark.parametrize("labels", [None, [], "", 0, {OWNER: None}])
def test_what_is_no_mapping_of_labels_is_not_ours(labels: Any) -> None:
    assert not OWN.owns(labels)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (17, 17.0),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.250000001Z", 60.250000001),
        ("1970-01-01T02:00:00+02:00", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("yesterday", 0.0),
    ],
)
def test_moments_of_the_engine(moment: Any, seconds: float) -> None:
    assert _owned.seconds(moment) == pytest.approx(seconds)


# Strangers

# Whoever says what kind an object is, is one of us, and then says whose it is: another run, or another checkout.
ANOTHER_OF_US = st.sampled_from(
    [{**MINE, key: "else", KIND: kind} for key in (OWNER, STACK, RUN) for kind in ("container", "image")]
)
FOREIGN = st.one_of(
    ANOTHER_OF_US,
    st.dictionaries(
        st.sampled_from([OWNER, STACK, RUN, "galaxy.backend", "galaxy.stack", _owned.PROJECT]),
        st.sampled_from([*MINE.values(), "dev", "bench", "p1", "1"]),
    ).filter(lambda labels: not MINE.items() <= labels.items()),
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Creations by us and by strangers in any order; strangers build upon ours, run ours, join our networks, use our volumes."""
    kinds = st.sampled_from(["box", "net", "vol", "img", "tag"])
    steps: list[tuple[Any, ...]] = []
    for number in range(draw(st.integers(1, 12))):
        ours = draw(st.booleans())
        labels = {**MINE, **draw(st.sampled_from([{}, {KIND: "container"}]))} if ours else draw(FOREIGN)
        state = draw(st.sampled_from(["running", "exited", "created", "paused"]))
        steps.append((draw(kinds), ours, labels, number, draw(st.integers(0, 20)), draw(st.booleans()), state))
    return steps


def play(world: World, steps: list[tuple[Any, ...]]) -> tuple[set[str], set[str]]:
    """Make everything; return the names of strangers' objects and of ours."""
    theirs, ours = {"image sha256:plain", "tag debian:trixie-slim"}, set()
    for kind, mine, said, number, pick, upon, state in steps:
        labels = said
        who = "ours" if mine else "theirs"
        images, nets, vols = list(world.imgs), list(world.nets), list(world.vols)
        name = f"{who}-{number}"
        image = images[pick % len(images)] if upon else PLAIN
        if not mine and OWN.owns({**world.imgs[image]["labels"], **labels}):
            # Some of the labels from an image and the others by hand would be forged: nobody else writes what our run is called.
            labels = {key: value for key, value in labels.items() if key not in MINE}
        if kind == "box":
            net = (nets[pick % len(nets)],) if nets and upon else ()
            vol = (vols[pick % len(vols)],) if vols and upon else ()
            world.box(name, labels, image=image, nets=net, vols=vol, state=state)
            made = f"container {name}"
        elif kind == "net":
            world.net(name, labels)
            made = f"network {name}"
        elif kind == "vol":
            made = f"volume {world.vol(name, labels)}"
        elif kind == "tag":
            # A further name for any image, by a stranger.
            world.imgs[image]["tags"].append(f"theirs/{number}:1")
            theirs.add(f"tag theirs/{number}:1")
            continue
        else:
            base = world.imgs[image]
            inherited = {**base["labels"], **labels}
            identity = world.img("", inherited, (*base["layers"], *([name] if pick % 2 else [])), (f"{name}:1",))
            made = f"image {identity}"
            (ours if mine else theirs).add(f"tag {name}:1")
        (ours if mine else theirs).add(made)
    return theirs, ours


@settings(max_examples=400)
@given(histories(), st.booleans())
def test_no_history_of_creations_removes_what_is_a_strangers(steps: list[tuple[Any, ...]], either: bool) -> None:
    world = World(either=either)
    theirs, ours = play(world, steps)
    means = Means(world, lambda _seconds: None, workers=1)
    for _turn in range(2):
        outcome = Prune(OWN, Scope(), means).run()
        assert theirs <= world.names()
    # And the other half of the promise: what is ours is gone, or told.
    told = {f"{one['kind']} {one['id' if one['kind'] == 'image' else 'name']}" for one in [*outcome.left, *outcome.spared]}
    left = {name for name in ours & world.names() if not name.startswith("tag ")}
    assert left <= told


@given(histories())
def test_a_dry_run_removes_nothing_at_all(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    play(world, steps)
    before = world.names()
    Prune(OWN, Scope(dry=True), Means(world, lambda _seconds: None, workers=1)).run()
    assert (world.names(), world.log) == (before, [])


# State directories

FILES = RealFiles()


def state_directory(parent: Path, number: int = 1, own: _owned.Ownership = OWN) -> Path:
    return Path(_owned_dirs.make(FILES, str(parent), own, f"{number:032x}", ME))


def remove_all(parent: Path, mounted: list[str] | None = None) -> list[str]:
    found = _owned_dirs.find(FILES, [str(parent)], OWN)
    return [one.why or _owned_dirs.remove(FILES, one, OWN, lambda: mounted or []) for one in found]


def test_two_starts_have_two_directories_and_both_go(tmp_path: Path) -> None:
    one, two = state_directory(tmp_path, 1), state_directory(tmp_path, 2)
    assert one != two
    for path in (one, two):
        assert path.stat().st_mode & 0o777 == 0o700
        assert json.loads((path / ".benchkeeper.json").read_text())["path"] == str(path), "the same path inside and outside"
    (one / "game-1" / "deep").mkdir(parents=True)
    (one / "game-1" / "deep" / "save").write_bytes(b"x")
    assert remove_all(tmp_path) == ["", ""]
    assert list(tmp_path.iterdir()) == []
    assert remove_all(tmp_path) == []


def test_the_same_start_makes_no_second_one(tmp_path: Path) -> None:
    state_directory(tmp_path)
    with pytest.raises(FileExistsError):
        state_directory(tmp_path)
    with pytest.raises(FileError):
        _owned_dirs.make(FILES, str(tmp_path), OWN, "../x", ME)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "theirs").write_text("x")
    ours = state_directory(tmp_path)
    (ours / "way-out").symlink_to(stranger)
    (tmp_path / f"benchkeeper-{OWN.run}-{2:032x}").symlink_to(stranger)
    assert remove_all(tmp_path) == [""]
    assert (stranger / "theirs").read_text() == "x"


def test_a_copy_or_a_moved_one_is_spared(tmp_path: Path) -> None:
    ours = state_directory(tmp_path)
    ours.rename(tmp_path / "theirs-now")
    assert "its marker was made for" in remove_all(tmp_path)[0]
    assert (tmp_path / "theirs-now").is_dir()


@pytest.mark.parametrize(
    "marker",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        json.dumps({**OWN.marker(), "run": "another"}).encode(),
        json.dumps({**OWN.marker(), "stack": None}).encode(),
        b"x" * 5000,
    ],
)
def test_a_marker_that_is_not_ours_saves_the_directory(tmp_path: Path, marker: bytes) -> None:
    path = tmp_path / "somebodys"
    path.mkdir()
    (path / ".benchkeeper.json").write_bytes(marker)
    (path / "theirs").write_text("x")
    assert remove_all(tmp_path) == []
    assert (path / "theirs").exists()


def test_a_keepers_directory_is_left_to_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "checkout"
    path.mkdir()
    (path / ".benchkeeper.json").write_text(json.dumps(OWN.marker()))
    assert remove_all(tmp_path) == ["it belongs to a keeper's journal"]
    assert path.is_dir()


def test_one_whose_maker_died_before_the_marker_goes_if_it_is_empty(tmp_path: Path) -> None:
    bare, half, full = (tmp_path / f"benchkeeper-{OWN.run}-{number:032x}" for number in (1, 2, 3))
    for path in (bare, half, full):
        path.mkdir()
    (half / ".benchkeeper.json").write_bytes(b'{"owner": "0a')
    (full / "theirs").write_text("x")
    assert remove_all(tmp_path) == ["", ""]
    assert list(tmp_path.iterdir()) == [full]


def test_what_is_mounted_inside_is_not_entered(tmp_path: Path) -> None:
    ours = state_directory(tmp_path)
    (ours / "data").mkdir()
    (ours / "data" / "theirs").write_text("x")
    with pytest.raises(FileError, match="mounted"):
        remove_all(tmp_path, [f"{ours}/data"])
    assert (ours / "data" / "theirs").exists()


def test_a_directory_that_was_exchanged_is_spared(tmp_path: Path) -> None:
    ours = state_directory(tmp_path)
    found = _owned_dirs.find(FILES, [str(tmp_path)], OWN)[0]
    kept = tmp_path / "kept"
    ours.rename(kept)
    another = state_directory(tmp_path)
    assert "another directory" in _owned_dirs.remove(FILES, found, OWN, list)
    assert another.is_dir()


def test_mounts_are_read_with_their_odd_names(tmp_path: Path) -> None:
    info = tmp_path / "mountinfo"
    info.write_text("22 1 0:20 / /a\\040b rw - tmpfs tmpfs rw\n23 1 0:20 / / rw - ext4 x rw\n")
    assert _owned_dirs.mounts(str(info)) == ["/a b", "/"]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([None, "ours", "run", "path"])),
        max_size=5,
        unique_by=lambda each: each[0],
    )
)
def test_no_directory_of_a_stranger_goes(made: list[tuple[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name, sort in made:
            path = root / name
            path.mkdir()
            (path / "file").write_text("x")
            marker = {**OWN.marker(), "path": str(path)}
            marker.update({"run": {"run": "else"}, "path": {"path": "/elsewhere"}}.get(sort or "", {}))
            if sort:
                (path / ".benchkeeper.json").write_text(json.dumps(marker))
        remove_all(root)
        assert {path.name for path in root.iterdir()} == {name for name, sort in made if sort != "ours"}


def test_an_empty_directory_of_a_stranger_stays(tmp_path: Path) -> None:
    for name in (
        "empty",
        f"benchkeeper-{OWN.run}-notes",
        f"benchkeeper-20260131T120000Z-ffffff-{1:032x}",
        f"benchkeeper-{OWN.run}",
    ):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    assert remove_all(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == before


def test_the_marker_goes_last_so_that_half_a_removal_can_be_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = state_directory(tmp_path)
    (ours / "zzz").write_text("x")
    unlink = RealDirectory.unlink

    def refused(self: RealDirectory, name: str) -> None:
        if name == "zzz":
            raise PermissionError(1, "Operation not permitted")
        unlink(self, name)

    with monkeypatch.context() as patched:
        patched.setattr(RealDirectory, "unlink", refused)
        with pytest.raises(PermissionError):
            remove_all(tmp_path)
    assert remove_all(tmp_path) == [""]
    assert list(tmp_path.iterdir()) == []


def test_neither_another_filesystem_nor_an_absurd_depth_is_entered(tmp_path: Path) -> None:
    ours = state_directory(tmp_path)
    (ours / "data").mkdir()
    with opened(FILES, str(ours)) as directory:
        found = directory.stat()
        assert found is not None
        with pytest.raises(FileError, match="another filesystem"):
            _owned_dirs._clear(directory, found.dev + 1)
        with pytest.raises(FileError, match="deeper than"):
            _owned_dirs._clear(directory, found.dev, 200)
    assert (ours / "data").is_dir()
