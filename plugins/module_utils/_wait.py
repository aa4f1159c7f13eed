"""Waiting on a host for named signals: event driven, with a deadline each, and an early end when what is waited for died.

Signals that share probes are judged on the same look; others go their own way, so a slow probe holds nobody else up.
"""

from __future__ import annotations

import contextlib
import random
import shlex
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, Union

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    Engine,
    EngineError,
    EventStream,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._predicate import UNKNOWN, Judge, PredicateError
from ansible_collections.benchkeeper.core.plugins.module_utils._probes import Context, Spec
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import make_context, take

SHORT, LONG = 0.1, 0.5  # seconds between looks: soon after something happened, and when nothing does
LOG_LINES = 20
_LOG_CHARACTERS = 4000
_SHOWN_REASONS = 3
_DEAD_FOR = 1.0  # seconds: a container that is being replaced is gone sooner
_RESTARTS = 3  # so many restarts while we wait, and it will not come up by itself
_QUIET_EVENTS = ("exec_", "top", "attach", "archive", "copy")  # health checks and our own looks

Document = Mapping[str, Any]
Take = Callable[[Mapping[str, Spec]], Document]


class WaitError(ValueError):
    """A signal is wrong: no name, a probe that does not exist, an unreadable predicate."""


@dataclass(frozen=True)
class Death:
    """A watched service that will not come up: its name, what happened, its last words (redacted)."""

    service: str
    why: str
    logs: str = ""


@dataclass
class Waiting:
    """One signal while it is waited for. ``deadline`` is in seconds from the start."""

    name: str
    deadline: float
    judge: Judge
    probes: Set[str]
    watch: Set[str]
    settle: int = 1
    reason: str = ""
    hint: Mapping[str, Any] = field(default_factory=dict)
    held: int = 0
    samples: int = 0
    why: str = "was not looked at"
    state: str = UNKNOWN
    result: Optional[Dict[str, Any]] = None

    def sample(self, document: Document, seconds: float) -> None:
        """Judge one look, taken at so many seconds from the start."""
        failing = self.judge.failing(document)
        self.samples += 1
        self.held = 0 if failing else self.held + 1
        if failing:
            self.state = failing[0][1].state
            self.why = "; ".join(outcome.why for _predicate, outcome in failing[:_SHOWN_REASONS])
        elif self.held < self.settle:
            self.why = f"held in {self.held} of {self.settle} looks in a row"
        if self.held >= self.settle:
            self.state = "yes"
            self.finish(seconds, ok=True, why="")
        elif seconds >= self.deadline:
            limit = f"not within {self.deadline:g} s: " if self.deadline > 0 else ""
            self.finish(seconds, ok=False, why="; ".join(part for part in (limit + self.why, advice(self.hint, document)) if part))

    def finish(self, seconds: float, *, ok: bool, why: str, **more: Any) -> None:
        """Write down how it ended."""
        told = f"{self.reason}: {why}" if self.reason and why else why
        self.result = {
            "name": self.name,
            "ok": ok,
            "state": self.state,
            "seconds": round(seconds, 3),
            "why": told,
            "samples": self.samples,
            **more,
        }


def advice(hint: Mapping[str, Any], document: Document) -> str:
    """Return what a person can do about a signal that is not there, with the first name of a tree, quoted for a shell.

    Args:
        hint: ``{probe: a probe of kind tree, text: "... {} ...", otherwise: text when the tree has no names}``, or empty.
        document: The look that was judged.
    """
    if not hint:
        return ""
    if hint["probe"] in document.get("errors", {}):
        return f"{hint['probe']}: {document['errors'][hint['probe']]}"
    entries = document.get("invariant", {}).get(hint["probe"], {}).get("entries") or []
    if not entries:
        return str(hint.get("otherwise") or "")
    name = str(entries[0]).rsplit(" ", 2)[0]  # behind it stand mode and type
    return str(hint["text"]).replace("{}", shlex.quote(name))


