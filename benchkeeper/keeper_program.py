"""The keeper as one file, built from this checkout: what role keeper brings to hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from benchkeeper.paths import Paths

STRIKE = "BENCHKEEPER_CRASH_TIER"
"""Environment variable under which `./bench crash --sweep` starts its runs: their keeper dies where it is told to."""


def ensure(paths: Paths) -> None:
    """Build `.bench/keeper` and write its SHA-256 beside it; the build is reproducible, so the same sources give the same file.

    Raises:
        UnfitError: it could not be built.
    """
    paths.make_work()
    target = paths.work / "keeper"
    fresh = paths.work / ".keeper.new"
    extra = [str(paths.root / "tests" / "e2e" / "crash" / "strike.py")] if os.environ.get(STRIKE) else []
    # A process of its own: the builder is part of the program, not of this package, and needs the standard library only.
    done = subprocess.run(
        [sys.executable, str(paths.root / "keeper" / "build.py"), str(fresh), *extra],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UnfitError(f"the keeper could not be built: {done.stderr.strip()[-300:]}")
    digest = done.stdout.strip().split()[0]
    fresh.replace(target)
    (paths.work / "keeper.sha256").write_text(f"{digest}\n", encoding="ascii")
