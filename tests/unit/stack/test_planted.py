"""Planted bugs stay plantable: each applies to the reference as it is, changes it, and says what must turn red."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

STACK = Path(__file__).resolve().parents[3] / "stacks" / "pithead"
PATCHES = sorted((STACK / "planted").glob("*.patch"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that holds the reference."""
    folder = tmp_path_factory.mktemp("planted") / "pithead"
    shutil.copytree(STACK / "reference", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    return folder


def test_there_are_enough() -> None:
    assert len(PATCHES) >= 10


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_patch_applies_and_says_what_it_breaks(patch: Path, checkout: Path) -> None:
    text = patch.read_text()
    head = text.partition("\ndiff --git ")[0]
    assert re.findall(r"^Expect-Red: [a-z0-9_.-]+$", head, re.MULTILINE), "the header names the check that must turn red"
    done = subprocess.run(["git", "-C", str(checkout), "apply", "--check", str(patch)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
