"""The edge's configuration comes from a table; what it does wrong is asked for by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchkeeper.errors import UsageError
from benchkeeper.harness import edge

TABLE = yaml.safe_load((Path(__file__).parents[3] / "stacks" / "tenant" / "harness" / "edge.yml").read_text(encoding="utf-8"))
UPSTREAMS = {"alpha.localhost": "tenant-alpha:8080", "beta.localhost": "tenant-beta:8080"}


def text(profile: str = "plain", *breaks: str) -> str:
    return edge.config(edge.read(TABLE, profile, frozenset(breaks)), UPSTREAMS, "b1")


def test_only_known_names_have_an_upstream() -> None:
    assert 'default "";' in text()
    assert "alpha.localhost tenant-alpha:8080;" in text()
    assert "default tenant-alpha:8080;" in text("plain", "edge-serves-unknown-hosts")


@pytest.mark.parametrize("profile", ["plain", "cloudflare"])
def test_every_header_of_the_table_is_set(profile: str) -> None:
    found = text(profile)
    for name in TABLE["profiles"][profile]:
        assert f"proxy_set_header {name} " in found
    assert ("CF-Connecting-IP" in found) is (profile == "cloudflare")
    assert 'proxy_set_header CF-Visitor "{\\"scheme\\":\\"$edge_proto\\"}";' in text("cloudflare")


def test_a_websocket_passes_unless_it_is_broken() -> None:
    assert 'proxy_set_header Upgrade "$http_upgrade";' in text()
    assert 'proxy_set_header Connection "$edge_connection";' in text()
    broken = text("plain", "edge-drops-upgrades")
    assert "proxy_set_header Upgrade" not in broken
    assert 'proxy_set_header Connection "";' in broken


def test_every_break_changes_something() -> None:
    assert len({text(), *(text("plain", name) for name in edge.BREAKS)}) == len(edge.BREAKS) + 1


@pytest.mark.parametrize(
    ("document", "profile", "breaks", "message"),
    [
        (None, "plain", [], "no profiles"),
        ({"profiles": {}}, "plain", [], "no profiles"),
        (TABLE, "aws", [], "no profile 'aws'"),
        (TABLE, "plain", ["edge-is-slow"], "no break edge-is-slow"),
        ({"profiles": {"plain": ["Host"]}}, "plain", [], "is a map"),
        ({"profiles": {"plain": {"A b": "x"}}}, "plain", [], "cannot be a header"),
        ({"profiles": {"plain": {"A": "x\nproxy_pass y"}}}, "plain", [], "cannot be a header"),
        ({"profiles": {"plain": {}}, "proto": "gopher"}, "plain", [], "http or https"),
        ({"profiles": {"plain": {}}, "read_timeout": "1; evil"}, "plain", [], "http or https"),
    ],
)
def test_a_table_that_is_none_is_refused(document: Any, profile: str, breaks: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        edge.read(document, profile, frozenset(breaks))


def test_a_name_that_would_end_the_directive_is_refused() -> None:
    with pytest.raises(UsageError, match="host name"):
        edge.config(edge.read(TABLE, "plain"), {"a; }": "x:1"}, "b1")
