"""`./bench crash --sweep`: a controller, a keeper or a machine dies at every boundary of the journal, in borrow and in restore.

A boundary is a host, a kind of change and a place in the life of one: journaled, made, journaled as made, put back, journaled as
put back. The runs make every kind of change and wait for nothing (mode ``journal``), with a keeper that strikes where it is told
to (``tests/e2e/crash/strike.py``). After the blow nothing is typed; the hosts are looked at until they are back.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from benchkeeper import inventory, keeper_program, leases, operations, signals, sshfiles
from benchkeeper.console import say
from benchkeeper.crash_watch import LOOK, Run, Watched, bound_of, judge, watch
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from benchkeeper.paths import Paths

HEALTHY = 3  # runs that nobody strikes, of which the median restore is taken
SLOWEST = 60.0  # seconds that a boundary may take in all
BORROW = ("intent", "change", "done")
RESTORE = ("undo", "undone")
CONTROLLERS = signals.KILLED
ORDER = "/run/benchkeeper-strike"
# The order is there as a whole before anything can read it; then whoever strikes is heard by its process id.
_ARM = f"'umask 077; rm -f {ORDER}.*; cat > {ORDER}.new; mkfifo {ORDER}.fifo; mv {ORDER}.new {ORDER}.json; exec cat {ORDER}.fifo'"
_DISARM = f"'rm -f {ORDER}.*'"


class Dice(Protocol):
    """What chooses; random.Random does."""

    def sample(self, population: range, k: int) -> list[int]:
        """Return ``k`` of the population, each once."""


@dataclass(frozen=True)
class Boundary:
    """Where a blow falls, and what it hits: the controller (one of its parts), the keeper, or the machine."""

    host: str
    kind: str
    at: str
    hit: str

    def __str__(self) -> str:
        """Return it for a reader."""
        return f"{self.host} {self.kind} {self.at}: {self.hit}"


@dataclass(frozen=True)
class Struck:
    """How one blow came out; ``who`` says for each host what set its restore off."""

    boundary: Boundary
    machines: Mapping[str, Watched]
    who: Mapping[str, str]
    seconds: float
    why: str

    def line(self) -> str:
        """Return the row for a reader."""
        times = "  ".join(
            f"{name} {'never' if one.restored is None else f'{one.restored:5.1f}'}/"
            f"{'never' if one.proven is None else f'{one.proven:5.1f}'} s ({self.who.get(name, '')})"
            for name, one in sorted(self.machines.items())
        )
        word = f"BAD: {self.why}" if self.why else f"SLOW: allowed {SLOWEST:g} s" if self.slow else "ok"
        return f"{self.boundary!s:<44} {self.seconds:>5.0f} s  {times}  {word}"

    @property
    def slow(self) -> bool:
        """Whether it took too long, which says something of the machine and the run, and nothing of what came back."""
        return self.seconds > SLOWEST


def phases(journals: Mapping[str, Iterable[Mapping[str, Any]]]) -> set[tuple[str, str, str]]:
    """Return ``(host, kind, INTENT | DONE | UNDONE)`` of everything that journals tell, by host."""
    found = set()
    for host, records in journals.items():
        kinds: dict[int, str] = {}
        for record in records:
            if record["type"] == "INTENT":
                kinds[int(record["seq"])] = str(record["kind"])
                found.add((host, str(record["kind"]), "INTENT"))
            elif record["type"] in ("DONE", "UNDONE"):
                found.add((host, kinds[int(record["ref"])], str(record["type"])))
    return found


def journals(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the journals in a run's results, by host."""
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("hosts/*/journal.json"))}


def plan(kinds: Iterable[tuple[str, str]], per_kind: int | None, dice: Dice) -> list[Boundary]:
    """Return the blows for hosts and kinds; ``per_kind`` of each, chosen by the dice, or all of them."""
    found: list[Boundary] = []
    for host, kind in sorted(kinds):
        whole = [Boundary(host, kind, at, hit) for at in BORROW for hit in ("controller", "keeper", "machine")]
        whole += [Boundary(host, kind, at, hit) for at in RESTORE for hit in ("keeper", "machine")]
        found += (
            whole if per_kind is None else [whole[at] for at in sorted(dice.sample(range(len(whole)), min(per_kind, len(whole))))]
        )
    # Which part of the controller dies goes round, so that each kind of change sees each of them.
    turn = 0
    for position, one in enumerate(found):
        if one.hit == "controller":
            found[position] = Boundary(one.host, one.kind, one.at, CONTROLLERS[turn % len(CONTROLLERS)])
            turn += 1
    return found


