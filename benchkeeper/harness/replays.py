"""Replays: found in a folder, given an environment, run beside each other, judged by their exit code and by what they declared.

Nothing registers a replay. Each has its own time, directory and log. One that is not run is said to be not run: a runner that is
ended by a signal has proven nothing, and says so.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import junitparser
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

from benchkeeper import replay_header
from benchkeeper.console import say
from benchkeeper.errors import UsageError
from benchkeeper.harness import client, seed, topology
from benchkeeper.harness.place import write_private
from benchkeeper.located import BrokenFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchkeeper.harness.place import Place, TenantPlace
    from benchkeeper.replay_header import ReplayHeader

PASS, FAIL, SKIP, XFAIL, NOT_RUN = "pass", "fail", "skip", "xfail", "not run"
SKIP_CODE = 77
GROUNDLESS = 2  # what the replay stands on does not work: a failure, and no proof that it sees its bug
AT_ONCE = 4  # replays beside each other
GRACE = 2.0  # seconds that a replay has to end when it is asked to
LOOK = 0.05
LINES = 12  # of a failed replay's log that are printed


@dataclass(frozen=True)
class Replay:
    """One replay: its name, its file, its header."""

    name: str
    path: Path
    header: ReplayHeader

    @property
    def command(self) -> list[str]:
        """What runs it."""
        if self.is_pytest:
            options = [
                "-q",
                "-p",
                "no:cacheprovider",
                "-c",
                os.devnull,
                "--rootdir=.",
                f"--confcutdir={self.path.parent}",
                "--junitxml=pytest.xml",
            ]
            return [sys.executable, "-P", "-m", "pytest", *options, str(self.path)]
        return [str(self.path)]

    @property
    def is_pytest(self) -> bool:
        """Whether pytest runs it."""
        return self.path.name.startswith("test_") and self.path.suffix == ".py"


@dataclass(frozen=True)
class Outcome:
    """What came of a replay.

    Attributes:
        name: Its name.
        verdict: pass, fail, skip, xfail or not run.
        seconds: How long it took.
        why: In a sentence, empty for a pass.
        code: Its exit code; None when it was ended, or did not run.
        tail: The end of its log, without secrets; for a failure.
    """

    name: str
    verdict: str
    seconds: float = 0.0
    why: str = ""
    code: int | None = None
    tail: str = ""


def find(folder: Path, names: Sequence[str], today: dt.date | None = None) -> list[Replay]:
    """Return the replays of a folder, all of them or those that are named.

    Raises:
        UsageError: A name that is nobody's, one that cannot be executed, or a header with mistakes.
    """
    today = today or dt.datetime.now(tz=dt.timezone.utc).date()
    files = {path.stem: path for path in replay_header.replays(folder)}
    if not files:
        raise UsageError(f"there are no replays in {folder}")
    unknown = [name for name in names if name not in files]
    if unknown:
        raise UsageError(f"no such replay: {', '.join(map(repr, unknown))}; there are {', '.join(sorted(files))}")
    found, wrong = [], []
    for name in sorted(set(names) or files):
        path = files[name]
        try:
            one = Replay(name, path, replay_header.read(path.read_text(encoding="utf-8"), path.name, today))
        except BrokenFileError as error:
            wrong.append(str(error))
            continue
        except (OSError, UnicodeDecodeError) as error:
            wrong.append(f"{path.name}: cannot be read: {error}")
            continue
        if not one.is_pytest and not os.access(path, os.X_OK):
            wrong.append(f"{path.name}: is not executable (chmod +x {path})")
        found.append(one)
    if wrong:
        raise UsageError("replays cannot be run: " + "; ".join(wrong))
    return found


@dataclass
class Session:
    """Replays against one harness.

    Attributes:
        place: The harness.
        seeded: Ids of the seed, by tenant.
        folder: Scratch directory of the session; every replay gets one below it.
        logs: Where logs are kept.
        marks: Environment that marks every process as the run's.
        stop: Asked again and again: whether to give up.
    """

    place: Place
    seeded: Mapping[str, seed.Seeded]
    folder: Path
    logs: Path
    marks: Mapping[str, str]
    stop: Callable[[], bool] = lambda: False
    _children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, chosen: Sequence[Replay], told: Callable[[Outcome], None] = lambda _one: None) -> list[Outcome]:
        """Run replays: those that may beside each other, then those that need everything for themselves; in the order given."""
        beside = [one for one in chosen if one.header.needs != "exclusive"]
        alone = [one for one in chosen if one.header.needs == "exclusive"]
        spares = {True: list(self.place.spares), False: list(self.place.closed)}  # by whether they have an admin token
        free = {admin: threading.Semaphore(max(1, len(own))) for admin, own in spares.items()}
        found: dict[str, Outcome] = {}

        def one_of(replay: Replay) -> None:
            if replay.header.needs != "own-tenant" or replay.header.skip:
                found[replay.name] = self._one(replay, None)
            elif not (self.place.spares if replay.header.admin else self.place.closed):
                # Elsewhere nobody can give it one; here somebody forgot to.
                verdict = SKIP if self.place.kind == topology.URL else FAIL
                kind = "" if replay.header.admin else " without an admin token"
                why = f"it needs a tenant of its own{kind}, and there is none to spare"
                found[replay.name] = Outcome(replay.name, verdict, why=why)
            else:
                with free[replay.header.admin]:
                    with self._lock:
                        own = spares[replay.header.admin].pop()
                    try:
                        found[replay.name] = self._one(replay, own)
                    finally:
                        with self._lock:
                            spares[replay.header.admin].append(own)
            told(found[replay.name])

        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            # Who waits for the tenant holds a place in the pool: those who need none go first.
            list(pool.map(one_of, sorted(beside, key=lambda one: one.header.needs == "own-tenant")))
        for replay in alone:
            one_of(replay)
        return [found[one.name] for one in chosen]

    def _one(self, replay: Replay, own: TenantPlace | None) -> Outcome:
        header = replay.header
        if header.skip:
            return Outcome(replay.name, SKIP, why=f"{header.skip.kind}: {header.skip.issue}, until {header.skip.expires}")
        if self.stop():
            return Outcome(replay.name, NOT_RUN, why="the runner was ended before")
        scratch = self.folder / replay.name
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = scratch / "log"
        begun = time.monotonic()
        try:
            environment = self.environment(replay.name, scratch, own)
            code, why = self._play(replay, scratch, log, environment)
        except client.AnswerError as error:
            code, why = None, f"the stub does not answer: {error}"
        seconds = time.monotonic() - begun
        text = self._keep_log(replay, log)
        if not why and any(value in text[1] for value in self.place.secrets):
            code, why = 1, "it printed a secret"
        skipped = replay.is_pytest and all_skipped(scratch / "pytest.xml")
        return judged(replay, Ran(code, why, seconds, text[0], skipped))

    def _play(self, replay: Replay, scratch: Path, log: Path, environment: Mapping[str, str]) -> tuple[int | None, str]:
        with log.open("wb") as sink:
            try:
                process = subprocess.Popen(
                    replay.command,
                    cwd=scratch,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return None, f"it cannot be started: {error.strerror} (is its first line right?)"
            deadline, why = time.monotonic() + replay.header.timeout, ""
            while process.poll() is None and not why:
                if self.stop():
                    why = "ended: the runner was told to stop"
                elif time.monotonic() > deadline:
                    why = f"it took longer than {replay.header.timeout:g} s"
                else:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(LOOK)
            end_group(process)
        return (None if why else process.returncode), why

    def environment(self, name: str, scratch: Path, own: TenantPlace | None) -> dict[str, str]:
        """Return what a replay is given, and write the files that it is pointed at. Raises AnswerError."""
        place = self.place
        found = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HARNESS_", "BENCHKEEPER_"))},
            **self.marks,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HARNESS_BASE": place.edge,
            "HARNESS_EDGE_DIRECT": place.edge_direct,
            "HARNESS_TENANTS": " ".join(one.name for one in place.tenants),
            "HARNESS_BUILD_ID": place.build_id,
            "HARNESS_RUN": place.run,
            "HARNESS_REPLAY": name,
            "HARNESS_KIND": place.kind,
            "HARNESS_SCRATCH": str(scratch),
            "HARNESS_STUB": place.stub,
            "HARNESS_REDIS": place.redis,
            "HARNESS_STUB_CURSOR": str(cursor(place)) if place.stub else "",
        }
        for one in place.tenants:
            found |= self._tenant(one.name.upper(), one, scratch)
        if own is not None:
            found |= self._tenant("OWN", own, scratch)
        return {key: value for key, value in found.items() if value}

    def _tenant(self, prefix: str, one: TenantPlace, scratch: Path) -> dict[str, str]:
        ids = self.seeded.get(one.name, seed.NOTHING)
        files = {}
        for what, secret in (("token", one.admin_token), ("database", one.database)):
            if secret:
                files[what] = str(scratch / f"{one.name}.{what}")
                write_private(Path(files[what]), secret)
        return {
            f"{prefix}_NAME": one.name,
            f"{prefix}_HOST": one.host,
            f"{prefix}_ORG_ID": one.org,
            f"{prefix}_DIRECT": one.direct,
            **{f"{prefix}_{what.upper()}_FILE": path for what, path in files.items()},
            f"{prefix}_PARENT_ID": ids.parent_id,
            f"{prefix}_CHILD_ID": ids.child_id,
        }

    def _keep_log(self, replay: Replay, log: Path) -> tuple[str, str]:
        """Keep a replay's log without secrets; return the end of it, and all of it as it was."""
        raw = ""
        with contextlib.suppress(OSError):
            raw = log.read_text(encoding="utf-8", errors="replace")
        clean = Redactor(self.place.secrets).text(raw)
        with contextlib.suppress(OSError):
            self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.logs / f"{replay.name}.log").write_text(clean, encoding="utf-8")
        return "\n".join(clean.rstrip().splitlines()[-LINES:]), raw


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it left in its group: first asked, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        if number == signal.SIGTERM:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    process.wait()


