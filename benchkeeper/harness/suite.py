"""All replays from nothing to nothing: boot, gate, seed, run, and, when asked, prove that each can turn red; take down.

Whatever happens in between, what was made is taken down and what is known is written down: results/replays/RUN/ has result.json,
junit.xml, a log of each replay, and on failure what every service printed.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import junitparser

from benchkeeper import owned, watcher
from benchkeeper.console import complain, phase, say
from benchkeeper.errors import BenchError, UsageError
from benchkeeper.harness import edge, gate, life, place, replays, seed, topology
from benchkeeper.harness.replays import FAIL, NOT_RUN, PASS, SKIP, XFAIL, Outcome
from benchkeeper.interrupts import Signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchkeeper.paths import Paths

SCHEMA = 1


@dataclass
class Record:
    """What a run of replays came to, as it grows.

    Attributes:
        run: The run.
        kind: Kind of tenant.
        build_id: What was tested.
        outcomes: Of every chosen replay, in order.
        proofs: With its break on, of every replay that has one.
        problems: What is wrong besides: unexpected calls, a harness that does not come up, something that is left.
        seconds: How long parts of it took.
        exit_code: What the command ends with.
    """

    run: str = ""
    kind: str = ""
    build_id: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    proofs: dict[str, Outcome] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    exit_code: int = 0

    def blame(self, code: int, text: str) -> None:
        """Note what is wrong; the gravest code stays: 4, a signal, 3, 2, 1."""
        self.problems.append(text)
        self.exit_code = max(self.exit_code, code, key=_gravity)


def _gravity(code: int) -> int:
    order = {0: 0, 1: 1, 2: 2, 3: 3, 4: 1000}
    return order.get(code, code)


@dataclass(frozen=True)
class Order:
    """What is to be done.

    Attributes:
        chosen: The replays.
        wish: The harness.
        prove: Whether each is first to be seen red.
        keep: Whether the harness stays.
    """

    chosen: Sequence[replays.Replay]
    wish: life.Wish
    prove: bool = False
    keep: bool = False


def switches_of(replay: replays.Replay, base: topology.Switches) -> topology.Switches:
    """Return the switches that bring a replay's bug back."""
    breaks = replay.header.breaks
    return replace(
        base,
        tenant=tuple(sorted({*base.tenant, *breaks.get("tenant", [])})),
        stub=tuple(sorted({*base.stub, *breaks.get("stub", [])})),
        edge=base.edge | frozenset(breaks.get("edge", [])),
    )


def check(order: Order) -> None:
    """Refuse what makes no sense, before anything is made. Raises UsageError."""
    life.check(order.wish)
    if order.prove and order.wish.kind != topology.BUILTIN:
        raise UsageError("--prove needs the builtin tenant: only our own parts can bring a bug back")
    for one in order.chosen:
        unknown = sorted(set(one.header.breaks.get("edge", [])) - set(edge.BREAKS))
        if unknown:
            raise UsageError(f"replay {one.name}: the edge has no break {', '.join(unknown)}")
        if order.prove and not one.header.breaks and not one.header.skip:
            raise UsageError(f"replay {one.name} has no break: it cannot be shown that it can fail")


def run(paths: Paths, order: Order) -> Record:
    """Do all of it; return what it came to, which is written down, too."""
    check(order)
    record = Record(kind=order.wish.kind)
    begun = time.monotonic()
    with Signals().taken() as signals:
        signals.told = complain
        harness: life.Harness | None = None
        try:
            harness = life.begin(paths, order.wish, lambda: bool(signals.first))
            record.run = harness.run.lease.run
            with _told(record):
                _use(harness, order, record)
        finally:
            if harness is not None:
                _end(harness, order, record, signals)
    record.seconds["all"] = time.monotonic() - begun
    if harness is not None:
        record.seconds |= {name: seconds for name, seconds in harness.seconds.items() if name not in record.seconds}
    if signals.first:
        record.blame(128 + signals.first, f"ended by signal {signals.first}: what was not run has proven nothing")
    write_down(results_of(paths, record.run), record)
    return record


