"""Every verdict is a test; what a check says is what the test says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils._run_context import Request, build, check_request
from ansible_collections.benchkeeper.core.plugins.module_utils._stdin_program import build_stdin_program

from benchkeeper import verdicts

ROOT = Path(__file__).parents[2]

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host


def test_check(judged: verdicts.Judged, write_verdict: Callable[[dict[str, Any]], None]) -> None:
    write_verdict(judged.as_line())
    verdict = judged.verdict
    if verdict.verdict == "skip":
        pytest.skip(f"{verdict.skip_class}: {verdict.why}")
    if verdict.verdict in ("fail", "error"):
        pytest.fail(f"{verdict.title}: {verdict.why}", pytrace=False)


def test_host(request: pytest.FixtureRequest, host: Host) -> None:
    """Take one look at a host over its own connection, without writing anything there, and judge it."""
    stack, kind = request.config.getoption("--stack"), request.config.getoption("--kind")
    folder = ROOT / "stacks" / stack
    profile, exercise = (yaml.safe_load((folder / f"{name}.yml").read_text("utf-8")) for name in ("profile", "exercise"))
    wish = Request(branch="main", stack=stack, mode="targeted", miners="one", groups={"benches": ["one"], "miners": ["one"]})
    asked = {**check_request(wish, [stack]), "run_id": "look", "commit": ""}
    context = verdicts.complete(build(asked, profile, exercise, {}), folder)
    probes = next(one["look"] for one in context["hosts"] if one["kind"] == kind)
    program = build_stdin_program("host_snapshot_info", {"probes": probes, "run_id": "look", "host": "one"})
    document = json.loads(_run(host, program))["snapshot"]
    look = verdicts.Look("baseline", "before", "one", kind, document)
    judged = list(verdicts.judge_look(verdicts.load_checks(folder / "checks"), look, {**context, "mode": "check"}, document))
    red = [f"{one.verdict.id}: {one.verdict.why}" for one in judged if one.verdict.verdict in ("fail", "error")]
    assert judged, "nothing was checked"
    assert red == []


def _run(host: Host, program: str) -> str:
    # Without arguments nothing is formatted; the program is data of a here-document: nothing of it is interpreted by the shell.
    with host.sudo():
        return str(host.check_output("python3 - <<'BENCHKEEPER'\n" + program + "\nBENCHKEEPER\n"))