def cursor(place: Place) -> int:
    """Return where the stub's journal is. Raises AnswerError."""
    said = client.Client(place.stub).need("GET", "/__stub/journal?after=999999999999")
    if not isinstance(said, dict) or not isinstance(said.get("cursor"), int):
        raise client.AnswerError("the stub's journal has no cursor")
    return int(said["cursor"])


def all_skipped(report: Path) -> bool:
    """Tell whether pytest skipped all that it collected, as its report says."""
    try:
        found = junitparser.JUnitXml.fromfile(str(report))
    except (OSError, SyntaxError, junitparser.JUnitXmlError):
        return False
    return bool(found.tests) and found.tests == found.skipped


@dataclass(frozen=True)
class Ran:
    """How a replay ended: exit code (None: it was ended), why, seconds, the end of its log, whether all of pytest skipped."""

    code: int | None
    why: str
    seconds: float
    tail: str
    skipped: bool = False


def judged(replay: Replay, ran: Ran) -> Outcome:
    """Return what an exit code comes to, with what the header declares."""
    last = ran.tail.rpartition("\n")[2]

    def came_to(verdict: str, why: str = "") -> Outcome:
        return Outcome(replay.name, verdict, ran.seconds, why, ran.code, "" if verdict in (PASS, SKIP) else ran.tail)

    if ran.why.startswith("ended"):
        return came_to(NOT_RUN, ran.why)
    if ran.code == SKIP_CODE or (ran.code == 0 and ran.skipped):
        return came_to(SKIP, last or "it did not say why")
    good = ran.code == 0
    if replay.header.xfail:
        declared = f"{replay.header.xfail.issue}, until {replay.header.xfail.expires}"
        return came_to(FAIL, f"it was expected to fail ({declared}) and passes") if good else came_to(XFAIL, declared)
    return came_to(PASS) if good else came_to(FAIL, ran.why or last or f"exit code {ran.code}")


def complaints(place: Place, after: int) -> list[str]:
    """Return what the stub was asked unexpectedly, or answered wrongly, since a cursor. Raises AnswerError."""
    said = client.Client(place.stub).need("GET", f"/__stub/journal?after={after}")
    entries = said.get("entries") if isinstance(said, dict) else None
    if not isinstance(entries, list):
        raise client.AnswerError("the stub's journal has no entries")
    found = []
    for one in entries:
        if one.get("unexpected"):
            found.append(f"the stub was asked for what it does not know: {one.get('method')} {one.get('path')} (501)")
        elif one.get("complaint"):
            found.append(f"the stub's answer to {one.get('method')} {one.get('path')} breaks the contract: {one['complaint']}")
    return list(dict.fromkeys(found))


def say_outcome(one: Outcome) -> None:
    """Print one outcome while others still run."""
    say("replay", f"{one.verdict:<8}{one.name} ({one.seconds:.1f} s){f': {one.why}' if one.why else ''}")
