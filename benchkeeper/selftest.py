"""`./bench test`: the levels of the project's own tests, cheapest first; the first that fails ends it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper import child
from benchkeeper.console import say
from benchkeeper.parser import LEVELS
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchkeeper.options import TestOptions


# What failed is told again at the very end, with its last lines: of a long output often only the end is seen.
_LAST_LINES = 60
_failures: dict[str, list[str]] = {}


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _environment(paths: Paths) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # The tools write into a pipe, which would end their colours where a person looks on.
    colours = {"FORCE_COLOR": "1", "PY_COLORS": "1"} if sys.stdout.isatty() and "NO_COLOR" not in os.environ else {}
    return {**os.environ, **colours, "PATH": path, "ANSIBLE_CONFIG": str(paths.root / "ansible.cfg")}


def _run(paths: Paths, name: str, command: Sequence[str]) -> bool:
    """Run one tool with its output on the terminal; True when it is content."""
    begun = time.monotonic()
    say("test", f"{name} ...")
    code, last = child.run_told(command, _LAST_LINES, cwd=paths.root, env=_environment(paths))
    if code != 0:
        _failures[name] = last
    say("test", f"{'ok' if code == 0 else 'FAILED'}: {name} ({time.monotonic() - begun:.0f} s)")
    return code == 0


def static(paths: Paths) -> bool:
    """Lint and laws; seconds. All of them run, so that one look shows everything."""
    tools = {
        "ruff": [_tool("ruff"), "check", "."],
        "format": [_tool("ruff"), "format", "--check", "."],
        "mypy": [_tool("mypy"), "benchkeeper", "plugins", "keeper", "stacks/tenant/reference"],
        "yamllint": [_tool("yamllint"), "--strict", "."],
        "ansible-lint": [_tool("ansible-lint"), "-q"],
        "laws": [sys.executable, "-m", "pytest", "-q", "tests/static"],
    }
    results = [_run(paths, name, command) for name, command in tools.items()]
    return all(results)


def unit(paths: Paths) -> bool:
    """Pure logic; no root, no engine, no network."""
    return _run(paths, "unit", [sys.executable, "-m", "pytest", "-q", "tests/unit"])


def role(paths: Paths) -> bool:
    """Every role on a machine of the embedded bench, by molecule."""
    from benchkeeper import keeper_program, setup  # noqa: PLC0415 - the static level must not need an engine

    keeper_program.ensure(paths)
    setup.ensure_up(paths, "pithead", install=True, verbose=0)
    scenarios = sorted(path.parent.name for path in (paths.root / "molecule").glob("*/molecule.yml"))
    results = [_run(paths, f"role {name}", [_tool("molecule"), "test", "--scenario-name", name]) for name in scenarios]
    return all(results)


def e2e(paths: Paths) -> bool:
    """The real entry points, from a bench that is torn down first, and two blows for each kind of change."""
    options = ["-v", "--durations=0", "--durations-min=5", "-x", "--ignore-glob=*/test_battery_*.py"]
    return _run(paths, "e2e", [sys.executable, "-m", "pytest", *options, "tests/e2e"])


RUNNERS: dict[str, Callable[[Paths], bool]] = {"static": static, "unit": unit, "role": role, "e2e": e2e}


def _tell_failures(level: str) -> None:
    share = max(1, _LAST_LINES // max(1, len(_failures)))
    for name, last in _failures.items():
        print(f"\n{name} failed; its last lines once more:")
        print("\n".join(f"  | {line}" for line in last[-share:]))
    print(f"{level}: failed: {', '.join(_failures)}")


def run_tests(options: TestOptions) -> int:
    """Run the levels asked for, or all; 0 when all are green."""
    paths = checkout()
    begun = time.monotonic()
    _failures.clear()
    for level in options.levels or LEVELS:
        if not RUNNERS[level](paths):
            _tell_failures(level)
            return 1
    print(f"all green in {time.monotonic() - begun:.0f} s")
    return 0
