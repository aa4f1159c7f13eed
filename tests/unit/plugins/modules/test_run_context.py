from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder
from ansible_collections.benchkeeper.core.plugins.module_utils._run_context import UnfitError, UsageError
from ansible_collections.benchkeeper.core.plugins.modules import run_context

ROOT = Path(__file__).parents[4]


@pytest.fixture
def repository(tmp_path: Path) -> str:
    place = str(tmp_path / "r.git")
    identity = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", place, *words], check=True, capture_output=True, text=True, env={**os.environ, **identity}, input=""
        )
        return done.stdout.strip()

    subprocess.run(["git", "init", "-q", "--bare", place], check=True)
    git("update-ref", "refs/heads/main", git("commit-tree", git("mktree"), "-m", "x"))
    return place


def test_a_branch_is_resolved(repository: str) -> None:
    assert len(run_context.resolve(repository, "main")) == 40


def test_an_unknown_branch_was_typed_wrong(repository: str) -> None:
    with pytest.raises(UsageError, match="unknown branch 'nope'"):
        run_context.resolve(repository, "nope")
    with pytest.raises(UsageError, match="bench_origin"):
        run_context.resolve("", "main")


@pytest.mark.parametrize("place", ["/no/such/repository.git", "http://user:correct-horse-battery@127.0.0.1:9/x.git"])
def test_a_repository_that_does_not_answer_is_not_the_caller_s_fault(place: str) -> None:
    with pytest.raises(UnfitError, match="does not answer") as told:
        run_context.resolve(place, "main")
    assert "correct-horse-battery" not in str(told.value)


def test_state_and_context_are_private_and_whole(tmp_path: Path) -> None:
    run: dict[str, Any] = {"run_id": "r", "stack": "s", "hosts": [{"name": "b"}], "keep": False}
    path = Path(run_context.ensure_state(str(tmp_path / "states" / "r.json"), run))
    first = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    run_context.ensure_state(str(path), {**run, "hosts": [{"name": "b"}, {"name": "m"}]})
    second = json.loads(path.read_text(encoding="utf-8"))
    assert second == {**first, "hosts": ["b", "m"]}
    assert [one.name for one in path.parent.iterdir()] == ["r.json"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    _keeper_holder.write_private(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(_keeper_holder.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        _keeper_holder.write_private(path, "new")
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("stack", "miners", "hosts"),
    [
        ("pithead", None, ["miner-0", "bench-0"]),
        ("pithead", "none", ["bench-0"]),
        ("hello", None, ["bench-0"]),
        ("hello", "none", ["bench-0"]),
        ("hello", [], ["bench-0"]),
    ],
)
def test_who_is_borrowed_when_nobody_says_so_is_the_stack_s_affair(
    tmp_path: Path, stack: str, miners: Any, hosts: list[str]
) -> None:
    run = run_context.make(asked(tmp_path, stack=stack, miners=miners))
    assert [host["name"] for host in run["hosts"]] == hosts
    assert run["worker_names"] == {name: name for name in hosts[:-1]}


def test_a_stack_that_borrows_none_refuses_a_miner(tmp_path: Path) -> None:
    for miners in ("miner-0", ["miner-0"], "nope"):
        with pytest.raises(UsageError, match="borrows no miners"):
            run_context.make(asked(tmp_path, stack="hello", miners=miners))
    with pytest.raises(UsageError, match="unknown stack"):
        run_context.make(asked(tmp_path, stack="nope"))


def asked(tmp_path: Path, **given: Any) -> dict[str, Any]:
    params = dict.fromkeys(("run_id", "repo", "origin", "state_file", "live", "pool_host", "owner_id", "bench"), "")
    params |= {"branch": "main", "commit": "4f" * 20, "mode": "targeted", "miners": None, "workers": -1, "keep": False, "ttl": 0}
    params |= {"groups": {"benches": ["bench-0"], "miners": ["miner-0"]}, "worker_names": {}, "wait": 0, "time_scale": 1.0}
    return {**params, "stacks_dir": str(ROOT / "stacks"), "results_dir": str(tmp_path), **given}
