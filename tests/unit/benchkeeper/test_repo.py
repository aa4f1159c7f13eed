from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from benchkeeper import repo
from benchkeeper.errors import UnfitError, UsageError
from benchkeeper.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    folder = tmp_path / "stacks" / "toy" / "reference"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "a.pyc").write_bytes(b"x")
    (folder / "run").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "run").chmod(0o755)
    made = Paths(tmp_path)
    made.make_work()
    return made


def git(paths: Paths, *words: str) -> str:
    return repo.git(repo.path_of(paths, "toy"), *words)


def test_the_same_content_is_the_same_commit_everywhere(paths: Paths, tmp_path_factory: pytest.TempPathFactory) -> None:
    repo.ensure(paths, "toy")
    commit = repo.resolve(paths, "toy", "main")
    other = Paths(tmp_path_factory.mktemp("other"))
    other.make_work()
    subprocess.run(["cp", "-r", str(paths.root / "stacks"), str(other.root)], check=True)
    repo.ensure(other, "toy")
    assert repo.resolve(other, "toy", "main") == commit
    assert git(paths, "ls-tree", "-r", "--format=%(objectmode) %(path)", "main") == "100755 run"


def test_main_follows_the_reference_until_a_person_commits(paths: Paths) -> None:
    repo.ensure(paths, "toy")
    first = repo.resolve(paths, "toy", "main")
    (paths.stacks / "toy" / "reference" / "new").write_text("1", encoding="utf-8")
    repo.ensure(paths, "toy")
    second = repo.resolve(paths, "toy", "main")
    assert second != first
    mine = git(paths, "commit-tree", f"{second}^{{tree}}", "-p", second, "-m", "mine")
    git(paths, "update-ref", "refs/heads/main", mine)
    git(paths, "update-ref", "refs/heads/fix", first)
    (paths.stacks / "toy" / "reference" / "new").write_text("2", encoding="utf-8")
    repo.ensure(paths, "toy")
    assert repo.resolve(paths, "toy", "main") == mine
    assert repo.resolve(paths, "toy", "fix") == first


def test_unknown_branches_and_stacks_are_named(paths: Paths) -> None:
    repo.ensure(paths, "toy")
    with pytest.raises(UsageError, match=r"unknown branch 'nope'.*main"):
        repo.resolve(paths, "toy", "nope")
    with pytest.raises(UnfitError):
        repo.ensure(paths, "absent")


def test_an_interrupted_start_is_made_good(paths: Paths) -> None:
    repo.path_of(paths, "toy").mkdir(parents=True)
    assert repo.ensure(paths, "toy").joinpath("HEAD").is_file()


def test_a_repository_that_cannot_tell_is_not_a_wrong_name(paths: Paths) -> None:
    repo.ensure(paths, "toy")
    with pytest.raises(UsageError, match="unknown branch"):
        repo.resolve(paths, "toy", "no-such-branch")
    (repo.path_of(paths, "toy") / "HEAD").unlink()
    with pytest.raises(UnfitError, match="does not answer"):
        repo.resolve(paths, "toy", "main")
