"""`./bench conform`: play a recording, print what is equal and what is not. Everything that is made for it is gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from benchkeeper import images, owned, owned_processes, setup, watcher
from benchkeeper.conform import kinds, recording, verdicts
from benchkeeper.conform.play import Play, Version
from benchkeeper.conform.servers import Containers, EngineServers
from benchkeeper.conform.symbols import Symbols
from benchkeeper.console import complain, phase, say
from benchkeeper.errors import BenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchkeeper.conform.kinds import Facts, Kind
    from benchkeeper.conform.player import Outcome
    from benchkeeper.conform.recording import Case
    from benchkeeper.engine import Engine
    from benchkeeper.options import ConformOptions
    from benchkeeper.paths import Paths

STACK = "tenant"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BETWEEN = 5.0  # seconds between two lines of progress


class Progress:
    """Says how far a play is."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._bad, self._last = total, 0, 0, time.monotonic()

    def tell(self, outcome: Outcome) -> None:
        """Count a case, and say so every few seconds."""
        self._done += 1
        self._bad += bool(outcome.differences)
        now = time.monotonic()
        if now - self._last >= BETWEEN or self._done == self._total:
            self._last = now
            say("conform", f"{self._done} of {self._total} played, {self._bad} not as recorded; now {outcome.case.case}")


class Interrupted(SystemExit):
    """A signal came; what was made has to go. Of this class an event loop lets everything end, wherever it was raised."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(paths: Paths, options: ConformOptions) -> int:
    """Play, print, and return the exit code. Raises UsageError for what cannot be meant, before anything is made."""
    stack = paths.stacks / STACK
    try:
        cases = recording.load(options.recording)
    except recording.RecordingError as failure:
        raise UsageError(str(failure)) from failure
    known = kinds.facts(stack / "conform.yml", options.kind)
    declared = {} if options.as_seed else verdicts.declared(stack / "defects.yml")
    _check(options, known)
    symbols = Symbols()
    watcher.sweep_left_over(paths)
    try:
        with _signals():
            with _owned(paths) as holder:
                bench = _Bench(paths, options, holder, known)
                outcomes = asyncio.run(bench.play(cases, symbols, Progress(len(cases)), mistakes=options.as_seed))
            judged = {seq: verdicts.judge(one, declared.get(seq)) for seq, one in outcomes.items()}
            unlisted = [] if options.as_seed else verdicts.undeclared(judged, declared)
            if unlisted:
                say("conform", f"{len(unlisted)} cases that no list knows are otherwise; once more with the recorded mistakes on")
                again = _with_mistakes(cases, unlisted)
                with _owned(paths) as holder:
                    bench = _Bench(paths, options, holder, known)
                    found = asyncio.run(bench.play(again, Symbols(), Progress(len(again)), mistakes=True))
                judged |= {seq: verdicts.mended(judged[seq], found.get(seq), declared) for seq in unlisted}
    except Interrupted as end:
        complain(f"ended by {signal.Signals(end.number).name}; nothing of the play is left")
        return 128 + end.number
    result = verdicts.Result(cases, judged, options.as_seed)
    _print(options, result, symbols)
    return result.exit_code


def _with_mistakes(cases: list[Case], unlisted: list[int]) -> list[Case]:
    """Give the cases of all servers that answered some of them: each case stands on those before it."""
    wanted = set(unlisted)
    instances = {case.instance for case in cases if case.seq in wanted}
    return [case for case in cases if case.instance in instances]


def _check(options: ConformOptions, known: Facts) -> None:
    """Refuse a target that is none."""
    if options.kind == kinds.BINARY:
        kinds.program(options.target)
    if options.kind == kinds.URL:
        kinds.AtUrl(options.target, known)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn signals into an exception, once: what follows is the end, and is not interrupted."""

    def interrupt(number: int, _frame: object) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _owned(paths: Paths) -> Iterator[owned.OwnedRun]:
    """Hold a run with its lease and its watcher, and end it with a proof."""
    holder = owned.begin(paths, STACK)
    watch = watcher.watch(holder)
    try:
        yield holder
    finally:
        with phase("conform", "taking everything down"):
            owned_processes.end(holder.own)
            outcome = holder.end()
        if outcome.left or outcome.strays:
            left = ", ".join(str(one) for one in (*outcome.left, *outcome.strays))
            raise LeftError(f"not everything of the play is gone: {left}; see ./bench reap")
        watch.dismiss()


