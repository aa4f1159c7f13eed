"""The bench's git repository: the reference stack as branch `main`, and whatever branches a person pushes beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper.errors import UnfitError, UsageError
from benchkeeper.validate import shown

if TYPE_CHECKING:
    from benchkeeper.paths import Paths

MAIN = "refs/heads/main"
# Where main stood when we last wrote it: a person's own commit on main is not overwritten.
OURS = "refs/benchkeeper/reference"
NOT_THERE = 1  # exit code of git rev-parse --verify --quiet
# The same content is the same commit on every computer, so results can be compared.
IDENTITY = {
    "GIT_AUTHOR_NAME": "Benchkeeper",
    "GIT_AUTHOR_EMAIL": "bench@example.invalid",
    "GIT_AUTHOR_DATE": "2024-01-01T00:00:00+0000",
    "GIT_COMMITTER_NAME": "Benchkeeper",
    "GIT_COMMITTER_EMAIL": "bench@example.invalid",
    "GIT_COMMITTER_DATE": "2024-01-01T00:00:00+0000",
}


def path_of(paths: Paths, stack: str) -> Path:
    """Return where a stack's bare repository stands."""
    return paths.work / "repo" / f"{stack}.git"


def _environment() -> dict[str, str]:
    """Return an environment in which no configuration and no repository of the caller's takes part."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {**kept, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def git(repository: Path, *arguments: str, extra: dict[str, str] | None = None) -> str:
    """Run git on a bare repository; return its output, or raise UnfitError with its last line."""
    answer = subprocess.run(
        ["git", "--git-dir", str(repository), *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**_environment(), **(extra or {})},
    )
    if answer.returncode != 0:
        last = answer.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UnfitError(f"git {arguments[0]} failed: {last[0]}")
    return answer.stdout.strip()


def _reference(repository: Path, name: str) -> str | None:
    """Return the commit of a reference, None when there is none; raise UnfitError when the repository cannot tell."""
    answer = subprocess.run(
        [
            "git",
            "--git-dir",
            str(repository),
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{name}^{{commit}}",
        ],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=_environment(),
    )
    if answer.returncode not in (0, NOT_THERE):
        last = answer.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UnfitError(f"the repository {repository} does not answer: {last[0]}")
    return answer.stdout.strip() if answer.returncode == 0 else None


def _initialise(repository: Path) -> None:
    if (repository / "HEAD").is_file():
        return
    repository.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository.parent, prefix=".new-") as made:
        new = Path(made) / "repository"
        git(new, "init", "--quiet", "--bare", "--initial-branch=main", str(new))
        shutil.rmtree(repository, ignore_errors=True)
        new.rename(repository)


def _commit_of_tree(repository: Path, folder: Path) -> str:
    """Write a folder as a commit without history; return its id."""
    with tempfile.TemporaryDirectory(prefix="benchkeeper-") as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), "GIT_WORK_TREE": str(folder)}
        git(repository, "add", "--all", "--", str(folder), ":(exclude,glob)**/__pycache__/**", extra=index)
        tree = git(repository, "write-tree", extra=index)
    return git(repository, "commit-tree", tree, "-m", "Reference stack")


def ensure(paths: Paths, stack: str) -> Path:
    """Return the repository's path; `main` follows the reference until a person commits on it."""
    repository = path_of(paths, stack)
    folder = paths.stacks / stack / "reference"
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UnfitError(f"stack {stack} has no reference/ to test")
    if shutil.which("git") is None:
        raise UnfitError("git is missing; please install it (Debian and Ubuntu: apt-get install git)")
    _initialise(repository)
    wanted = _commit_of_tree(repository, folder)
    main, ours = _reference(repository, MAIN), _reference(repository, OURS)
    if main is None or (main == ours and main != wanted):
        git(repository, "update-ref", MAIN, wanted, *([main] if main else []))
    if ours != wanted:
        git(repository, "update-ref", OURS, wanted)
    return repository


def resolve(paths: Paths, stack: str, branch: str) -> str:
    """Return the full commit id of a (validated) branch name, or raise UsageError naming the branches there are."""
    repository = path_of(paths, stack)
    commit = _reference(repository, f"refs/heads/{branch}")
    if commit is None:
        known = git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
        names = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise UsageError(f"unknown branch {shown(branch)}; {repository} has: {names}. Push it there first.")
    return commit
