"""The table of tests that would have caught the incident, on the real engine: labels, runs, states, kinds, directories."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import KIND

from tests.e2e.owned.engine_rig import PLANTED, mark
from tests.unit.owned.test_matrix import OWN, TABLE
from tests.unit.spawner_stack.test_spawner import eventually

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._owned import Ownership

    from tests.e2e.owned.engine_rig import Rig

# The unit tests' own table. No API brings a container into that state.
STATES = {state for row in TABLE.values() for state in row.states} - {"dead"}


def of_run(labels: dict[str, str], own: Ownership) -> dict[str, str]:
    """Labels of the table, with this run's values for the table's."""
    values = ((OWN.run, own.run), (OWN["benchkeeper.owner"], own["benchkeeper.owner"]))
    return {key: value.replace(*values[0]).replace(*values[1]) for key, value in labels.items()}


@pytest.mark.parametrize("name", TABLE)
def test_what_goes_and_what_stays_on_the_engine(rig: Rig, name: str) -> None:
    row, run = TABLE[name], rig.begin()
    wanted = {box: row.states.get(box, "running") for box in row.boxes if row.states.get(box) != "dead"}
    stays = {box: {**of_run(row.boxes[box], run.own), PLANTED: mark()} for box in wanted if box not in row.goes}
    goes = {box: of_run(row.boxes[box], run.own) for box in wanted if box in row.goes}
    ids = rig.boxes({box: (labels, wanted[box]) for box, labels in {**stays, **goes}.items()})
    outcome = run.end()
    assert {one["id"] for one in outcome.removed} == {ids[box] for box in goes}
    assert {box: rig.state(ids[box]) for box in ids} == {box: "gone" if box in goes else wanted[box] for box in ids}
    assert (outcome.clean, outcome.spared) == (True, []), "what is not ours is not even listed"
    again = run.end()
    assert (again.removed, again.clean) == ([], True), "the second time changes nothing"


def test_every_state_of_the_table_was_tried() -> None:
    assert {"created", "running", "paused", "restarting", "exited"} == STATES


def test_every_kind_goes_and_only_ours(rig: Rig) -> None:
    ours, theirs = rig.begin(), rig.begin()
    found, others = rig.everything(ours), rig.everything(theirs)
    outcome = ours.end()
    assert outcome.clean, (outcome.left, outcome.strays)
    assert [one["kind"] for one in outcome.as_json()["removed"]] == ["container", "network", "volume", "image", "directory"]
    assert rig.there(found) == set()
    assert rig.there(others) == set(others)
    assert rig.kinds_left(theirs) == {*others, "lease"}, "what is looked for at the end of every test is seen when it is there"


def test_two_runs_end_at_the_same_time_and_each_takes_only_its_own(rig: Rig) -> None:
    runs = [rig.begin() for _number in range(3)]
    for run in runs:
        net = rig.network(run.labels)
        for _each in range(2):
            rig.box(run.labels, NetworkMode=net)
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda run: run.end(), runs[:2]))
    for run, outcome in zip(runs, outcomes, strict=False):
        assert outcome.clean, (outcome.left, outcome.strays)
        assert [one["kind"] for one in outcome.as_json()["removed"]] == ["container", "container", "network"]
        assert rig.left(run.lease.run) == []
    third = [one.split()[0] for one in rig.left(runs[2].lease.run)]
    assert sorted(third) == ["container", "container", "lease", "network"]


def test_each_start_has_a_directory_of_its_own_with_one_path_inside_and_outside(rig: Rig) -> None:
    run = rig.begin()
    paths = [run.state_directory() for _start in range(2)]
    assert len(set(paths)) == 2
    assert {stat.S_IMODE(Path(path).stat().st_mode) for path in paths} == {0o700}
    for path in paths:
        # The game's image writes where it was told that its state is.
        box = rig.box(
            {**run.labels, KIND: "container"}, image=rig.images.game, Binds=[f"{path}:{path}"], env=[f"GAME_STATE={path}"]
        )
        said = Path(path, "where")
        assert eventually(lambda said=said: said.is_file() and said.read_text(encoding="utf-8")) == path  # type: ignore[misc]
        mounts = rig.engine.inspect(box)["Mounts"]
        assert [(one["Source"], one["Destination"]) for one in mounts] == [(path, path)]
    assert run.end().clean
    assert list(rig.place.iterdir()) == []


def test_a_strangers_container_of_our_image_is_spared_and_so_is_the_image(rig: Rig) -> None:
    """The engine hands the labels of an image down: this one carries our triple, and is not ours."""
    run = rig.begin()
    tag = rig.image(run)
    theirs = rig.stranger({}, image=tag)
    assert run.own.owns(rig.engine.inspect(theirs)["Config"]["Labels"])
    outcome = run.end()
    assert [(one["kind"], one["id"]) for one in outcome.spared] == [("container", theirs)]
    assert [one["kind"] for one in outcome.left] == ["image"]
    assert "container" in outcome.left[0]["why"]
    assert rig.state(theirs) == "running"
    rig.let_go(theirs)
    assert run.end().clean


def test_what_a_stranger_shares_with_us_is_told_and_not_touched(rig: Rig) -> None:
    """Somebody hung a container on the run's network: it is no child of ours for certain, so it is left to a person."""
    run = rig.begin()
    net = rig.network(run.labels)
    theirs = rig.stranger({"galaxy.backend": "1"}, NetworkMode=net)
    outcome = run.end()
    assert [(one["id"], one["why"]) for one in outcome.strays] == [(theirs, f"is attached to the run's network {net}")]
    assert [one["kind"] for one in outcome.left] == ["network"]
    assert not outcome.clean
    assert run.file.exists(), "a run of which something is left is not forgotten"
    rig.let_go(theirs)
    assert run.end().clean
