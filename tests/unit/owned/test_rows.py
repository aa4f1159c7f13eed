"""Every row of the matrix of cleanup tests has its tests, and they are there: a renamed one is missed here, not in production."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1]
E2E = UNIT.parent / "e2e" / "owned"
MATRIX, SWEEP, WATCHER, REAP = (UNIT / "owned" / f"test_{name}.py" for name in ("matrix", "sweep", "watcher", "reap"))
OWNED = UNIT / "owned" / "test__owned.py"
SPAWNER, FILTER = (UNIT / "spawner_stack" / f"test_{name}.py" for name in ("spawner", "socket_filter"))

ROWS: dict[str, list[tuple[Path, str]]] = {
    "foreign stack survives": [
        (MATRIX, "test_what_goes_and_what_stays"),
        (OWNED, "test_no_history_of_creations_removes_what_is_a_strangers"),
    ],
    "AND, not OR": [(MATRIX, "test_what_goes_and_what_stays"), (OWNED, "test_a_filter_that_could_match_more_is_refused")],
    "values are exact": [(MATRIX, "test_what_goes_and_what_stays"), (OWNED, "test_only_all_three_with_their_values_are_ours")],
    "per run": [(MATRIX, "test_two_runs_clean_up_at_the_same_time_and_each_only_its_own")],
    "every state": [(MATRIX, "test_what_goes_and_what_stays")],
    "a label cannot be dropped": [
        (SPAWNER, "test_extra_environment_cannot_change_whose_the_engines_are"),
        (SPAWNER, "test_a_start_that_is_refused_makes_nothing"),
        (FILTER, "test_a_label_cannot_be_talked_out_of"),
    ],
    "spawned by the backend": [
        (SPAWNER, "test_engines_that_the_backend_makes_carry_the_triple_and_go_with_the_run"),
        (SPAWNER, "test_engines_without_the_triple_are_found_by_their_ancestry"),
        (MATRIX, "test_a_child_without_the_triple_is_told_and_not_touched"),
    ],
    "kill -9 of the runner": [
        (WATCHER, "test_kill_9_of_the_supervisor_leaves_nothing"),
        (WATCHER, "test_kill_9_of_supervisor_and_watcher_is_cleaned_up_by_the_next_command"),
        (SWEEP, "test_a_dead_run_goes_and_a_live_one_and_a_stranger_stay"),
    ],
    "a reaper races a live run": [
        (SWEEP, "test_nothing_of_a_live_run_is_touched_while_it_is_looked_at"),
        (WATCHER, "test_nothing_is_touched_while_the_supervisor_lives"),
        (REAP, "test_a_named_run_that_lives_is_refused"),
    ],
    "a second cleanup": [(MATRIX, "test_what_goes_and_what_stays"), (REAP, "test_the_dead_go_and_the_living_stay")],
    "a cleanup that fails": [
        (MATRIX, "test_an_engine_that_does_not_say_what_is_there_is_an_error"),
        (MATRIX, "test_a_refused_removal_is_told_with_its_reason"),
        (SWEEP, "test_the_module_never_calls_an_engine_that_is_gone_clean"),
        (REAP, "test_an_engine_that_is_gone_is_never_nothing_to_do"),
    ],
    "state directories": [
        (OWNED, "test_two_starts_have_two_directories_and_both_go"),
        (SPAWNER, "test_the_state_directory_has_one_path_inside_and_outside"),
    ],
    "readiness": [
        (SPAWNER, "test_a_backend_that_ends_at_once_is_told_at_once_with_its_log"),
        (SPAWNER, "test_a_backend_that_is_never_ready_is_told_with_the_port"),
        (SPAWNER, "test_a_push_port_that_listens_late_is_waited_for"),
    ],
    "the reconciler's view": [
        (SPAWNER, "test_engines_that_the_backend_makes_carry_the_triple_and_go_with_the_run"),
        (SPAWNER, "test_the_incident_itself_turns_the_sandbox_red"),
    ],
}

# The same rows on the real engine.
ON_ENGINE: dict[str, list[tuple[str, str]]] = {
    "foreign stack survives": [("matrix", "test_what_goes_and_what_stays_on_the_engine")],
    "AND, not OR": [("matrix", "test_what_goes_and_what_stays_on_the_engine")],
    "values are exact": [("matrix", "test_what_goes_and_what_stays_on_the_engine")],
    "per run": [("matrix", "test_two_runs_end_at_the_same_time_and_each_takes_only_its_own")],
    "every state": [("matrix", "test_every_state_of_the_table_was_tried")],
    "a label cannot be dropped": [
        ("backend", "test_extra_environment_that_says_whose_it_is_is_refused_before_anything_is_made"),
        ("filter", "test_labels_cannot_be_chosen_and_nothing_reaches_past_the_run"),
    ],
    "spawned by the backend": [
        ("backend", "test_engines_of_a_backend_carry_the_triple_and_go_with_the_run"),
        ("backend", "test_engines_without_the_triple_are_found_by_ancestry_and_fail_the_run"),
    ],
    "kill -9 of the runner": [
        ("killed", "test_kill_9_of_the_supervisor_leaves_nothing"),
        ("killed", "test_kill_9_of_supervisor_and_watcher_is_cleaned_up_by_the_next_command"),
    ],
    "a reaper races a live run": [("killed", "test_a_reaper_that_comes_while_a_run_lives_removes_nothing")],
    "a second cleanup": [("killed", "test_the_second_cleanup_changes_nothing")],
    "a cleanup that fails": [
        ("killed", "test_an_engine_that_cannot_be_reached_is_never_nothing_to_do"),
        ("killed", "test_an_engine_that_refuses_to_remove_is_told_with_its_reason"),
    ],
    "state directories": [("matrix", "test_each_start_has_a_directory_of_its_own_with_one_path_inside_and_outside")],
    "readiness": [
        ("backend", "test_a_backend_that_ends_at_once_is_told_at_once_with_its_log"),
        ("backend", "test_a_backend_that_is_never_ready_is_told_with_port_and_log"),
        ("backend", "test_a_push_port_that_listens_late_is_waited_for"),
    ],
    "the reconciler's view": [("backend", "test_our_cleanup_leaves_the_reconcilers_view_and_the_incidents_turns_it_red")],
}


def defined_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_matrix_is_tested(row: str) -> None:
    assert ROWS[row]
    assert [name for path, name in ROWS[row] if name not in defined_in(path)] == []


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_matrix_is_tested_on_the_real_engine(row: str) -> None:
    assert ON_ENGINE[row]
    assert [name for file, name in ON_ENGINE[row] if name not in defined_in(E2E / f"test_owned_{file}.py")] == []