def parse_signal(signal: Mapping[str, Any], probes: Mapping[str, Spec], before: Optional[Document]) -> Waiting:
    """Return a signal ready to be waited for.

    Args:
        signal: ``{name, deadline, all: [predicates], watch?: [services], settle?: looks in a row, reason?: text, hint?}``; for
            the last one see ``advice``.
        probes: Every probe there is, by name.
        before: The snapshot from before the run, for ``same`` and ``chain_kept``.

    Raises:
        WaitError: It could never be judged.
    """
    name = signal.get("name")
    predicates = list(signal.get("all") or [])
    if not isinstance(name, str) or not predicates:
        raise WaitError("a signal has a name and, as 'all', predicates")
    try:
        judge = Judge(predicates, before)
        hint = dict(signal.get("hint") or {})
        waiting = Waiting(
            name=name,
            deadline=float(signal.get("deadline", 60)),
            judge=judge,
            probes={predicate["probe"] for predicate in predicates} | ({hint["probe"]} if hint else set()),
            watch=set(signal.get("watch") or []),
            settle=max(1, int(signal.get("settle") or 1)),
            reason=str(signal.get("reason") or ""),
            hint=hint,
        )
    except (PredicateError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise WaitError(f"{name}: {error}") from error
    unknown = sorted(waiting.probes - {*probes})
    if unknown:
        raise WaitError(f"{name}: no probe {', '.join(unknown)}")
    return waiting


def group(signals: Sequence[Waiting]) -> List[List[Waiting]]:
    """Return signals in groups that share no probe with each other."""
    groups: List[Tuple[Set[str], List[Waiting]]] = []
    for signal in signals:
        names, members = set(signal.probes), [signal]
        rest = []
        for other_names, others in groups:
            if names & other_names:
                names |= other_names
                members = others + members
            else:
                rest.append((other_names, others))
        groups = [*rest, (names, members)]
    return [members for _names, members in groups]


@dataclass
class Surroundings:
    """What waiting needs of the world; a test brings its own.

    ``pause`` waits for at most so many seconds and returns early, with true, when something happened. ``hopeless`` names a signal
    that has no time to come and is not there: the others are not waited for any longer.
    """

    take: Take
    pause: Callable[[float], bool]
    deaths: Callable[[Set[str]], Sequence[Death]] = lambda _watched: ()
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)
    hopeless: Callable[[], str] = lambda: ""


def wait_group(signals: Sequence[Waiting], probes: Mapping[str, Spec], world: Surroundings) -> None:
    """Wait until every signal of a group has a result."""
    started = world.clock()
    delay = SHORT
    first = True
    while True:
        pending = [signal for signal in signals if signal.result is None]
        if not pending:
            return
        looked = world.clock()
        needed = set().union(*(signal.probes for signal in pending))
        left = max(signal.deadline for signal in pending) - (looked - started)
        document = world.take({name: _bounded(probes[name], left, first=first) for name in sorted(needed)})
        first = False
        now = world.clock()
        for signal in pending:
            signal.sample(document, now - started)
        _bury(pending, world, started)
        missing = world.hopeless()
        for signal in pending if missing else ():
            if signal.result is None:
                signal.finish(now - started, ok=False, why=f"not waited for without {missing}: {signal.why}", since=missing)
        pending = [signal for signal in pending if signal.result is None]
        if not pending:
            return
        # Looking takes at most half of the time, or ten waits would starve what they wait for.
        spent = now - looked
        nearest = min(signal.deadline for signal in pending) - (now - started)
        wished = max(delay * (0.5 + world.jitter()), spent)
        happened = world.pause(max(0.0, min(wished, nearest)))
        if happened:
            world.pause(min(spent, LONG) if spent > SHORT else 0.0)
        delay = SHORT if happened else min(LONG, delay * 1.3)


def _bounded(spec: Spec, left: float, *, first: bool) -> Spec:
    """Return a probe that does not look much longer than there is time; the first look has all of its own."""
    if first or "timeout" not in spec:
        return spec
    return {**spec, "timeout": min(float(spec["timeout"]), max(1.0, left))}


def _bury(pending: Sequence[Waiting], world: Surroundings, started: float) -> None:
    watched = set().union(*(signal.watch for signal in pending if signal.result is None))
    if not watched:
        return
    for death in world.deaths(watched):
        for signal in pending:
            if signal.result is None and death.service in signal.watch:
                why = f"{death.service} {death.why}; waiting for: {signal.why}"
                signal.finish(world.clock() - started, ok=False, why=why, died=death.service, logs=death.logs)


