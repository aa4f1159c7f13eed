"""The laws of playbooks and roles, on the parsed files: each stands for a way in which cleaning up was seen to be skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").rglob("*.yml"))
ROLE_TASKS = sorted((ROOT / "roles").glob("*/tasks/*.yml"))
# Plays that lend hosts to a run and give them back.
BORROWING = [ROOT / "playbooks" / name for name in ("e2e.yml", "recover.yml")]
FORBIDDEN_KEYS = (
    "serial",
    "run_once",
    "any_errors_fatal",
    "notify",
    "handlers",
    "until",
    "retries",
    "ignore_errors",
    "max_fail_percentage",
)
FORBIDDEN_ACTIONS = ("include_role", "include_tasks", "include", "pause", "wait_for", "raw", "set_fact")
# On a leased host only these may run: they go through the keeper, or change nothing.
KEEPER_MODULES = ("lease", "host_proof", "keeper_recover", "stack_step")
# Roles that work before anything is leased or outside a run.
UNLEASED = ("keeper", "machine", "baseline", "reap")
BLOCKS = ("block", "rescue", "always")


def load(path: Path) -> list[dict[str, Any]]:
    data = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    assert isinstance(data, list), path
    return data


def walk(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in BLOCKS:
            yield from walk(task.get(part, []))


def tasks_of(path: Path) -> list[dict[str, Any]]:
    data = load(path)
    if path.parent.name == "tasks":
        return list(walk(data))
    return [task for play in data for part in ("pre_tasks", "tasks", "post_tasks") for task in walk(play.get(part, []))]


def action(task: dict[str, Any]) -> str:
    return next((key for key in task if "." in key), "")


def short(task: dict[str, Any]) -> str:
    return action(task).rsplit(".", 1)[-1]


def violations(path: Path) -> list[str]:
    found = []
    for task in tasks_of(path):
        name = task.get("name", "?")
        found += [f"{name}: {key}" for key in FORBIDDEN_KEYS if key in task]
        if short(task) in FORBIDDEN_ACTIONS:
            found.append(f"{name}: {action(task)}")
        if short(task) == "meta" and str(task[action(task)]).startswith("end_"):
            found.append(f"{name}: meta end")
        if "{{" in str(task.get("throttle", "")):
            found.append(f"{name}: templated throttle")
        if not action(task) and not any(part in task for part in BLOCKS):
            found.append(f"{name}: no fully qualified action")
    return found


def remote_violations(path: Path) -> list[str]:
    """A step on another host survives a dead host, and goes through the keeper once hosts are leased."""
    found = []
    for task in tasks_of(path):
        target = str(task.get("delegate_to", "localhost"))
        if target == "localhost":
            continue
        if "loop" in task and not task.get("ignore_unreachable"):
            found.append(f"{task['name']}: a loop over hosts ends at a dead one without ignore_unreachable")
        module = short(task)
        keeper = module in KEEPER_MODULES or module.startswith("guarded_")
        if path.parents[1].name not in UNLEASED and not keeper and not module.endswith(("_info", "_wait")):
            found.append(f"{task['name']}: {module} on a leased host")
    return found


@pytest.mark.parametrize("path", [*PLAYBOOKS, *ROLE_TASKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_skips_cleaning_up(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.parametrize("path", ROLE_TASKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_remote_steps_survive_a_dead_host_and_go_through_the_keeper(path: Path) -> None:
    assert remote_violations(path) == []


@pytest.mark.parametrize("path", BORROWING, ids=lambda path: path.name)
def test_a_borrowing_play_has_rescue_and_always_and_raises_again(path: Path) -> None:
    for play in load(path):
        assert play["hosts"] == "localhost"
        blocks = [task for task in play["tasks"] if "block" in task]
        assert blocks, "no block"
        for block in blocks:
            assert block.get("rescue"), "no rescue"
            assert block.get("always"), "no always"
            assert short(block["rescue"][-1]) == "fail", "a rescue that does not raise again turns the run green"
            assert "ansible_failed_result }}" not in str(block["rescue"]), "a raw failure may hold a secret"


def cleanup_violations(path: Path) -> list[str]:
    """A cleanup goes by all three labels, as a list, or it does not go: one label alone once took another environment with it."""
    found = []
    for task in tasks_of(path):
        arguments = task.get(action(task)) or {}
        words = arguments.get("argv", []) if isinstance(arguments, dict) else str(arguments).split()
        if (
            short(task) in ("command", "shell")
            and "docker" in words
            and ("prune" in words or any("label" in str(word) for word in words))
        ):
            found.append(f"{task['name']}: an engine is cleaned up by hand")
        filters = [arguments[key] for key in arguments if key.endswith("filters")] if isinstance(arguments, dict) else []
        if short(task) == "docker_prune" and (not filters or any(not three_labels(one.get("label")) for one in filters)):
            found.append(f"{task['name']}: a prune by less than three labels")
        if short(task) == "owned_prune" and isinstance(arguments.get("labels"), list) and not three_labels(arguments["labels"]):
            found.append(f"{task['name']}: less than the ownership triple")
    return found


def three_labels(labels: Any) -> bool:
    names = ("benchkeeper.owner=", "benchkeeper.stack=", "benchkeeper.run=")
    return isinstance(labels, list) and all(any(str(word).startswith(name) for word in labels) for name in names)


@pytest.mark.parametrize("path", [*PLAYBOOKS, *ROLE_TASKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_cleans_up_by_less_than_the_ownership_triple(path: Path) -> None:
    assert cleanup_violations(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "- {name: x, community.docker.docker_prune: {containers: true}}",
        "- {name: x, community.docker.docker_prune: {containers: true, containers_filters: {label: galaxy.backend=1}}}",
        "- {name: x, community.docker.docker_prune: {containers: true, containers_filters: {label: [benchkeeper.owner=a]}}}",
        "- {name: x, ansible.builtin.command: docker system prune --force}",
        "- {name: x, ansible.builtin.command: {argv: [docker, ps, --filter, label=galaxy.backend=1]}}",
        "- {name: x, benchkeeper.core.owned_prune: {labels: [benchkeeper.owner=a, benchkeeper.run=b]}}",
    ],
)
def test_the_law_of_cleanups_can_be_broken(text: str, tmp_path: Path) -> None:
    path = tmp_path / "role" / "tasks" / "main.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert cleanup_violations(path)


@pytest.mark.parametrize("path", [*PLAYBOOKS, *ROLE_TASKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_roles_are_imported_by_full_name(path: Path) -> None:
    for task in tasks_of(path):
        if short(task) == "import_role":
            assert task[action(task)]["name"].startswith("benchkeeper.core."), task["name"]


BAD = {
    "retries": "- {name: x, ansible.builtin.command: a, retries: 3}",
    "include": "- {name: x, ansible.builtin.include_tasks: a.yml}",
    "meta end": "- {name: x, ansible.builtin.meta: end_play}",
    "nested": "- {name: x, block: [{name: y, ansible.builtin.command: a, run_once: true}]}",
    "short name": "- {name: x, command: a}",
    "throttle": "- {name: x, ansible.builtin.command: a, throttle: '{{ n }}'}",
}


@pytest.mark.parametrize("name", BAD)
def test_each_law_can_be_broken(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks" / "main.yml"
    path.parent.mkdir()
    path.write_text(BAD[name], encoding="utf-8")
    assert violations(path)


@pytest.mark.parametrize(
    "text",
    [
        "- {name: x, ansible.builtin.copy: {}, delegate_to: bench-0}",
        "- {name: x, benchkeeper.core.lease: {}, delegate_to: bench-0, loop: [1]}",
    ],
)
def test_the_law_of_leased_hosts_can_be_broken(text: str, tmp_path: Path) -> None:
    path = tmp_path / "role" / "tasks" / "main.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert remote_violations(path)
