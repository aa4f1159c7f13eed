"""`./bench crash --case F7`: the battery of faults and bad input, case by case, each with what must hold.

A case is one or several tests that carry ``@pytest.mark.case("F7", tier=..., oracle=...)``. They are found by reading the sources,
so that the documentation and this command know the same ones, and neither imports a test.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALL = "all"
FOLDERS = ("tests/e2e", "tests/unit")
TIERS = ("machine", "model")
BY_MODEL = ("F9", "F10")  # what only a model can lose or turn: unsynced writes, and the clock of a computer that others use
CASES = {
    "F1": "the controller is killed at every boundary",
    "F2": "signals, twice, during a restore",
    "F3": "ansible-playbook and its group are killed during a long task",
    "F4": "a task runs into its timeout and writes late",
    "F5": "the container engine is killed at work",
    "F6": "a power cut or reboot while it is borrowed",
    "F7": "unreachable when it has to be put back",
    "F8": "full disks",
    "F9": "a power cut loses what was not synced",
    "F10": "the wall clock jumps",
    "F11": "several borrowers; a paused one",
    "F12": "a damaged journal",
    "F13": "configurations that are none",
    "F14": "somebody else writes what is borrowed",
    "F15": "hostile names",
    "F16": "hostile values",
    "F17": "huge and odd output",
    "F18": "one undo of several fails",
    "F19": "things that only look like ours, and strays",
    "F20": "a trigger, or the engine, is gone",
    "F21": "no descriptors, memory or room",
    "F22": "output closed, full or in ASCII",
    "F23": "commands in the wrong order, by others, of another version",
    "F24": "waiters while it is put back",
    "F25": "a lease that is never used",
    "F26": "a lease that ends in the middle",
    "F27": "a lease that is over",
    "F28": "a waiter that is killed",
    "F29": "somebody's lock when the undo is due",
}


@dataclass(frozen=True)
class Case:
    """One test of a case.

    Attributes:
        name: Of the case, such as F7.
        tier: machine or model.
        oracle: What must hold, in a line.
        reason: Why it is no machine's, where that is not known of the case.
        path: The test's file, relative to the checkout.
        test: The test's name.
    """

    name: str
    tier: str
    oracle: str
    reason: str
    path: str
    test: str

    @property
    def node(self) -> str:
        """What pytest calls it."""
        return f"{self.path}::{self.test}"


@dataclass
class Outcome:
    """How the tests of a case ended: how many there were, what failed, what was skipped and why."""

    count: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """A case of which nothing ran, or not everything, proves nothing."""
        return self.count > 0 and not self.failed and not self.skipped

    @property
    def word(self) -> str:
        """Return the outcome in a few words."""
        if not self.count:
            return "NOT RUN"
        if self.failed:
            return f"FAILED: {', '.join(self.failed)}"
        return f"SKIPPED: {'; '.join(self.skipped)}" if self.skipped else "ok"


def number(name: str) -> tuple[int, str]:
    """Return what cases are sorted by: F2 comes before F10."""
    return (int(name[1:]), name) if re.fullmatch(r"F[0-9]+", name) else (sys.maxsize, name)


def _markers(node: ast.FunctionDef) -> Iterable[ast.Call]:
    for one in node.decorator_list:
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == "case":
            yield one


def _texts(call: ast.Call) -> dict[str, str]:
    """Return the texts of a marker; one that is no plain text is left out, and so is missed by the law of cases."""
    found = {one.arg: one.value for one in call.keywords if one.arg}
    if call.args:
        found["name"] = call.args[0]
    return {key: str(value.value) for key, value in found.items() if isinstance(value, ast.Constant)}


def cases_of(path: Path, root: Path) -> list[Case]:
    """Return the cases of a file of tests."""
    source = path.read_text(encoding="utf-8")
    if ".mark.case(" not in source:
        return []
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for marker in _markers(node):
            texts = _texts(marker)
            name, tier, oracle, reason = (texts.get(key, "") for key in ("name", "tier", "oracle", "reason"))
            found.append(Case(name, tier, oracle, reason, str(path.relative_to(root)), node.name))
    return found


def read_cases(root: Path) -> list[Case]:
    """Return every test of every case of a checkout: by the number of the case, machines first, then by file and line."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("test_*.py"))]
    found = [case for path in paths for case in cases_of(path, root)]
    return sorted(found, key=lambda case: (number(case.name), TIERS.index(case.tier) if case.tier in TIERS else len(TIERS)))


def chosen(known: Sequence[Case], names: Iterable[str]) -> list[Case]:
    """Return the tests of the cases asked for; raise UsageError for one that there is not."""
    wanted = list(dict.fromkeys(names))
    if ALL in wanted:
        return list(known)
    there = {case.name for case in known}
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise UsageError(f"unknown case {', '.join(map(ascii, unknown))}; known: {', '.join(sorted(there, key=number))}, {ALL}")
    return [case for case in known if case.name in wanted]


def read_results(path: Path, cases: Sequence[Case]) -> dict[str, Outcome]:
    """Return how each case came out, from the junit file of the tests."""
    from junitparser import Error, Failure, JUnitXml, Skipped  # noqa: PLC0415 - who only reads cases needs none of it

    by_test: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        by_test.setdefault((case.path.removesuffix(".py").replace("/", "."), case.test), []).append(case)
    found = {case.name: Outcome() for case in cases}
    if not path.is_file():
        return found
    for suite in JUnitXml.fromfile(str(path)):
        for one in suite:
            for case in by_test.get((str(one.classname), str(one.name).partition("[")[0]), []):
                outcome = found[case.name]
                outcome.count += 1
                outcome.seconds += float(one.time or 0.0)
                outcome.failed += [str(one.name)] if any(isinstance(result, (Failure, Error)) for result in one.result) else []
                outcome.skipped += [str(result.message) for result in one.result if isinstance(result, Skipped)]
    return found


def table(cases: Sequence[Case], outcomes: dict[str, Outcome]) -> list[str]:
    """Return a line per case for a reader."""
    lines = [f"{'case':<5} {'tier':<8} {'tests':>5} {'seconds':>8}  result"]
    for name in dict.fromkeys(case.name for case in cases):
        tiers = "+".join(dict.fromkeys(case.tier for case in cases if case.name == name))
        one = outcomes[name]
        lines.append(f"{name:<5} {tiers:<8} {one.count:>5} {one.seconds:>8.1f}  {one.word}")
    return lines


def run_cases(names: Sequence[str]) -> int:
    """Run the tests of some cases, or of ``all``, and print how each came out; 0 when all hold, else 4.

    Raises:
        UsageError: there is no such case.
    """
    from benchkeeper import child  # noqa: PLC0415 - who only reads cases runs nothing
    from benchkeeper.console import say  # noqa: PLC0415
    from benchkeeper.paths import checkout  # noqa: PLC0415

    paths = checkout()
    cases = chosen(read_cases(paths.root), names)
    nodes = list(dict.fromkeys(case.node for case in cases))
    say("crash", f"{len({case.name for case in cases})} cases, {len(nodes)} tests")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(paths.root / "ansible.cfg")}
    with tempfile.TemporaryDirectory(prefix="benchkeeper-cases-") as folder:
        junit = Path(folder) / "junit.xml"
        options = ["-v", "--tb=short", "-o", "junit_duration_report=total", f"--junitxml={junit}"]
        code = child.run([sys.executable, "-m", "pytest", *options, *nodes], cwd=paths.root, env=environment)
        outcomes = read_results(junit, cases)
    for line in table(cases, outcomes):
        print(line)
    return 0 if code == 0 and all(one.good for one in outcomes.values()) else 4