class LeftError(BenchError):
    """Something of the play is left."""

    exit_code = 4


class _Bench:
    """Makes what a play stands on."""

    def __init__(self, paths: Paths, options: ConformOptions, holder: owned.OwnedRun, known: Facts) -> None:
        self._paths, self._options, self._holder, self._known = paths, options, holder, known
        self._reference = paths.stacks / STACK / "reference"

    async def play(self, cases: list[Case], symbols: Symbols, progress: Progress, *, mistakes: bool) -> dict[int, Outcome]:
        """Bring everything up and play, with the recorded mistakes or without."""
        stack = self._paths.stacks / STACK
        table = yaml.safe_load((stack / "harness" / "edge.yml").read_text(encoding="utf-8"))
        programs = kinds.Programs(Path(self._holder.state_directory()), self._holder.environment)
        try:
            servers, kind = await self._made(programs)
            version = Version(defects=mistakes)
            made = Play(cases, kind, version, servers, programs, self._reference, table, progress.tell, symbols)
            return await made.all()
        finally:
            await programs.end()

    async def _made(self, programs: kinds.Programs) -> tuple[EngineServers | None, Kind]:
        options = self._options
        if options.kind == kinds.URL:
            return None, kinds.AtUrl(options.target, self._known)
        engine, tags = setup.prepare_images(self._paths, STACK, install=options.install)
        containers = Containers(engine.client, self._holder.labels)
        kind: Kind
        if options.kind == kinds.IMAGE:
            image = options.target or self._own_image(engine, tags)
            if images.find(engine.client, image) is None:
                raise UsageError(f"the engine has no image {image!r}")
            network, gateway = containers.network("tenants", internal=True)
            kind = kinds.InContainers(containers, image, network, gateway, self._known)
        elif options.kind == kinds.BINARY:
            kind = kinds.binary(programs, options.target, self._known)
        else:
            kind = kinds.builtin(programs, self._reference, self._known)
        servers = EngineServers(containers, tags["services"])
        with phase("conform", "starting PostgreSQL and Redis"):
            await servers.up()
        return servers, kind

    def _own_image(self, engine: Engine, tags: dict[str, str]) -> str:
        """Give the image of our own tenant, built when its code has changed; it stays for the next play."""
        recipe = images.Recipe("tenant-reference", self._reference, STACK, {"BASE": tags["runtime"]})
        tag = images.tag_of(recipe, tags["runtime"])
        if images.find(engine.client, tag) is None:
            images.build(engine, self._paths, recipe, tag)
        return tag


def _print(options: ConformOptions, result: verdicts.Result, symbols: Symbols) -> None:
    about = {
        "recording": str(options.recording),
        "sha256": hashlib.sha256(options.recording.read_bytes()).hexdigest(),
        "kind": options.kind,
    }
    if options.json:
        print(json.dumps(result.document(about, symbols), indent=1, ensure_ascii=False))
        return
    print(result.table())
    reasons = [one for _seq, one in sorted(result.judged.items()) if one.verdict is verdicts.Verdict.NOT_PLAYED]
    for reason, cases in _gathered(reasons).items():
        print(f"not played: {', '.join(map(str, cases))}: {reason}")
    mended = [str(seq) for seq, one in sorted(result.judged.items()) if one.verdict is verdicts.Verdict.MENDED]
    if mended:
        print(f"mended, and in no list: {', '.join(mended)}")
    for problem in result.problems:
        print(f"NOT AS RECORDED: {problem}")
    print("as recorded" if not result.exit_code else f"{len(result.problems)} problems")


def _gathered(judged: list[verdicts.Judged]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in judged:
        found.setdefault(one.why[0], []).append(one.case.seq)
    return found
