"""The smallest stack by the same commands: data alone bring it up, prove it, find its bugs; and the bench goes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Bench

HELLO = ("--stack", "hello")


def machines(bench: Bench) -> list[str]:
    return [one["name"] for one in bench.status()["machines"] if one["state"] == "running"]


def test_main_of_the_smallest_stack_is_good_and_leaves_nothing(bench: Bench) -> None:
    """Whatever stack the machines carried before."""
    done = bench.run("e2e", "main", *HELLO)
    assert done.returncode == 0
    result = bench.result()
    assert (result["stack"], result["verdict"], result["exit_code"]) == ("hello", "good", 0)
    assert {name: host["proven"] for name, host in result["restored"].items()} == {"bench-0": True}
    verdicts = (bench.root / "results" / "latest" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    passed = {one["id"] for one in map(json.loads, verdicts) if one["verdict"] == "pass"}
    assert {"web.commit", "web.greeting", "scenario.apply", "fault.web_killed"} <= passed
    assert (result["counts"]["fail"], result["counts"]["error"], result["counts"]["warn"]) == (0, 0, 0)
    # It plants no secret: that none was found is no proof, and is not counted as one.
    assert result["counts"]["skip"] == 1
    assert bench.leased() == []
    assert machines(bench) == ["bench-0"]
    look = "ls -d /srv/code/*; docker ps --format '{{.Names}} {{.Label \"com.docker.compose.project.working_dir\"}}'"
    assert bench.ssh("bench-0", look).split() == ["/srv/code/hello", "hello-web", "/srv/code/hello"]
    assert json.loads(bench.ssh("bench-0", "curl -s http://127.0.0.1:8080/")) == {"greeting": "Hello"}


def test_its_planted_bugs_are_red_for_their_reason_and_everything_is_back(bench: Bench) -> None:
    done = bench.run("planted", *HELLO)
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("greeting-", "upgrade-"))]
    assert [(row[0], row[1], row[2], row[4], row[5]) for row in rows] == [
        ("greeting-written-down", "1", "yes", "yes", "web.greeting"),
        ("upgrade-does-not-build", "1", "yes", "yes", "web.commit"),
    ]
    assert bench.leased() == []


@pytest.mark.parametrize("miners", ["miner-0", "miner-9", "none,none"])
def test_a_miner_for_a_stack_that_borrows_none_is_refused(bench: Bench, miners: str) -> None:
    before = bench.status()
    done = bench.run("e2e", "main", *HELLO, "--miners", miners)
    assert done.returncode == 2
    assert "borrows no miners" in done.stderr
    assert bench.status() == before


def test_it_can_only_be_looked_at(bench: Bench) -> None:
    assert bench.run("e2e", "main", *HELLO, "--miners", "none", "--mode", "check").returncode == 0
    assert bench.result()["restored"]["bench-0"]["proven"]


def test_what_a_person_keeps_is_not_taken_by_another_stack(bench: Bench) -> None:
    """A bench in use is neither replaced nor given another baseline; after its recovery it may be."""
    assert bench.run("e2e", "main", *HELLO, "--keep", "--ttl", "600").returncode == 4
    done = bench.run("up", "--stack", "pithead")
    assert done.returncode == 75
    assert "bench-0" in done.stderr
    assert machines(bench) == ["bench-0"]
    assert bench.run("recover").returncode == 0
    assert bench.leased() == []


def test_the_first_stack_comes_back_to_the_same_bench(bench: Bench) -> None:
    assert bench.run("e2e", "main", "--mode", "check").returncode == 0
    assert machines(bench) == ["bench-0", "miner-0", "miner-1", "pool-0"]
    assert bench.ssh("bench-0", "ls /srv/code").split() == ["pithead"]
    assert bench.run("recover").returncode == 0, "nothing to do, also on machines that were not there before"
