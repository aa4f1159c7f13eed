from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils import _run_context as rc

ROOT = Path(__file__).parents[4]
GROUPS = {"benches": ["bench-0"], "miners": ["miner-0", "miner-1"]}


def stack_data(name: str) -> dict[str, Any]:
    data = yaml.safe_load((ROOT / "stacks" / "pithead" / f"{name}.yml").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def asked(**values: Any) -> dict[str, Any]:
    request = rc.Request(**{"branch": "main", "groups": GROUPS, **values})
    return {**rc.check_request(request, ["pithead"]), "run_id": "20261121T080000Z-0a1b2c", "commit": "a" * 40}


def context(**values: Any) -> dict[str, Any]:
    return rc.build(asked(**values), stack_data("profile"), stack_data("exercise"), {})


@pytest.mark.parametrize("branch", ["main", "feature/x", "v1.2.3", "fix_1+2", "a" * 200])
def test_plain_branch_names_are_taken(branch: str) -> None:
    assert rc.check_branch(branch) == branch


@pytest.mark.parametrize(
    "branch",
    [
        "",
        "x; rm -rf /",
        "--upload-pack=touch /tmp/p",
        "x';touch${IFS}/tmp/p;'",
        "$(id)",
        "`id`",
        "{{lookup('pipe','id')}}",
        "{%raw%}",
        "a\nb",
        "a\u202eb",
        "a" * 201,
        "a" * 4096,
        "a..b",
        "a//b",
        "a/.b",
        "a.lock",
        "a/",
        ".a",
        "-a",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a@{1}",
        "ä",
        "main\n",
    ],
)
def test_other_branch_names_are_refused(branch: str) -> None:
    with pytest.raises(rc.UsageError) as refused:
        rc.check_branch(branch)
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "matrixx"}, "unknown mode"),
        ({"stack": "nope"}, "unknown stack"),
        ({"stack": "../etc"}, "unknown stack"),
        ({"miners": "miner-9"}, "unknown miner"),
        ({"miners": "miner-0", "lends": False}, "borrows no miners"),
        ({"miners": ["nope"], "lends": False}, "borrows no miners"),
        ({"miners": "miner-0,miner-0"}, "twice"),
        ({"miners": "-oProxyCommand=x"}, "not a host name"),
        ({"miners": ["miner-0", "{{ x }}"]}, "not a host name"),
        ({"bench": "bench-7"}, "unknown bench"),
        ({"workers": 65}, "workers"),
        ({"workers": "many"}, "workers"),
        ({"ttl": 29}, "ttl"),
        ({"ttl": 10**9}, "ttl"),
        ({"wait": -1}, "wait"),
        ({"worker_names": {"miner-0": "a b"}}, "not a worker name"),
        ({"worker_names": {"miner-0": "{{ x }}"}}, "not a worker name"),
        ({"miners": "miner-0,miner-1", "worker_names": {"miner-0": "miner-1"}}, "one worker name"),
        ({"keep": True}, "ttl"),
        ({"keep": True, "ttl": 60, "mode": "check"}, "keep"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(rc.UsageError, match=said):
        asked(**values)


@pytest.mark.parametrize(
    ("given", "taken"),
    [("none", []), ("", []), ([], []), ("miner-1,miner-0", ["miner-0", "miner-1"]), (["miner-1"], ["miner-1"])],
)
def test_leases_are_taken_in_one_order(given: Any, taken: list[str]) -> None:
    assert rc.check_miners(given, GROUPS["miners"]) == taken


def test_check_mode_borrows_nobody() -> None:
    assert asked(mode="check")["miners"] == []


def test_no_placeholder_is_left() -> None:
    def texts(data: Any) -> list[str]:
        if isinstance(data, dict):
            return [text for value in data.values() for text in texts(value)]
        if isinstance(data, list):
            return [text for value in data for text in texts(value)]
        return [data] if isinstance(data, str) else []

    left = [text for text in texts(context()) if rc.PLACE.search(text)]
    assert left == []


def test_the_branch_is_looked_at_where_it_is_deployed() -> None:
    bench = next(host for host in context()["hosts"] if host["kind"] == "bench")
    assert bench["probes"]["env"]["path"] == "/srv/code/pithead/.env"
    assert bench["deployed"]["env"]["path"] == "/srv/code/pithead-e2e/.env"


def test_without_miners_nothing_waits_for_workers() -> None:
    run = context(miners="none")
    assert [signal["name"] for signal in run["deployed"] if signal["name"] == "workers"] == []
    assert [signal["name"] for signal in context()["deployed"] if signal["name"] == "workers"] == ["workers"]


def test_a_miner_is_looked_for_under_its_worker_name() -> None:
    run = context(worker_names={"miner-0": "rig-a", "miner-1": "not borrowed, not judged"})
    assert run["worker_names"] == {"miner-0": "rig-a"}
    (seen,) = run["borrow"]["seen"]["miner-0"]
    assert (seen["name"], seen["all"][0]["value"]) == ("worker miner-0", "rig-a")
    (workers,) = [signal for signal in run["deployed"] if signal["name"] == "workers"]
    assert workers["all"][0]["value"] == ["rig-a"]
    assert context()["worker_names"] == {"miner-0": "miner-0"}


def test_the_signals_that_are_the_bench_s_own_are_asked_in_one_look() -> None:
    bench = next(host for host in context()["hosts"] if host["kind"] == "bench")
    own = {signal["name"]: signal["deadline"] for signal in bench["own"]}
    assert {"space", "engine"} <= set(own)
    assert set(own.values()) == {0.0}
    assert {signal["name"] for signal in bench["fit"]} > set(own)
    assert not any("own" in signal or "busy" in signal for signal in [*bench["fit"], *bench["own"]])


def test_every_pool_entry_of_ours_carries_the_run() -> None:
    edit = context()["borrow"]["edit"]["json"][0]
    assert edit["set"]["rig-id"] == "benchkeeper-20261121T080000Z-0a1b2c"
    assert edit["set"]["url"] == "bench-0:3333"


def test_a_profile_that_lacks_something_is_named() -> None:
    profile = stack_data("profile")
    del profile["paths"]["checkout"]
    with pytest.raises(rc.UsageError, match=r"paths\.checkout"):
        rc.build(asked(), profile, stack_data("exercise"), {})


def test_an_undefined_signal_is_refused() -> None:
    exercise = stack_data("exercise")
    exercise["deployed"] = ["no-such"]
    with pytest.raises(rc.UsageError, match="no-such"):
        rc.build(asked(), stack_data("profile"), exercise, {})


def test_whole_places_keep_their_type() -> None:
    assert rc.fill({"a": "{x}", "b": "n{y}", "c": ["{z}"], "d": "{ kept }"}, {"x": [1], "y": 2}) == {
        "a": [1],
        "b": "n2",
        "c": ["{z}"],
        "d": "{ kept }",
    }


def test_a_bench_that_scales_the_product_waits_less_long() -> None:
    given = [
        {"name": "a", "deadline": 420},
        {"name": "b", "deadline": 60},
        {"name": "c", "deadline": 0},
        {"name": "d", "deadline": 10},
    ]
    assert [one["deadline"] for one in rc.patient(given, 0.05)] == [105, 30, 0, 10]
    assert [one["deadline"] for one in rc.patient(given, 1.0)] == [420, 60, 0, 10]
    assert [one["deadline"] for one in rc.patient(given, 3.0)] == [420, 60, 0, 10]


def test_a_run_that_is_only_there_to_be_killed_makes_changes_and_waits_for_nothing() -> None:
    run = context(mode="journal")
    assert (run["deployed"], run["scenario"], run["borrow"]["arrived"], run["borrow"]["seen"]) == ([], [], [], {})
    assert run["hosts"][-1]["deployed_look"] == {}
    ops = [op for step in run["lifecycle"] for op in step["ops"]]
    assert ops
    assert all("engine" in op for op in ops)
    assert run["miners"] == ["miner-0"]


# A stack that borrows nothing, keeps no secrets and has nothing to back up.


def plain(**values: Any) -> dict[str, Any]:
    host = {"probes": {"stack": {"kind": "compose", "project": "p"}}, "snapshot": ["stack"]}
    profile = {
        "project": "p",
        "driver": {"program": "./p", "verbs": {"deploy": ["go"], "up": ["up"]}, "timeouts": {"up": 5}},
        "paths": {"live": "/l", "checkout": "/c", "owner": "ops"},
        "live_label": {"service": "w", "label": "x"},
        "hosts": {"bench": host},
    }
    return {**profile, **values}


EXERCISE: dict[str, Any] = {
    "signals": {},
    "deployed": [],
    "canonical": "a",
    "scenarios": {"a": {"places": {"colour": "red"}}},
    "scenario_steps": [{"id": "s", "title": "S", "ops": [{"argv": ["say", "{colour}{pool_url}"]}]}],
    "targeted": [],
}


def test_a_stack_without_miners_secrets_and_backup_is_whole() -> None:
    assert asked(lends=False)["miners"] == asked(lends=False, miners="none")["miners"] == []
    assert asked()["miners"] == ["miner-0"]
    run = rc.build(asked(lends=False), plain(), EXERCISE, {})
    assert [host["name"] for host in run["hosts"]] == ["bench-0"]
    assert (run["borrow"], run["seed"], run["lock"]) == ({}, [], {})
    assert run["secrets"] == {"dotenv": [], "categories": {}, "canary": {"file": "", "path": []}}
    assert run["driver"]["timeouts"] == {"up": 5, "deploy": 300, "backup": 300}
    assert (run["driver"]["env"], run["bring_back"]["env"]) == ({}, {})
    assert run["scenario"][0]["ops"] == [{"argv": ["say", "red"]}], "a scenario's own places are filled in"


@pytest.mark.parametrize(
    ("values", "lacking"),
    [
        ({"borrow": {"port": 1}}, r"hosts\.miner$"),
        ({"hosts": {**plain()["hosts"], "miner": plain()["hosts"]["bench"]}}, "borrow$"),
        ({"hosts": {"bench": {"probes": {}, "snapshot": []}}}, r"hosts\.bench\.probes\.stack$"),
        ({"driver": {**plain()["driver"], "verbs": {"up": [], "backup": []}}}, r"driver\.backup_dir$"),
    ],
)
def test_half_of_what_belongs_together_is_named(values: dict[str, Any], lacking: str) -> None:
    with pytest.raises(rc.UsageError, match=f"lacks {lacking}"):
        rc.build(asked(lends=False), plain(**values), EXERCISE, {})
