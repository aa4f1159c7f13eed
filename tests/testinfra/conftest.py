"""One suite for a run's looks, for molecule and for a live host: checks become tests, verdicts become lines.

In a run: ``pytest tests/testinfra --run-dir results/<run>/work --verdicts results/<run>/verdicts.jsonl``.
On a host: ``pytest tests/testinfra --hosts=... --stack pithead --kind bench``; one snapshot is taken over the connection.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper import verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchkeeper")
    group.addoption("--run-dir", type=Path, help="a run's work directory: judge the looks that were taken in it")
    group.addoption("--verdicts", type=Path, help="file to which every verdict is written, a JSON line each")
    group.addoption("--stack", default="pithead", help="whose checks; a run says it itself")
    group.addoption("--kind", default="bench", help="what the host is: bench or miner")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "judged" not in metafunc.fixturenames:
        return
    work = metafunc.config.getoption("--run-dir")
    found: list[verdicts.Judged] = []
    if work is not None:
        context = verdicts.read_json(work / "context.json") or {}
        found = verdicts.judge_run(work, Path(context.get("stack_dir") or ROOT / "stacks" / metafunc.config.getoption("--stack")))
    names = ["-".join(part for part in (one.phase, one.step, one.host, one.verdict.id) if part) for one in found]
    metafunc.parametrize("judged", found, ids=names)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Either the looks of a run are judged, or a host is looked at: the other test is not even there."""
    unwanted = "test_host" if config.getoption("--run-dir") is not None or not config.getoption("--hosts") else "test_check"
    kept = [item for item in items if getattr(item, "originalname", item.name) != unwanted]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session")
def write_verdict(request: pytest.FixtureRequest) -> Iterator[Callable[[dict[str, Any]], None]]:
    """The one writer of verdicts.jsonl."""
    path: Path | None = request.config.getoption("--verdicts")
    if path is None:
        yield lambda _line: None
        return
    written = 0

    def write(line: dict[str, Any]) -> None:
        nonlocal written
        print(json.dumps(line, sort_keys=True, default=str), file=file)
        written += 1

    with path.open("w", encoding="utf-8") as file:
        yield write
    work: Path | None = request.config.getoption("--run-dir")
    if work is not None:
        # The report reads it: verdicts that were not all written are an error.
        end = {"expected": len(request.session.items), "written": written}
        (work / "judged.json").write_text(json.dumps(end) + "\n", encoding="utf-8")