@contextlib.contextmanager
def _told(record: Record) -> Iterator[None]:
    """Turn what goes wrong on the way into a line of the record: what was made is taken down whatever it is."""
    try:
        with life.engine_needed():
            yield
    except BenchError as error:
        record.blame(error.exit_code, str(error))


def results_of(paths: Paths, run_id: str) -> Path:
    """Return where the results of a run of replays are."""
    return paths.results / "replays" / run_id


def _use(harness: life.Harness, order: Order, record: Record) -> None:
    place_ = harness.up()
    record.build_id = place_.build_id
    gate.wait_until_reachable(place_)
    gate.check(harness)
    begun = time.monotonic()
    seeded = seed.seed(place_)
    record.seconds["seed"] = time.monotonic() - begun
    logs = results_of(harness.paths, record.run) / "logs"
    marks = harness.run.environment
    if order.prove:
        with phase("prove", "each replay with the bug that it is there for"):
            begun = time.monotonic()
            _prove(
                harness,
                order,
                record,
                replays.Session(place_, seeded, harness.folder / "red", logs / "red", marks, harness.stopped),
            )
            record.seconds["prove"] = time.monotonic() - begun
        place_ = harness.place
    _play(replays.Session(place_, seeded, harness.folder / "replays", logs, marks, harness.stopped), order.chosen, record)


def judge(record: Record, stopped: bool) -> None:
    """Add to a record what its outcomes come to."""
    failed = [one.name for one in record.outcomes if one.verdict == FAIL]
    if failed:
        record.blame(1, f"{len(failed)} of {len(record.outcomes)} replays failed: {', '.join(failed)}")
    ran = [one for one in record.outcomes if one.verdict not in (SKIP, NOT_RUN)]
    if not ran and not stopped:
        record.blame(1, "no replay ran: all of them skipped, which proves nothing")
    late = [name for name, one in record.proofs.items() if not is_red(one)]
    if late and not stopped:
        record.blame(1, f"not red with the bug that they are there for: {', '.join(late)}")


def is_red(one: Outcome) -> bool:
    """Tell whether a replay said by itself that its bug is there: one that hangs, cannot start or stands on nothing has not."""
    return one.verdict == FAIL and one.code not in (None, replays.GROUNDLESS)


def _prove(harness: life.Harness, order: Order, record: Record, session: replays.Session) -> None:
    base = order.wish.switches
    groups: dict[topology.Switches, list[replays.Replay]] = {}
    for one in order.chosen:
        if one.header.breaks and not one.header.skip:
            groups.setdefault(switches_of(one, base), []).append(one)
    # Neighbours have the most in common: fewer services are made anew.
    for switches in sorted(groups, key=lambda one: (sorted(one.edge), one.stub, one.tenant)):
        if harness.stopped():
            return
        harness.switch(switches)
        gate.wait_until_reachable(harness.place)
        for outcome in replace(session, place=harness.place).run(groups[switches]):
            record.proofs[outcome.name] = outcome
            word = "red" if is_red(outcome) else "NOT RED"
            say("prove", f"{word:<8}{outcome.name} ({outcome.seconds:.1f} s): {outcome.why}")
    if not harness.stopped():
        harness.switch(base)
        gate.wait_until_reachable(harness.place)
        gate.check(harness)


def _end(harness: life.Harness, order: Order, record: Record, signals: Signals) -> None:
    """Keep the logs, then take everything down, or let it stay when that was asked for and it came up."""
    if record.exit_code or signals.first:
        harness.save_logs(results_of(harness.paths, record.run) / "services")
    if order.keep and record.outcomes and not signals.first:
        harness.keep()
        return
    for text in harness.down():
        record.blame(life.LeftError.exit_code, text)


