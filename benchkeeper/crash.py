"""`./bench crash`: the controller or a machine dies in the middle of a run and nobody does anything. Everything must come back.

Only looks are made after the blow: `keeper status`, again and again. What counts is when each machine was restored and proven,
counted from the blow (for a machine that died: from its start), against a bound that a healthy restore of the same bench sets.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchkeeper import inventory, leases, operations, processes, signals, sshfiles
from benchkeeper.console import say
from benchkeeper.errors import BusyError
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchkeeper.options import CrashOptions

GRACE = 10.0  # seconds that a cut hold has to come back
STOP_BOUND = 12.0  # seconds that an engine call may go on after its client died
SWEEP = 3.0  # seconds until the sweep has noticed, and its restore has begun
LOOK = 0.5  # seconds between two looks at a machine
LIMIT = 240.0  # seconds after which a machine that is not back is given up
SHORT_TTL = 30  # seconds, for what is cut off or paused for longer than that
BACK = ("proving", "free")


@dataclass
class Watched:
    """When one machine was seen restored and proven, in seconds from the blow; None while it was not."""

    restored: float | None = None
    proven: float | None = None
    said: str = ""


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


def watch(paths: Paths, hosts: tuple[str, ...], begun: float, limit: float = LIMIT) -> dict[str, Watched]:
    """Look at machines until each is proven and free, or the limit (seconds from ``begun``, monotonic) is reached."""
    found = {host: Watched() for host in hosts}

    def follow(host: str) -> None:
        one = found[host]
        pause = threading.Event()
        while time.monotonic() - begun < limit:
            states = {lease.state for lease in leases.ask(paths, host)} or {"free"}
            one.said = ", ".join(sorted(states))
            now = round(time.monotonic() - begun, 1)
            if one.restored is None and states <= set(BACK):
                one.restored = now
            if states == {"free"}:
                one.proven = now
                return
            pause.wait(LOOK)

    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        list(pool.map(follow, hosts))
    return found


def judge(found: dict[str, Watched], bound: float) -> str:
    """Return why machines did not come back as they must, empty when they did."""
    late = [f"{name} is {one.said}" for name, one in found.items() if one.proven is None]
    late += [
        f"{name} was restored after {one.restored:g} s, allowed {bound:g}"
        for name, one in found.items()
        if one.restored is not None and one.restored > bound
    ]
    return "; ".join(late)


def bound_of(healthy: float) -> float:
    """Return within how many seconds a machine must be restored, from what a healthy restore takes."""
    return round(GRACE + SWEEP + STOP_BOUND + 1.5 * healthy, 1)


class Run:
    """A run that is going on, with its events."""

    def __init__(self, paths: Paths, stack: str, log: int, *words: str) -> None:
        self.paths = paths
        before = set(self._folders())
        self.process = signals.start(paths, stack, log, *words)
        self._before = before

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.paths.results.glob("2*") if path.is_dir())

    def folder(self) -> Path | None:
        """Return its results, once there are some."""
        return next((path for path in self._folders() if path not in self._before), None)

    def events(self) -> list[dict[str, Any]]:
        """Return what happened so far."""
        folder = self.folder()
        lines: list[dict[str, Any]] = []
        if folder is not None:
            with contextlib.suppress(OSError):
                for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError):
                        lines.append(json.loads(line))
        return lines

    def reach(self, phase: str, seconds: float = 300.0) -> bool:
        """Wait until a phase begins; False when the run ended before."""
        end = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < end and self.process.poll() is None:
            if any(one.get("event") == "phase.start" and one.get("phase") == phase for one in self.events()):
                return True
            pause.wait(LOOK)
        return False

    def kill(self, what: str) -> list[int]:
        """Kill -9 the supervisor, ansible-playbook or the whole group; return who was killed."""
        players = signals.children_of(self.process.pid)
        if what == "group":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        victims = {"supervisor": [self.process.pid], "ansible-playbook": players, "group": [self.process.pid, *players]}[what]
        self.send(victims, signal.SIGKILL)
        return victims

    def everybody(self) -> list[int]:
        """Return the supervisor and every process of its playbook."""
        return [self.process.pid, *processes.descendants(self.process.pid)]

    @staticmethod
    def send(pids: list[int], number: signal.Signals) -> None:
        """Send a signal to processes that may be gone."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def result(self) -> dict[str, Any]:
        """Return the run's result, empty without one."""
        folder = self.folder()
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(((folder or self.paths.results) / "result.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}


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
        run = self.run()
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(moment)
            return Row(f"KILL {what}", moment, good=False, why=f"the run ended before, with {run.process.returncode}")
        victims = run.kill(what)
        found = watch(self.paths, self.hosts, time.monotonic())
        why = judge(found, self.bound) if victims else "there was nothing to kill"
        run.process.wait(signals.LIMIT)
        return Row(f"KILL {what}", moment, not why, why or "everything back by itself", found)

    def rebooted(self, host: str) -> Row:
        """Cut the power of a machine in the middle of a run, start it, and see the run end."""
        run = self.run()
        if not run.reach("lifecycle"):
            return Row(f"power cut of {host}", 0.0, good=False, why="the run did not get that far")
        operations.operate(self.paths, host, "kill")
        begun = time.monotonic()
        operations.operate(self.paths, host, "start")
        found = watch(self.paths, (host,), begun)
        return self._ended(f"power cut of {host}", run, found, judge(found, self.bound), (3, 4))

    def cut(self, host: str) -> Row:
        """Pull the cable of a machine for longer than its lease lives, then put it back."""
        run = self.run("--ttl", str(SHORT_TTL))
        if not run.reach("lifecycle"):
            return Row(f"cable of {host}", 0.0, good=False, why="the run did not get that far")
        operations.operate(self.paths, host, "cut")
        threading.Event().wait(SHORT_TTL + GRACE + SWEEP)
        operations.operate(self.paths, host, "heal")
        found = watch(self.paths, self.hosts, time.monotonic())
        return self._ended(f"cable of {host} for {SHORT_TTL} s", run, found, judge(found, LIMIT), (3, 4))

    def paused(self) -> Row:
        """Stop the controller for longer than its leases live, let it go on, and see it refused."""
        run = self.run("--ttl", str(SHORT_TTL))
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


def borrowers(paths: Paths, rounds: int) -> Row:
    """Let two borrowers ask for one miner at the same moment, again and again: exactly one wins, the other is told who."""
    host = inventory.read(paths.inventory, plain=True).miners[0]
    bad: list[str] = []
    begun = time.monotonic()

    def keeper(verb: str, request: dict[str, Any]) -> dict[str, Any]:
        argv = sshfiles.command(paths, host, f"sudo {leases.KEEPER} call {verb}")
        done = subprocess.run(argv, input=json.dumps(request), capture_output=True, text=True, check=False, timeout=120)
        found = json.loads(done.stdout or "{}")
        return {**found, "code": done.returncode}

    def borrow(number: int, turn: int, barrier: threading.Barrier) -> dict[str, Any]:
        who = {"controller_id": f"c{number}", "host": f"desk-{number}", "user": "ann", "pid": number + 2, "start_time": 1}
        wish = {"resource": host, "run_id": f"race-{turn}-{number}", "nonce": f"{turn:016d}{number:016d}", "ttl": 60, "holder": who}
        barrier.wait()
        return {**keeper("acquire", wish), "wish": wish}

    for turn in range(int(time.time()), int(time.time()) + rounds):
        barrier = threading.Barrier(2)
        with ThreadPoolExecutor(max_workers=2) as pool:
            answers = list(pool.map(functools.partial(borrow, turn=turn, barrier=barrier), (1, 2)))
        won = [one for one in answers if one["code"] == 0]
        lost = [one for one in answers if one["code"] == BusyError.exit_code]
        if len(won) != 1 or len(lost) != 1:
            bad.append(f"turn {turn}: codes {[one['code'] for one in answers]}")
        elif lost[0]["busy"].get("run_id") != won[0]["wish"]["run_id"] or not lost[0]["busy"].get("deadline"):
            bad.append(f"turn {turn}: the loser was told {lost[0]['busy']}")
        for one in won:
            fence = {key: one["wish"][key] for key in ("resource", "run_id", "nonce")}
            keeper("release", {"fence": {**fence, "token": one["token"]}})
    seconds = time.monotonic() - begun
    return Row(f"{rounds} x two borrowers", seconds, not bad, "; ".join(bad[:3]) or "exactly one winner each, the other told who")


def _plan(bench: Bench, options: CrashOptions, dice: random.Random) -> Iterator[tuple[str, Callable[[], Row]]]:
    for turn in range(options.random):
        what = signals.KILLED[turn % len(signals.KILLED)]
        moment = dice.uniform(signals.FIRST_MOMENT, max(signals.FIRST_MOMENT + 1, bench.usual * 0.85))
        yield f"kill -9 {what} after {moment:.1f} s", functools.partial(bench.killed, what, moment)
    if options.world:
        for host in bench.hosts:
            yield f"power cut of {host}", functools.partial(bench.rebooted, host)
        yield f"cable of {bench.hosts[0]}", functools.partial(bench.cut, bench.hosts[0])
        yield "controller paused", bench.paused
    if options.borrowers:
        yield f"{options.borrowers} times two borrowers", functools.partial(borrowers, bench.paths, options.borrowers)


def run_crash(options: CrashOptions) -> int:
    """Strike, wait, print the table; 0 when everything came back by itself each time, else 4."""
    paths = checkout()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    dice = random.Random(seed)  # noqa: S311 - the same moments again for the same seed
    say("crash", f"seed {seed}")
    log = os.open(paths.work / "crash.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    rows: list[Row] = []
    try:
        bench = Bench(paths, options, log)
        for name, act in _plan(bench, options, dice):
            say("crash", name)
            rows.append(act())
            say("crash", f"{'ok' if rows[-1].good else 'NOT AS EXPECTED'}: {rows[-1].why}")
    finally:
        os.close(log)
    print(f"seed {seed}; restored/proven after the blow; allowed to be restored: {bench.bound:g} s")
    for row in rows:
        print(row.line())
    return 0 if rows and all(row.good for row in rows) else 4