class Mourner:
    """Notices when a watched service will not come up by itself.

    Args:
        engine: The engine that runs it.
        project: The compose project.
        redact: Takes the secrets out of its last words.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        engine: Engine,
        project: str,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._project = project
        self._redact = redact
        self._clock = clock
        self._dead_since: Dict[str, float] = {}
        self._restarts: Dict[str, int] = {}
        self._lock = threading.Lock()

    def deaths(self, watched: Set[str]) -> List[Death]:
        """Return the services that died; an engine that cannot be asked says nothing about them."""
        found = []
        with self._lock, contextlib.suppress(EngineError):
            for listed in self._engine.project(self._project):
                service = (listed.get("Labels") or {}).get(SERVICE_LABEL, "")
                if service in watched:
                    why = self._judge(listed)
                    if why:
                        found.append(Death(service, why, self._last_words(listed["Id"])))
        return found

    def _judge(self, listed: Mapping[str, Any]) -> str:
        container, state = str(listed["Id"]), str(listed.get("State"))
        if state in ("exited", "dead"):
            since = self._dead_since.setdefault(container, self._clock())
            if self._clock() - since < _DEAD_FOR:
                return ""
            inner = self._engine.inspect(container).get("State") or {}
            return f"ended with code {inner.get('ExitCode')}{', out of memory' if inner.get('OOMKilled') else ''}"
        self._dead_since.pop(container, None)
        if state not in ("restarting", "running"):
            return ""
        count = int(self._engine.inspect(container).get("RestartCount") or 0)
        first = self._restarts.setdefault(container, count)
        return f"was restarted {count - first} times while we waited" if count - first >= _RESTARTS else ""

    def _last_words(self, container: str) -> str:
        try:
            return self._redact(self._engine.logs(container, LOG_LINES))[-_LOG_CHARACTERS:]
        except EngineError as error:
            return f"(no logs: {error})"


class Listener:
    """Listens to the engine's events in a thread of its own and pokes every waiter; looks again after a reconnect."""

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine = engine
        self._filters = {"type": ["container"], "label": [f"{PROJECT_LABEL}={project}"]}
        self._pokes: List[threading.Event] = []
        self._stop = threading.Event()
        self._stream: Optional[EventStream] = None
        self._thread = threading.Thread(target=self._run, name="engine events", daemon=True)

    def poke_of(self) -> threading.Event:
        """Return a new event that is set whenever something happened."""
        poke = threading.Event()
        self._pokes.append(poke)
        return poke

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until the thread has."""
        self._stop.set()
        if self._stream is not None:
            self._stream.close()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        delay = SHORT
        while not self._stop.is_set():
            with contextlib.suppress(EngineError):
                self._stream = self._engine.events(self._filters)
                delay = SHORT
                if self._stop.is_set():
                    self._stream.close()
                self._poke()  # what happened while nobody listened
                for event in self._stream:
                    if not str(event.get("Action", "")).startswith(_QUIET_EVENTS):
                        self._poke()
            self._poke()
            self._stop.wait(delay)
            delay = min(delay * 2, 2.0)

    def _poke(self) -> None:
        for poke in self._pokes:
            poke.set()


def _pause(poke: threading.Event) -> Callable[[float], bool]:
    def pause(seconds: float) -> bool:
        happened = poke.wait(seconds)
        poke.clear()
        return happened

    return pause


@contextlib.contextmanager
def _listening(engine: Engine, project: str) -> Iterator[Optional[Listener]]:
    if not project:
        yield None
        return
    listener = Listener(engine, project)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


def wait_for_signals(
    probes: Mapping[str, Spec],
    signals: Sequence[Mapping[str, Any]],
    ctx: Union[Mapping[str, Any], Context],
    *,
    project: str = "",
    log_secrets: Sequence[str] = (),
) -> List[Dict[str, Any]]:
    """Wait for all signals at once and return how each ended, in their order.

    Args:
        probes: Every probe that predicates may name.
        signals: See ``parse_signal``.
        ctx: A context or what ``make_context`` takes; its ``before`` serves ``same`` and ``chain_kept``.
        project: The compose project whose events wake us and whose services are watched; empty for none.
        log_secrets: Settings files whose values are taken out of last words.

    Returns:
        ``{name, ok, state: yes|no|unknown, seconds, why, samples[, died, logs][, since]}`` for each; ``since`` names the signal
        without which it was not waited for.

    Raises:
        WaitError: A signal is wrong; nothing was waited for.
    """
    context = ctx if isinstance(ctx, Context) else make_context(_with_secrets(ctx, log_secrets), probes)
    waiting = [parse_signal(signal, probes, context.before) for signal in signals]
    groups = group(waiting)
    if not groups:
        return []
    mourner = Mourner(context.engine, project, context.redactor.text)

    def hopeless() -> str:
        return next((one.name for one in waiting if one.deadline <= 0 and one.result is not None and not one.result["ok"]), "")

    with _listening(context.engine, project) as listener, ThreadPoolExecutor(max_workers=len(groups)) as pool:
        futures = []
        for members in groups:
            world = Surroundings(
                take=lambda wanted: take(wanted, context),
                pause=_pause(listener.poke_of() if listener is not None else threading.Event()),
                hopeless=hopeless,
                deaths=mourner.deaths if project else lambda _watched: (),
            )
            futures.append(pool.submit(wait_group, members, probes, world))
        for future in futures:
            future.result()
    return [signal.result for signal in waiting if signal.result is not None]


def _with_secrets(ctx: Mapping[str, Any], paths: Sequence[str]) -> Dict[str, Any]:
    return {**ctx, "secrets_from": [*(ctx.get("secrets_from") or []), *paths]}
