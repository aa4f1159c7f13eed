"""What `./bench planted` and `./bench signals` take for a proof."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchkeeper import planted, signals
from benchkeeper.inventory import Hosts
from benchkeeper.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("run_id", "good"), [("old", False), ("new", True)])
def test_a_planted_bug_needs_a_result_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_id: str, *, good: bool
) -> None:
    paths = Paths(tmp_path)
    file = paths.results / "latest" / "result.json"
    file.parent.mkdir(parents=True)
    patch = tmp_path / "bug.patch"
    patch.write_text("Expect-Red: a.b\n", encoding="utf-8")

    def write(name: str) -> None:
        document = {"run_id": name, "branch": "planted/bug", "failures": ["a.b"], "restored": {"b": {"proven": True}}}
        file.write_text(json.dumps(document), encoding="utf-8")

    def run(*_: object, **__: object) -> int:
        write(run_id)
        return 1

    write("old")
    monkeypatch.setattr(planted, "branch_of", lambda *_: "planted/bug")
    monkeypatch.setattr(planted.child, "run", run)
    assert planted.prove(paths, "pithead", patch, 0).good is good


@pytest.mark.parametrize(("code", "said"), [(-2, 130), (-15, 143), (-1, 129), (0, 0), (4, 4)])
def test_a_code_from_before_the_handlers(code: int, said: int) -> None:
    assert signals.shell_code(code) == said


def test_a_machine_that_does_not_run_is_not_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Hosts(("bench-0",), ("miner-0",), ("bench-0", "miner-0", "pool-0"))
    monkeypatch.setattr(signals.inventory, "read", lambda *_, **__: known)
    machines = [{"name": "bench-0", "state": "running"}, {"name": "miner-0", "state": "exited"}]
    leases = [{"resource": "bench-0", "state": "free"}]
    monkeypatch.setattr(signals, "_status", lambda _paths: {"machines": machines, "leases": leases})
    assert signals.held(Paths(tmp_path)) == ["miner-0 is not running, nobody knows"]
    machines[1]["state"] = "running"
    assert signals.held(Paths(tmp_path)) == []
    del machines[1]
    Paths(tmp_path).make_work()
    Paths(tmp_path).machines.write_text('{"machines": {"bench-0": {}}}', encoding="utf-8")
    assert signals.held(Paths(tmp_path)) == [], "the stack that is on the bench has no miner"
