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
