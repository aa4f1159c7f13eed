"""What the steps did is on the host; how they went is written down, red ones as red."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]
PLACES = ("/srv/code/pithead-e2e", "/srv/code/pithead")


def steps(results: Path) -> dict[str, dict[str, Any]]:
    lines = (results / "work" / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    return {one["id"]: one for one in map(json.loads, lines)}


def test_the_configuration_was_set_in_the_checkout_only(host: Host) -> None:
    pools = [json.loads(host.check_output(f"cat {place}/config.json")).get("p2pool", {}).get("pool") for place in PLACES]
    assert pools[0] == "nano"
    assert pools[1] != "nano"


def test_a_step_that_went_well_left_its_look(results: Path) -> None:
    assert steps(results)["scenario.edit"]["ok"], steps(results)["scenario.edit"]
    assert (results / "work" / "snapshots" / "scenario-small-bench-0.json").is_file()


def test_a_step_that_went_wrong_says_why(results: Path) -> None:
    red = steps(results)["scenario.red"]
    assert not red["ok"]
    assert "ended with 0, not 3" in red["why"]


def test_every_command_is_in_the_journal(lease: Callable[[], dict[str, Any]]) -> None:
    names = [item["item"] for item in lease()["items"]]
    assert {"scenario.edit.1", "scenario.edit.2", "scenario.red.1"} <= {*names}
