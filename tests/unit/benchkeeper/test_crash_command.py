"""How crash tests judge; what they do is tried on machines."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper import crash_watch, leases
from benchkeeper.crash import Row
from benchkeeper.crash_watch import Watched
from benchkeeper.leases import Lease

if TYPE_CHECKING:
    from pathlib import Path

# A run that puts something back when it is told to end, which takes its time.
RUN = """
import signal, sys, time
def back(*_why):
    time.sleep(0.3)
    print("everything is back", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, back)
print("going on", flush=True)
time.sleep(60)
"""


def test_a_machine_that_is_late_or_not_back_is_bad() -> None:
    good = {"miner-0": Watched(12.0, 14.0, "free"), "bench-0": Watched(20.0, 31.0, "free")}
    assert crash_watch.judge(good, 25.0) == ""
    assert crash_watch.judge(good, 19.0) == "bench-0 was restored after 20 s, allowed 19"
    assert crash_watch.judge({"miner-0": Watched(12.0, None, "proving")}, 25.0) == "miner-0 is proving"
    assert crash_watch.judge({"miner-0": Watched(said="unreachable")}, 25.0) == "miner-0 is unreachable"
    assert crash_watch.bound_of(10.0) == crash_watch.GRACE + crash_watch.STOP_BOUND + 15.0


def test_a_row_tells_both_times_and_what_is_not_back() -> None:
    row = Row(
        "KILL group", 40.0, good=False, why="miner-0 is proving", machines={"miner-0": Watched(12.0), "bench-0": Watched(3.0, 4.0)}
    )
    assert "bench-0   3.0/  4.0 s" in row.line()
    assert "miner-0 NOT BACK" in row.line()
    assert "BAD: miner-0 is proving" in row.line()


@pytest.mark.parametrize("end", [True, False])
def test_machines_are_watched_until_they_are_free_or_the_limit_is_reached(monkeypatch: pytest.MonkeyPatch, end: bool) -> None:
    states = {"miner-0": iter(["held", "restoring", "proving", *["free" if end else "proving"] * 1000])}
    now = iter(range(10000))

    def ask(_paths: Any, host: str) -> list[Lease]:
        return [Lease(host, host, "", "", next(states[host]), None)]

    monkeypatch.setattr(leases, "ask", ask)
    monkeypatch.setattr(crash_watch, "LOOK", 0.0)
    monkeypatch.setattr(crash_watch.time, "monotonic", lambda: float(next(now)))
    paths: Any = None
    found = crash_watch.watch(paths, ("miner-0",), 0.0, limit=50.0)["miner-0"]
    assert found.restored is not None
    assert (found.proven is not None) is end
    assert found.said == ("free" if end else "proving")


@pytest.mark.parametrize("paused", [False, True])
def test_who_is_interrupted_waits_until_the_run_has_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, paused: bool) -> None:
    started: list[subprocess.Popen[str]] = []

    def start(*_words: Any, **_more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    def interrupted() -> None:
        with crash_watch.Run(paths, "pithead", 1):
            assert started[0].stdout is not None
            assert started[0].stdout.readline() == "going on\n"
            if paused:
                started[0].send_signal(signal.SIGSTOP)
            raise KeyboardInterrupt

    monkeypatch.setattr(crash_watch.signals, "start", start)
    paths: Any = SimpleNamespace(results=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    out, _ = started[0].communicate(timeout=10)
    assert (started[0].returncode, "everything is back" in out) == (143, True)
