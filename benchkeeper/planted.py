"""`./bench planted`: every planted bug must turn the check red that its header names, and everything must come back.

A planted bug is a patch on the stack's `main` with a header line `Expect-Red: <check id>`. Each becomes a branch
`planted/<name>` of the bench's repository and goes through the same command that a person would type.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchkeeper import child, repo
from benchkeeper.console import say
from benchkeeper.errors import UsageError
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    from pathlib import Path

    from benchkeeper.options import PlantedOptions

EXPECT = re.compile(r"^Expect-Red:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """How one planted bug came out; `seconds` is the wall time of its run."""

    name: str
    expected: tuple[str, ...]
    red: tuple[str, ...]
    exit_code: int
    restored: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Red for the right reason, and everything back."""
        hit = all(name in self.red for name in self.expected) if self.expected else bool(self.red)
        return self.exit_code == 1 and hit and self.restored


def expectations(text: str) -> tuple[str, ...]:
    """Return the check ids that a patch says it turns red."""
    head = re.split(r"^diff --git ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return tuple(EXPECT.findall(head))


def branch_of(paths: Paths, stack: str, patch: Path) -> str:
    """Make the branch `planted/<name>` from `main` and the patch; return its name.

    Raises:
        UsageError: the patch does not apply.
    """
    bare = repo.ensure(paths, stack)
    name = "planted/" + re.sub(r"[^A-Za-z0-9._-]+", "-", patch.stem).strip("-.")
    with tempfile.TemporaryDirectory(prefix="benchkeeper-planted-") as scratch:

        def git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
            command = ["git", "-c", "user.name=planted", "-c", "user.email=planted@localhost", *arguments]
            return subprocess.run(command, cwd=scratch, check=check, capture_output=True, text=True)

        git("clone", "--quiet", "--branch", "main", str(bare), ".")
        # A patch may be made in the stack's repository or in this project's own tree.
        tries = (["-p1"], ["-p4"])
        failed = ""
        for strip in tries:
            done = git("apply", "--index", *strip, str(patch), check=False)
            if done.returncode == 0:
                break
            failed = failed or done.stderr.strip().splitlines()[-1]
        else:
            raise UsageError(f"{patch.name} does not apply to main of {stack}: {failed}")
        git("commit", "--quiet", "--message", f"Planted: {patch.stem}")
        git("push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{name}")
    return name


def _result(paths: Paths) -> dict[str, object]:
    try:
        found = json.loads((paths.results / "latest" / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def prove(paths: Paths, stack: str, patch: Path, verbose: int) -> Row:
    """Run one planted bug through `./bench e2e` and look at what it says."""
    expected = expectations(patch.read_text(encoding="utf-8", errors="replace"))
    branch = branch_of(paths, stack, patch)
    before = _result(paths).get("run_id")
    begun = time.monotonic()
    command = [sys.executable, "-m", "benchkeeper", "e2e", branch, "--stack", stack]
    output = None if verbose else subprocess.DEVNULL
    code = child.run(command, cwd=paths.root, stdout=output, stderr=output)
    result = _result(paths)
    if result.get("run_id") == before:
        result = {}  # it left no result of its own; an earlier run's proves nothing
    restored = result.get("restored")
    back = isinstance(restored, dict) and bool(restored) and all(host.get("proven") for host in restored.values())
    failures = result.get("failures")
    red = tuple(str(name) for name in failures) if isinstance(failures, list) and result.get("branch") == branch else ()
    return Row(patch.stem, expected, red, code, back, time.monotonic() - begun)


def run_planted(options: PlantedOptions) -> int:
    """Run planted bugs and print the table; 0 when each is red for its reason and everything is back, 4 when something is not."""
    paths = checkout()
    folder = paths.stacks / options.stack / "planted"
    patches = options.patches or tuple(sorted(folder.glob("*.patch")))
    if not patches:
        raise UsageError(f"stack {options.stack} has no planted bugs")
    rows = []
    for number, patch in enumerate(patches, 1):
        say("planted", f"{number}/{len(patches)} {patch.stem}")
        rows.append(prove(paths, options.stack, patch, options.verbose))
        row = rows[-1]
        say("planted", f"{'ok' if row.good else 'NOT AS EXPECTED'}: exit {row.exit_code}, red: {', '.join(row.red) or 'nothing'}")
    width = max(len(row.name) for row in rows)
    print(f"{'planted bug':<{width}}  exit  back  seconds  as expected  expected red")
    for row in rows:
        back, good = ("yes" if row.restored else "NO"), ("yes" if row.good else "NO")
        wanted = ", ".join(row.expected) or "(any)"
        print(f"{row.name:<{width}}  {row.exit_code:>4}  {back:<4}  {row.seconds:>7.0f}  {good:<11}  {wanted}")
    if any(not row.restored for row in rows):
        return 4
    return 0 if all(row.good for row in rows) else 1
