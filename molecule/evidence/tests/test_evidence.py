"""What was seen lies in the run's directory, judged, without a secret in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

testinfra_hosts = ["ssh://bench-0"]


def verdicts(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_look_was_judged(results: Path) -> None:
    found = verdicts(results)
    assert {"molecule.step", "status.exit_code", "files.env.mode"} <= {one["id"] for one in found}
    assert [one for one in found if one["verdict"] in ("fail", "error")] == []


def test_every_line_says_what_it_judged(results: Path) -> None:
    keys = {"id", "title", "verdict", "class", "host", "phase", "why", "expected", "actual"}
    assert [one for one in verdicts(results) if not keys <= one.keys()] == []


def test_no_secret_of_the_bench_is_in_it(host: Host, results: Path) -> None:
    lines = host.check_output("cat /srv/code/pithead/.env").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    secret = values["PROXY_AUTH_TOKEN"].strip("'\"")
    assert len(secret) > 8
    assert [path for path in results.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()] == []


def test_the_host_is_as_it_was(lease: Callable[[], dict[str, Any]]) -> None:
    assert lease() == {}
