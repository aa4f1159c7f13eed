"""What was stopped runs again; what the step saw in between is written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


def steps(results: Path) -> dict[str, dict[str, Any]]:
    lines = (results / "work" / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    return {one["id"]: one for one in map(json.loads, lines)}


def test_the_step_went_well(results: Path) -> None:
    step = steps(results)["lifecycle.caddy_down"]
    assert step["ok"], step


def test_it_really_was_down(results: Path) -> None:
    look = json.loads((results / "work" / "snapshots" / "lifecycle-down-bench-0.json").read_text(encoding="utf-8"))
    assert look["observed"]["stack"]["services"]["caddy"]["state"] != "running"


def test_it_runs_again(host: Host) -> None:
    assert host.check_output("docker inspect --format '{{.State.Status}}' caddy") == "running"


def test_without_its_scenario_a_step_is_not_run(results: Path) -> None:
    skipped = json.loads((results / "work" / "skipped.json").read_text(encoding="utf-8"))
    assert [(one["ok"], one["why"]) for one in skipped] == [(None, "not run")]
