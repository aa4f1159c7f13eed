"""`./bench crash`: the controller or a machine dies in the middle of a run and nobody does anything. Everything must come back.

Only looks are made after the blow: `keeper status`, again and again. What counts is when each machine was restored and proven,
counted from the blow (for a machine that died: from its start), against a bound that a healthy restore of the same bench sets.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchkeeper import battery, crash_sweep, inventory, keeper_program, operations, player, signals
from benchkeeper.console import say
from benchkeeper.crash_watch import GRACE, LIMIT, Run, Watched, bound_of, judge, watch
from benchkeeper.errors import BusyError
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchkeeper.options import CrashOptions

SHORT_TTL = 30  # seconds, for what is cut off or paused for longer than that


@dataclass(frozen=True)
class Row:
    """How one blow came out."""

    what: str
    moment: float
    good: bool
    why: str
    machines: dict[str, Watched] = field(default_factory=dict)

    def line(self) -> str:
        """Return the row for a reader."""
        times = "  ".join(
            f"{name} {one.restored or 0:5.1f}/{one.proven or 0:5.1f} s" if one.proven is not None else f"{name} NOT BACK"
            for name, one in sorted(self.machines.items())
        )
        return f"{self.what:<26} {self.moment:>6.1f}  {times}  {'ok' if self.good else 'BAD'}: {self.why}"


class Bench:
    """The embedded bench, the stack, where output goes, and the bound that a healthy run sets."""

    def __init__(self, paths: Paths, options: CrashOptions, log: int) -> None:
        self.paths = paths
        self.options = options
        self.log = log
        hosts = inventory.read(paths.inventory, plain=True)
        self.hosts = (hosts.miners[0], hosts.benches[0])
        self.usual = signals.usual_seconds(paths, options.stack, log)
        result = signals.last_good(paths, options.stack)
        self.bound = bound_of(max([float(end["seconds"]) for end in result["restored"].values()] or [10.0]))
        say("crash", f"a machine must be restored within {self.bound:g} s")

    def run(self, *words: str) -> Run:
        """Start a run."""
        return Run(self.paths, self.options.stack, self.log, *words)

    def killed(self, what: str, moment: float) -> Row:
        """Kill a part of the controller at a moment (seconds from the start), and wait."""
        with self.run() as run:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(moment)
                return Row(f"KILL {what}", moment, good=False, why=f"the run ended before, with {run.process.returncode}")
            victims = run.kill(what)
            found = watch(self.paths, self.hosts, time.monotonic())
            why = judge(found, self.bound) if victims else "there was nothing to kill"
            run.process.wait(signals.LIMIT)
            why = "; ".join(part for part in (why, *signals.held(self.paths)) if part)
            return Row(f"KILL {what}", moment, not why, why or "everything back by itself", found)

    def rebooted(self, host: str) -> Row:
        """Reboot a machine in the middle of a run, and see the run end."""
        with self.run() as run:
            if not run.reach("lifecycle"):
                return Row(f"reboot of {host}", 0.0, good=False, why="the run did not get that far")
            begun = time.monotonic()
            operations.operate(self.paths, host, "reboot")
            found = watch(self.paths, self.hosts, begun)
            # A machine may take its time to go down, and only then is it started again.
            return self._ended(f"reboot of {host}", run, found, judge(found, self.bound + operations.STOP_PATIENCE), (3, 4))

    def cut(self, host: str) -> Row:
        """Pull the cable of a machine for longer than its lease lives, then put it back."""
        with self.run("--ttl", str(SHORT_TTL)) as run:
            if not run.reach("lifecycle"):
                return Row(f"cable of {host}", 0.0, good=False, why="the run did not get that far")
            operations.operate(self.paths, host, "cut")
            try:
                threading.Event().wait(SHORT_TTL + GRACE)
            finally:
                operations.operate(self.paths, host, "heal")
            found = watch(self.paths, self.hosts, time.monotonic())
            return self._ended(f"cable of {host} for {SHORT_TTL} s", run, found, judge(found, LIMIT), (3, 4))

    def paused(self) -> Row:
        """Stop the controller for longer than its leases live, let it go on, and see it refused."""
        with self.run("--ttl", str(SHORT_TTL)) as run:
            if not run.reach("lifecycle"):
                return Row("controller paused", 0.0, good=False, why="the run did not get that far")
            everybody = run.everybody()
            run.send(everybody, signal.SIGSTOP)
            found = watch(self.paths, self.hosts, time.monotonic())
            why = judge(found, SHORT_TTL + self.bound)
            run.send(everybody, signal.SIGCONT)
            return self._ended("controller paused", run, found, why, (3,))

    def _ended(self, what: str, run: Run, found: dict[str, Watched], why: str, codes: tuple[int, ...]) -> Row:
        code = run.process.wait(signals.LIMIT)
        held = signals.held(self.paths)
        reason = str(run.result().get("reason", "no result"))
        problems = [part for part in (why, *held) if part]
        if code not in codes:
            problems.append(f"the run ended with {code}, not {' or '.join(str(one) for one in codes)}")
        return Row(what, 0.0, not problems, "; ".join(problems) or f"exit {code}: {reason}", found)


def borrowers(paths: Paths, rounds: int, seed: int) -> Row:
    """Let two borrowers ask for one miner at the same moment, again and again: one wins, the other is told who, and then served."""
    keeper_program.ensure(paths)
    miner = inventory.read(paths.inventory, plain=True).miners[0]
    place = paths.work / "borrowers"
    piece = player.Play(
        playbook=paths.root / "tests" / "e2e" / "crash" / "borrowers.yml",
        inventory=paths.inventory,
        root=paths.root,
        values={"miner": miner, "rounds": rounds, "seed": f"{seed}-{int(time.time())}"},
        private=place / "runner",
        events=place / "events.jsonl",
    )
    begun = time.monotonic()
    try:
        code = player.play_through(piece, lambda: None, paths.work / "borrowers.log")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    why = "" if code == 0 else f"see {paths.work / 'borrowers.log'}"
    told = why or "one winner each, the other told who and until when, queued, then served"
    return Row(f"{rounds} x two borrowers", time.monotonic() - begun, not why, told)


def against_each_other(paths: Paths, stack: str, log: int) -> Row:
    """Start three whole runs at the same moment, of which one waits: one at a time, nobody in between, who waits is served."""
    begun = time.monotonic()
    waits = ("--wait", str(int(signals.LIMIT)))
    with contextlib.ExitStack() as going:
        starts = (("first", ()), ("second", ()), ("patient", waits))
        runs = {name: going.enter_context(Run(paths, stack, log, *words)) for name, words in starts}
        codes = {name: run.process.wait(2 * signals.LIMIT) for name, run in runs.items()}
    problems = [*([] if codes["patient"] == 0 else ["who waited was not served"]), *signals.held(paths)]
    refused = [codes[name] for name in ("first", "second") if codes[name] != 0]
    if refused not in ([BusyError.exit_code], [BusyError.exit_code] * 2):
        problems.append("who did not wait neither won nor was told who did")
    why = f"exit codes {codes}{': ' if problems else ''}{'; '.join(problems)}"
    return Row("three runs at once", time.monotonic() - begun, not problems, why)


def _plan(bench: Bench, options: CrashOptions, dice: random.Random) -> Iterator[tuple[str, Callable[[], Row]]]:
    for turn in range(options.random):
        what = signals.KILLED[turn % len(signals.KILLED)]
        moment = dice.uniform(signals.FIRST_MOMENT, max(signals.FIRST_MOMENT + 1, bench.usual * 0.85))
        yield f"kill -9 {what} after {moment:.1f} s", functools.partial(bench.killed, what, moment)
    if options.world:
        for host in bench.hosts:
            yield f"reboot of {host}", functools.partial(bench.rebooted, host)
        yield f"cable of {bench.hosts[0]}", functools.partial(bench.cut, bench.hosts[0])
        yield "controller paused", bench.paused
    if options.borrowers:
        race = functools.partial(borrowers, bench.paths, options.borrowers, dice.randrange(1_000_000))
        yield f"{options.borrowers} times two borrowers", race
        yield "three runs at once", functools.partial(against_each_other, bench.paths, options.stack, bench.log)


def run_crash(options: CrashOptions) -> int:
    """Strike, wait, print the tables; 0 when everything came back by itself each time, else 4.

    Raises:
        UsageError: there is no such case.
    """
    code = battery.run_cases(options.cases) if options.cases else 0
    if options.sweep is None and not (options.random or options.world or options.borrowers):
        return code
    paths = checkout()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    dice = random.Random(seed)  # noqa: S311 - the same moments again for the same seed
    say("crash", f"seed {seed}")
    log = os.open(paths.work / "crash.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    lines = [f"seed {seed}; seconds from the blow until restored/proven"]
    good = code == 0
    try:
        if options.sweep is not None:
            struck = crash_sweep.sweep(paths, options.stack, log, options.sweep or None, dice)
            lines += [*(row.line() for row in struck), *crash_sweep.told(struck)]
            # How long a blow takes is judged where all are struck: a few are struck where other things go on, too.
            good = good and bool(struck) and not any(row.why or (row.slow and not options.sweep) for row in struck)
        if options.random or options.world or options.borrowers:
            rows = _strike(Bench(paths, options, log), options, dice)
            lines += [row.line() for row in rows]
            good = good and bool(rows) and all(row.good for row in rows)
    finally:
        os.close(log)
        print("\n".join(lines))
    return 0 if good else 4


def _strike(bench: Bench, options: CrashOptions, dice: random.Random) -> list[Row]:
    rows: list[Row] = []
    for name, act in _plan(bench, options, dice):
        say("crash", name)
        rows.append(act())
        say("crash", f"{'ok' if rows[-1].good else 'NOT AS EXPECTED'}: {rows[-1].why}")
    return rows
