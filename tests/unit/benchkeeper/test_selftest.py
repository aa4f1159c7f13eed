from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchkeeper import options, selftest

if TYPE_CHECKING:
    import pytest

    from benchkeeper.paths import Paths


def test_what_failed_is_told_at_the_very_end(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A machine that runs this shows the end of a long output, and what failed may have been long before."""

    def level(paths: Paths) -> bool:
        script = "import sys; print('the cause', file=sys.stderr); sys.exit(4)"
        results = [
            selftest._run(paths, "role borrow", [sys.executable, "-c", script]),
            selftest._run(paths, "role snapshot", [sys.executable, "-c", "print('long and green')"]),
        ]
        return all(results)

    monkeypatch.setattr(selftest, "RUNNERS", {"role": level})
    assert selftest.run_tests(options.TestOptions(levels=("role",))) == 1
    end = capfd.readouterr().out.splitlines()[-3:]
    assert end == ["role borrow failed; its last lines once more:", "  | the cause", "role: failed: role borrow"]


def test_all_green_is_said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(selftest, "RUNNERS", {"unit": lambda paths: selftest._run(paths, "unit", [sys.executable, "-c", "pass"])})
    assert selftest.run_tests(options.TestOptions(levels=("unit",))) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("all green in ")