def write_down(folder: Path, record: Record) -> None:
    """Write result.json and junit.xml."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.write_private(folder / "result.json", json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1, sort_keys=True) + "\n")
    suite = junitparser.TestSuite("replays")
    for one in record.outcomes:
        case = junitparser.TestCase(one.name, "replays", round(one.seconds, 3))
        if one.verdict == FAIL:
            case.result = [junitparser.Failure(one.why)]
        elif one.verdict in (SKIP, XFAIL):
            case.result = [junitparser.Skipped(f"{one.verdict}: {one.why}")]
        elif one.verdict == NOT_RUN:
            case.result = [junitparser.Error(one.why)]
        suite.add_testcase(case)
    xml = junitparser.JUnitXml()
    xml.add_testsuite(suite)
    xml.write(str(folder / "junit.xml"))
    with contextlib.suppress(OSError):
        temp = folder.parent / f".latest.{folder.name}"
        temp.symlink_to(folder.name)
        temp.replace(folder.parent / "latest")


def table(record: Record, chosen: Sequence[replays.Replay]) -> list[str]:
    """Return what a person reads at the end."""
    lines = [""]
    needs = {one.name: one.header.needs for one in chosen}
    width = max((len(one.name) for one in record.outcomes), default=0)
    for one in record.outcomes:
        proof = record.proofs.get(one.name)
        red = "" if proof is None else f"{'red' if is_red(proof) else 'NOT RED'} on its break, "
        text = f"  {one.verdict:<8}{one.name:<{width}}  {needs[one.name]:<10}{one.seconds:6.1f} s  {red}{one.why}"
        lines.append(text.rstrip(" ,"))
        if one.verdict == FAIL:
            lines += [f"            | {line}" for line in one.tail.splitlines()]
    counts = {word: sum(one.verdict == word for one in record.outcomes) for word in (PASS, FAIL, SKIP, XFAIL, NOT_RUN)}
    told = ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "nothing ran"
    word = "GOOD" if record.exit_code == 0 else "NOT GOOD"
    lines += ["", f"{word}: {told} (kind {record.kind}, build {record.build_id or 'unknown'})"]
    lines += [f"  !! {text}" for text in record.problems]
    lines.append(f"  seconds: {', '.join(f'{name} {seconds:.1f}' for name, seconds in record.seconds.items())}")
    lines.append(f"  results: results/replays/{record.run}/")
    return lines


def again(paths: Paths, chosen: Sequence[replays.Replay], place_: place.Place) -> Record:
    """Run replays against what somebody else brought up, with a lease of their own; return what it came to."""
    record = Record(kind=place_.kind, build_id=place_.build_id)
    with Signals().taken() as signals:
        signals.told = complain
        run = owned.begin(paths, life.STACK)
        watch = watcher.watch(run)
        record.run = run.lease.run
        try:
            with _told(record):
                wrong = gate.answering(place_)
                if wrong:
                    raise gate.GateError("what answers is not what was meant: " + "; ".join(wrong))
                seeded = seed.seed(place_)
                folder, logs = Path(run.state_directory()), results_of(paths, record.run) / "logs"
                session = replays.Session(place_, seeded, folder, logs, run.environment, lambda: bool(signals.first))
                _play(session, chosen, record)
        finally:
            for text in life.end(run, watch):
                record.blame(life.LeftError.exit_code, text)
    if signals.first:
        record.blame(128 + signals.first, f"ended by signal {signals.first}: what was not run has proven nothing")
    write_down(results_of(paths, record.run), record)
    return record


def _play(session: replays.Session, chosen: Sequence[replays.Replay], record: Record) -> None:
    """Run replays and judge them; what the stub was asked unexpectedly meanwhile is a failure of the run."""
    place_ = session.place
    after = replays.cursor(place_) if place_.stub else 0
    begun = time.monotonic()
    with phase("replay", f"{len(chosen)} replays"):
        record.outcomes = session.run(chosen, replays.say_outcome)
    record.seconds["replays"] = time.monotonic() - begun
    judge(record, session.stop())
    for text in replays.complaints(place_, after) if place_.stub else ():
        record.blame(1, text)
