"""A run's compose document: nothing of it is secret, nothing of it is anybody else's, nothing of it is open."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchkeeper.errors import UsageError
from benchkeeper.harness import edge, topology

STACK = Path(__file__).parents[3] / "stacks" / "tenant"
LABELS = {"benchkeeper.owner": "o", "benchkeeper.stack": "tenant", "benchkeeper.run": "r1"}


def plan(count: int = 2, **more: Any) -> topology.Plan:
    table = yaml.safe_load((STACK / "harness" / "edge.yml").read_text(encoding="utf-8"))
    one = topology.Plan(
        project="bk-r1",
        labels=LABELS,
        images=topology.Images("services:1", "parts:1", "tenant:1"),
        tenants=topology.tenants(count),
        switches=topology.Switches(),
        edge=edge.read(table, "plain"),
        build_id="b1",
        key="k" * 44,
        mask="m" * 32,
    )
    return dataclasses.replace(one.with_env_files(Path("/run")), **more)


def test_each_tenant_has_its_own_database_and_they_share_one_redis() -> None:
    services = plan(3).document()["services"]
    names = ("alpha", "beta", "gamma")
    assert set(services) == {
        "redis",
        "stub",
        "canvas",
        "edge",
        *(f"{kind}-{name}" for kind in ("tenant", "postgres") for name in names),
    }
    found = plan(3).environments()
    assert len({found[f"tenant-{name}"]["DATABASE_URL"] for name in names}) == 3
    assert {found[f"tenant-{name}"]["REDIS_URL"] for name in names} == {"redis://redis:6379"}
    assert len({found[f"tenant-{name}"]["ADMIN_TOKEN"] for name in names}) == 3


def test_a_tenant_without_an_administrator_is_given_no_admin_token_not_an_empty_one() -> None:
    found = plan(tenants=[topology.closed()]).environments()["tenant-closed"]
    assert "ADMIN_TOKEN" not in found
    assert set(plan().environments()["tenant-alpha"]) - set(found) == {"ADMIN_TOKEN"}


def test_nothing_secret_stands_in_the_document() -> None:
    one = plan()
    text = json.dumps(one.document()) + repr(one)
    for tenant in one.tenants:
        assert tenant.admin_token not in text
        assert tenant.database_password not in text
        assert tenant.usage_token not in text
    assert one.key not in text
    assert one.mask not in text


def test_the_edge_gets_its_configuration_whole() -> None:
    one = plan()
    given = one.document()["services"]["edge"]["environment"]["EDGE_CONFIG"]
    assert given.replace("$$", "$") == one.edge_config()
    assert "$" not in given.replace("$$", "")


def test_everything_carries_the_triple_and_is_published_on_loopback_only() -> None:
    document = plan().document()
    for one in [*document["services"].values(), *document["networks"].values()]:
        assert LABELS.items() <= one["labels"].items()
    for name, service in document["services"].items():
        assert all(port["host_ip"] == "127.0.0.1" and "published" not in port for port in service.get("ports", [])), name
        assert "volumes" not in service
        assert service["restart"] == "no"
    assert document["networks"]["inside"]["internal"] is True
    assert document["networks"]["door"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


def test_the_names_that_are_given_are_those_that_are_declared() -> None:
    declared = yaml.safe_load((STACK / "environment.yml").read_text(encoding="utf-8"))["components"]["tenant"]["names"]
    assert set(plan().environments()["tenant-alpha"]) <= {*declared, "TENANT_DEFECTS", "TENANT_PROFILE"}
    required = {name for name, one in declared.items() if isinstance(one, dict) and one.get("required")}
    assert required <= set(plan().environments()["tenant-alpha"])


@pytest.mark.parametrize("count", [0, 9, -1])
def test_a_number_of_tenants_that_makes_no_sense(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 8"):
        topology.tenants(count)


@pytest.mark.parametrize("build_id", ["", "dev", "0" * 40, "a b", "x;y", "-x", "é"])
def test_what_an_unstamped_build_says_is_no_build_id(build_id: str) -> None:
    with pytest.raises(UsageError):
        topology.check_build_id(build_id)
    assert topology.check_build_id("run-1.a_b") == "run-1.a_b"
