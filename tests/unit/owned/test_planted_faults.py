"""The judgements that keep strangers safe, each taken out in turn: the test that stands for it must turn red.

On the engine in memory only. On a real one such a cleanup would do what it did then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned, _owned_dirs, _owned_engine, _owned_runs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import OWNER, RUN, STACK, Ownership
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import Prune

from tests.unit.owned import test__owned as of_rules
from tests.unit.owned import test_matrix as matrix
from tests.unit.owned import test_sweep as sweep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.owned.world import World

Patch = pytest.MonkeyPatch


def only(*keys: str) -> Callable[[Ownership, Any], bool]:
    """A judgement by some of the labels."""
    return lambda own, labels: isinstance(labels, Mapping) and all(labels.get(key) == own[key] for key in keys)


def any_label(patch: Patch) -> None:
    patch.setattr(Ownership, "owns", lambda own, labels: any((labels or {}).get(key) == value for key, value in own.labels))


def run_alone(patch: Patch) -> None:
    patch.setattr(Ownership, "owns", only(RUN))


def without_the_run(patch: Patch) -> None:
    patch.setattr(Ownership, "owns", only(OWNER, STACK))


def without_the_owner(patch: Patch) -> None:
    patch.setattr(Ownership, "owns", only(STACK, RUN))


def keys_alone(patch: Patch) -> None:
    patch.setattr(Ownership, "owns", lambda own, labels: all(key in (labels or {}) for key, _value in own.labels))


def without_case(patch: Patch) -> None:
    def owns(own: Ownership, labels: Any) -> bool:
        return all(str((labels or {}).get(key, "")).lower() == value.lower() for key, value in own.labels)

    patch.setattr(Ownership, "owns", owns)


def by_prefix(patch: Patch) -> None:
    def owns(own: Ownership, labels: Any) -> bool:
        return all(str((labels or {}).get(key, "")).startswith(value) for key, value in own.labels)

    patch.setattr(Ownership, "owns", owns)


def the_lists_word_is_taken(patch: Patch) -> None:
    """No second look: what was ours on the list is removed, whatever it is by now."""
    engine = {"container": "remove", "network": "remove_network", "image": "remove_image"}

    def remove(kind: str) -> Callable[[Prune, Any], str]:
        more = {"container": {"force": True}, "image": {"noprune": True}}.get(kind, {})

        def act(prune: Prune, one: Any) -> str:
            getattr(prune._engine, engine[kind])(one.id, **more)
            return ""

        return act

    for kind in engine:
        patch.setattr(Prune, f"_{kind}", remove(kind))


def every_holder_is_gone(patch: Patch) -> None:
    patch.setattr(_owned_runs, "state", lambda *_words, **_more: _owned_runs.DEAD)


def silence_is_an_empty_list(patch: Patch) -> None:
    def guarded(look: Callable[[Prune], list[Any]]) -> Callable[[Prune], list[Any]]:
        def act(prune: Prune) -> list[Any]:
            try:
                return look(prune)
            except EngineError:
                return []

        return act

    for name in ("candidates", "look_for_strays"):
        patch.setattr(Prune, name, guarded(getattr(Prune, name)))


def children_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(_owned, "strays", lambda *_words: [])


def heirs_are_ours(patch: Patch) -> None:
    patch.setattr(_owned, "inherits", lambda *_words: False)


def the_path_of_a_marker_is_not_compared(patch: Patch) -> None:
    def judge(directory: Any, root: str, name: str, own: Ownership) -> list[Any]:
        found = known(directory, root, name, own)
        return [_owned_dirs.Found(one.path, one.dev, one.ino) for one in found]

    known = _owned_dirs._judge
    patch.setattr(_owned_dirs, "_judge", judge)


def partial_filters_pass(patch: Patch) -> None:
    patch.setattr(_owned, "TRIPLE", (OWNER,))


def row(name: str) -> Callable[[Path], None]:
    """A row of the table, on an engine whose filter lets through what has any of the labels: then only our judgement counts."""
    return lambda _place: matrix.test_what_goes_and_what_stays(name, either=True)


def lost(kind: str) -> Callable[[Path], None]:
    return lambda _place: matrix.test_what_lost_its_labels_since_the_list_is_spared(kind)


def refused(name: str) -> Callable[[Path], None]:
    return lambda _place: of_rules.test_a_filter_that_could_match_more_is_refused(name)


def down(world: World) -> None:
    world.down = True


@dataclass(frozen=True)
class Planted:
    """What is taken out, and the tests that must be red then."""

    plant: Callable[[Patch], None]
    red: tuple[Callable[[Path], None], ...]


PLANTED = {
    "OR instead of AND": Planted(any_label, (row("two of three are not three"), row("one label alone is nobody's"))),
    "one label alone": Planted(run_alone, (row("foreign stack survives"), row("another checkout of the same stack"))),
    "the run does not count": Planted(without_the_run, (row("each run cleans only its own"), row("what outlives runs"))),
    "the owner does not count": Planted(without_the_owner, (row("another checkout of the same stack"),)),
    "the value does not count": Planted(keys_alone, (row("values are exact"), row("each run cleans only its own"))),
    "capitals do not count": Planted(without_case, (row("values are exact"),)),
    "the end of a value does not count": Planted(by_prefix, (row("values are exact"),)),
    "no second look": Planted(the_lists_word_is_taken, tuple(lost(kind) for kind in ("container", "network", "image"))),
    "everybody is dead": Planted(
        every_holder_is_gone,
        (
            lambda place: sweep.test_nothing_of_a_live_run_is_touched_while_it_is_looked_at(sweep.Scene(place)),
            lambda place: sweep.test_a_run_of_another_computer_is_left_alone(sweep.Scene(place)),
        ),
    ),
    "silence means nothing is there": Planted(
        silence_is_an_empty_list, (lambda _place: matrix.test_an_engine_that_does_not_say_what_is_there_is_an_error(down),)
    ),
    "children are not looked for": Planted(
        children_are_not_looked_for,
        (lambda place: matrix.test_a_child_without_the_triple_is_told_and_not_touched(matrix.on_volume, place),),
    ),
    "heirs are ours": Planted(
        heirs_are_ours,
        (
            lambda _place: matrix.test_a_strangers_container_of_our_image_is_spared_and_so_is_the_image(),
            lambda _place: matrix.test_a_strangers_image_upon_ours_is_spared_and_so_is_ours(("base", "ours", "theirs")),
        ),
    ),
    "a copied marker counts": Planted(the_path_of_a_marker_is_not_compared, (of_rules.test_a_copy_or_a_moved_one_is_spared,)),
    "less than the triple will do": Planted(partial_filters_pass, (refused("no stack"), refused("two labels"))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_judgement_that_is_taken_out_is_missed(name: str, tmp_path: Path) -> None:
    planted = PLANTED[name]
    assert planted.red
    for number, test in enumerate(planted.red):
        places = [tmp_path / f"{number}-{word}" for word in ("green", "red")]
        for place in places:
            place.mkdir()
        test(places[0])  # green as it is
        with pytest.MonkeyPatch.context() as patch:
            planted.plant(patch)
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                test(places[1])


def test_the_planted_faults_are_gone() -> None:
    assert Prune._container is _owned_engine.Prune._container
    assert _owned.TRIPLE == (OWNER, STACK, RUN)