class Sweep:
    """The bench under blows.

    Args:
        paths: Of the checkout.
        stack: Whose `main` is run.
        log: File descriptor for what the runs print.
    """

    def __init__(self, paths: Paths, stack: str, log: int) -> None:
        self.paths = paths
        self.stack = stack
        self.log = log
        hosts = inventory.read(paths.inventory, plain=True)
        self.hosts = (hosts.miners[0], hosts.benches[0])
        self.kinds: set[tuple[str, str]] = set()
        self.bound = 0.0

    def _start(self) -> Run:
        return Run(self.paths, self.stack, self.log, "--mode", "journal", **{keeper_program.STRIKE: "1"})

    def measure(self, runs: int = HEALTHY) -> None:
        """Let runs go through that nobody strikes: what they change, and how long a healthy restore takes.

        Raises:
            UnfitError: when one does not come back, or leaves no journal.
        """
        taken: dict[str, list[float]] = {host: [] for host in self.hosts}
        for turn in range(runs):
            with self._start() as run:
                code = run.process.wait(signals.LIMIT)
            folder, result = run.folder(), run.result()
            ends = result.get("restored") or {}
            if folder is None or not all(ends.get(host, {}).get("proven") for host in self.hosts):
                raise UnfitError(f"a run that nobody struck is not back (exit {code}): {result.get('reason', 'no result')}")
            if code != 1 or result.get("reason") != "nothing was checked":
                raise UnfitError(f"a run that nobody struck went wrong (exit {code}): {result.get('reason')}")
            self.kinds |= {(host, kind) for host, kind, _type in phases(journals(folder))}
            for host in self.hosts:
                taken[host].append(float(ends[host]["seconds"]))
            say("sweep", f"healthy run {turn + 1} of {runs}: {result['seconds']:.0f} s")
        healthy = max(statistics.median(seconds) for seconds in taken.values())
        self.bound = bound_of(healthy)

    def strike(self, boundary: Boundary) -> Struck:
        """Strike once and see everything come back."""
        begun = time.monotonic()
        argv = sshfiles.command(self.paths, boundary.host, "sudo", "sh", "-c", _ARM)
        call = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            with self._start() as run:
                why, blow = self._hit(boundary, run, call)
                found = watch(self.paths, self.hosts, blow)
                problems = [one for one in (why, judge(found, self.bound)) if one]
                if run.process.wait(signals.LIMIT) == 0:
                    problems.append("the run says that it is good")
        except BaseException:
            self._on(boundary.host, _DISARM)
            raise
        finally:
            call.kill()
            call.wait()
        who, left = self._afterwards(boundary.host, run.folder())
        return Struck(boundary, found, who, time.monotonic() - begun, "; ".join([*problems, *left]))

    def _afterwards(self, struck: str, folder: Path | None) -> tuple[dict[str, str], list[str]]:
        """Take the order back, and return what set the restore of each host off and what is left; all of it at the same time."""
        with ThreadPoolExecutor(max_workers=2 + len(self.hosts)) as pool:
            pool.submit(self._on, struck, _DISARM)
            left = pool.submit(signals.held, self.paths)
            told = [] if folder is None else list(pool.map(lambda host: self._who(host, folder.name), self.hosts))
            return {host: word for host, word in zip(self.hosts, told, strict=False) if word}, left.result()

    def _hit(self, boundary: Boundary, run: Run, call: subprocess.Popen[str]) -> tuple[str, float]:
        """Wait for the boundary and strike; return what went wrong, and when the clock of the restore starts."""
        order = {"resource": boundary.host, "kind": boundary.kind, "at": boundary.at}
        pid = self._called(run, call, json.dumps({**order, "act": "kill" if boundary.hit == "keeper" else "wait"}))
        blow = time.monotonic()
        if pid is None:
            return "the run never came to this boundary", blow
        if boundary.hit in CONTROLLERS:
            victims = run.kill(boundary.hit)
            self._on(boundary.host, f"'kill -CONT {pid}'")  # the keeper lives, and ends its call
            return ("" if victims else "there was nothing to kill"), blow
        if boundary.hit == "machine":
            operations.operate(self.paths, boundary.host, "kill")
            blow = time.monotonic()
            operations.operate(self.paths, boundary.host, "start")
        return "", blow

    @staticmethod
    def _called(run: Run, call: subprocess.Popen[str], order: str) -> int | None:
        """Give the order and return the process that came to its boundary, None when the run ended before."""
        given: str | None = order
        while run.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                said, _ = call.communicate(given, timeout=LOOK)
                return int(said) if said.strip().isdigit() else None
            given = None  # what was written once is not written again
        return None

    def _on(self, host: str, words: str) -> str:
        argv = sshfiles.command(self.paths, host, "sudo", "sh", "-c", words)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30).stdout
        return ""

    def _who(self, host: str, run_id: str) -> str:
        """Return what set the restore of a host off, as its keeper tells; empty when it does not."""
        argv = sshfiles.command(self.paths, host, "sudo", leases.KEEPER, "call", "evidence")
        asked = json.dumps({"resource": host, "run_id": run_id})
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            done = subprocess.run(argv, input=asked, check=False, capture_output=True, text=True, timeout=30)
            return str((json.loads(done.stdout).get("restored") or {}).get("why") or "its run")
        return ""

    def close(self) -> None:
        """Bring the keeper back that strikes nobody."""
        with Run(self.paths, self.stack, self.log, "--mode", "journal") as run:
            run.process.wait(signals.LIMIT)


def sweep(paths: Paths, stack: str, log: int, per_kind: int | None, dice: Dice) -> list[Struck]:
    """Strike at every boundary, or at some of each kind; each row is said as it comes."""
    one = Sweep(paths, stack, log)
    rows: list[Struck] = []
    try:
        one.measure(HEALTHY if per_kind is None else 1)
        blows = plan(one.kinds, per_kind, dice)
        say("sweep", f"{len(blows)} blows; every host must be restored within {one.bound:g} s")
        for boundary in blows:
            rows.append(one.strike(boundary))
            say("sweep", f"{len(rows)}/{len(blows)} {rows[-1].line()}")
    finally:
        one.close()
    return rows


def told(rows: Sequence[Struck]) -> list[str]:
    """Return the end of the table."""
    slowest = max((row.seconds for row in rows), default=0.0)
    usual = statistics.median([row.seconds for row in rows] or [0.0])
    bad, slow = sum(bool(row.why) for row in rows), sum(row.slow for row in rows)
    return [f"{len(rows)} blows, {bad} not as expected; {usual:.0f} s each, at most {slowest:.0f} ({slow} longer than {SLOWEST:g})"]
