"""Planted bugs stay plantable: each applies to the reference as it is, changes it, and says what must turn red."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

STACKS = Path(__file__).resolve().parents[3] / "stacks"
PATCHES = sorted(STACKS.glob("*/planted/*.patch"))


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return by stack a repository that holds the reference."""
    top = tmp_path_factory.mktemp("planted")
    found = {}
    for stack in {patch.parents[1] for patch in PATCHES}:
        folder = found[stack.name] = top / stack.name
        shutil.copytree(stack / "reference", folder, ignore=shutil.ignore_patterns("__pycache__"))
        for command in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    return found


def test_there_are_enough() -> None:
    assert len([patch for patch in PATCHES if patch.parents[1].name == "pithead"]) >= 10


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_patch_applies_and_says_what_it_breaks(patch: Path, checkouts: dict[str, Path]) -> None:
    checkout = checkouts[patch.parents[1].name]
    text = patch.read_text()
    head = text.partition("\ndiff --git ")[0]
    assert re.findall(r"^Expect-Red: [a-z0-9_.-]+$", head, re.MULTILINE), "the header names the check that must turn red"
    done = subprocess.run(["git", "-C", str(checkout), "apply", "--check", str(patch)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
