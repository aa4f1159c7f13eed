"""Programs in units: the description a unit runs from, its result, and how a client waits or comes back to wait."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from keeper.core import GuardedRun, Keeper, Request, number
from keeper.errors import USAGE, KeeperError
from keeper.ports import poll
from keeper.units import STOP_GRACE, unit_name

TIMEOUT_DEFAULT = 600.0
TIMEOUT_LIMIT = 24 * 3600.0
TAIL = 16 * 1024  # characters of output that travel
_MARGIN = 3 * STOP_GRACE
_LOOK_EVERY = 0.05  # seconds between two looks for a result, at most: one costs less than a millisecond


@dataclass(frozen=True)
class Program:
    """What runs in a unit: argv, directory, user, environment, input, time limit in seconds."""

    argv: List[str]
    cwd: str
    user: str
    env: Mapping[str, str]
    stdin: str
    timeout: float

    def document(self) -> Dict[str, Any]:
        """Return it as JSON."""
        return dict(vars(self))


def program_of(request: Mapping[str, Any]) -> Program:
    """Return the program of a request ``{argv, cwd, user, env, stdin, timeout}``. Raises KeeperError(usage)."""
    argv = request.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(one, str) and "\0" not in one for one in argv):
        raise KeeperError(USAGE, "argv is a list of texts with the program first")
    cwd = request.get("cwd") or request.get("live_dir") or "/"
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise KeeperError(USAGE, f"cwd is an absolute path, not {cwd!r}")
    env = request.get("env") or {}
    if not isinstance(env, Mapping) or not all(isinstance(value, str) for value in env.values()):
        raise KeeperError(USAGE, "env is a map of texts")
    return Program(
        list(argv),
        cwd,
        str(request.get("user") or "root"),
        dict(env),
        str(request.get("stdin") or ""),
        number(request, "timeout", TIMEOUT_DEFAULT, 0.1, TIMEOUT_LIMIT),
    )


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``rc`` is None when its unit vanished without a result."""

    rc: Optional[int]
    seconds: float
    timed_out: bool
    out: str
    err: str


class Runner:
    """Starts and follows the programs of one run. ``token`` and ``seq`` name the unit."""

    def __init__(self, run: GuardedRun, token: int, seq: str) -> None:
        self._run = run
        self._keeper: Keeper = run.keeper
        self.unit = unit_name(run.dir.resource, token, seq)
        self.stem = f"unit-{token}-{seq}"

    def prepare(self, program: Program, watch: Optional[Mapping[str, Any]] = None) -> None:
        """Write the description down, before the INTENT that names it.

        Args:
            program: What runs.
            watch: Patterns of names of which the unit notes what comes while it runs: ``{key: {dir, pattern, before}}``.
        """
        document = {
            **program.document(),
            "unit": self.unit,
            "watch": dict(watch or {}),
            **{key: f"{self._run.dir.path}/{self.stem}.{key}" for key in ("out", "err", "result", "seen")},
        }
        self._run.dir.write(f"{self.stem}.json", document)

    def start(self, timeout: float) -> None:
        """Start the unit."""
        self._keeper.units.start(self.unit, f"{self._run.dir.path}/{self.stem}.json", timeout)

    def seen(self) -> Optional[Dict[str, Any]]:
        """Return the names that came while it ran, None when its end was not seen."""
        return self._run.dir.load(f"{self.stem}.seen")

    def _result(self) -> Optional[Dict[str, Any]]:
        return self._run.dir.load(f"{self.stem}.result")

    def wait(self, timeout: float) -> Ended:
        """Wait for the result, which outlives both the unit and whoever waits."""
        deadline = self._keeper.clock.boottime() + timeout + _MARGIN
        seen_alive = self._keeper.clock.boottime()

        def ready() -> bool:
            nonlocal seen_alive
            if self._result() is not None:
                return True
            now = self._keeper.clock.boottime()
            # Asking for the unit costs a process, so only now and then; it may need a moment to appear.
            if now - seen_alive < 2.0:
                return False
            seen_alive = now
            return not self._keeper.units.alive(self.unit)

        poll(self._keeper.clock, deadline, ready, last=_LOOK_EVERY)
        result = self._result() or {}
        return Ended(
            rc=result.get("rc"),
            seconds=float(result.get("seconds") or 0.0),
            timed_out=bool(result.get("timed_out")),
            out=self._tail("out"),
            err=self._tail("err"),
        )

    def _tail(self, kind: str) -> str:
        raw = self._run.dir.read(f"{self.stem}.{kind}") or b""
        return raw.decode("utf-8", "replace")

    def ended(self) -> bool:
        """Whether the program ended by itself."""
        return self._result() is not None


def answer(keeper: Keeper, request: Request, runner: Runner, ended: Ended) -> Dict[str, Any]:
    """Return what a client learns of a program that ended: its output redacted on this machine, then cut."""
    redact = request.get("redact") or {}
    sources = list(redact.get("dotenv") or [])

    def last(text: str) -> str:
        # More than travels is redacted, so that what the first cut splits is not in what the second leaves.
        return keeper.looker.redact(text[-4 * TAIL :], sources)[-TAIL:]

    return {
        "rc": ended.rc,
        "unit": runner.unit,
        "seconds": round(ended.seconds, 3),
        "timed_out": ended.timed_out,
        "stdout_tail": last(ended.out),
        "stderr_tail": last(ended.err),
    }


def as_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document in one spelling."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
