"""Some blows at boundaries of the journal; `./bench crash --sweep` strikes at every one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchkeeper.crash_sweep import journals, phases

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

PER_KIND = 2


def newest(bench: Bench, mode: str) -> Path:
    """Return the folder of the newest run of a mode that came to its own end."""
    for path in sorted(bench.root.glob("results/2*/result.json"), reverse=True):
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = result["verdict"] == "good" if mode == "targeted" else result["reason"] == "nothing was checked"
        if result["mode"] == mode and whole and set(result["restored"]) == {"bench-0", "miner-0"}:
            return path.parent
    raise AssertionError(f"there is no whole run of mode {mode}")


def test_blows_at_boundaries_of_every_kind_leave_nothing_behind(bench: Bench) -> None:
    done = bench.run("crash", "--sweep", str(PER_KIND))
    assert done.returncode == 0, done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith(("bench-0 ", "miner-0 "))]
    kinds = {tuple(line.split()[:2]) for line in rows}
    assert len(rows) == PER_KIND * len(kinds)
    assert all(line.endswith(("  ok", "  SLOW: allowed 60 s")) for line in rows)
    assert bench.leased() == []


def test_what_is_struck_is_all_that_a_whole_run_journals(bench: Bench) -> None:
    whole, bare = (phases(journals(newest(bench, mode))) for mode in ("targeted", "journal"))
    assert whole == bare
    assert {kind for _host, kind, _type in whole} >= {"file", "tree", "created", "command", "engine", "call"}
