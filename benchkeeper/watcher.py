"""Cleans up after a supervisor that was killed: a process of its own that waits for its end, then removes what carries its labels.

It has a session of its own, so that no signal for the supervisor's group or terminal reaches it, and ignores INT, TERM and HUP. It
keeps no list: what the run made is found by the ownership triple and by marker files, with the same code as every other cleanup. It
says what it holds before it is relied on; a reaper that was never told its scope has been taken for one that works.

    python -m benchkeeper.watcher LEASE-FILE        started by `watch`; standard input `done` ends it
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _holder, _owned_runs, _owned_sweep
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import FileError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import Outcome, Scope

from benchkeeper import owned, owned_processes
from benchkeeper.console import complain, say
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchkeeper.paths import Paths

ACK_LIMIT = 20.0  # seconds until the watcher must have said what it holds
LIMIT = 900.0  # seconds that it tries; after that a later command's sweep goes on
LOOKS = 3  # looks in a row that must find nothing: a create that the engine is at may still come
BETWEEN = 1.0  # seconds between two looks
LONGEST = 10.0  # seconds between two tries when something cannot be removed
LOG_LIMIT = 1024 * 1024  # bytes
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Watch:
    """A watcher that was started and has said what it holds."""

    def __init__(self, process: subprocess.Popen[bytes], said: dict[str, Any]) -> None:
        self._process = process
        self.pid = process.pid
        self.said = said

    @property
    def alive(self) -> bool:
        """Whether it is still there; a run whose watcher was killed may get another one."""
        return self._process.poll() is None

    def dismiss(self) -> None:
        """End it: the run is cleaned up and there is nothing left to watch over."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(b"done\n")
                self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:  # a computer that is this busy; there is nothing left that it could miss
            self._process.kill()
            self._process.wait()


def watch(run: owned.OwnedRun, limit: float = ACK_LIMIT) -> Watch:
    """Start a watcher over a run of this process and return it once it has said what it holds.

    Raises:
        UnfitError: When it does not; then nothing may be made.
    """
    read, write = os.pipe()
    log = _log(run.file.parent)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchkeeper.watcher", str(run.file), str(write)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[write],
            start_new_session=True,
            cwd="/",
            env=_environment(),
        )
    finally:
        os.close(write)
        os.close(log)
    try:
        said = _hear(read, limit)
    finally:
        os.close(read)
    if said.get("watching") != run.labels:
        process.kill()
        process.communicate()
        raise UnfitError(
            f"no watcher over the run: {said.get('trouble') or 'it said nothing'}; see {run.file.parent / 'watcher.log'}"
        )
    return Watch(process, said)


def _environment() -> dict[str, str]:
    """Return ours, but for what would mark the watcher as a process of some run: it would be ended with it."""
    kept = {name: value for name, value in os.environ.items() if name not in owned_processes.NAMES.values()}
    return {**kept, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def _log(place: Path) -> int:
    path = place / "watcher.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        flags |= os.O_TRUNC
    return os.open(path, flags, 0o600)


def _hear(descriptor: int, limit: float) -> dict[str, Any]:
    """Return the one line that a watcher says, empty when it says none in time."""
    raw, deadline = b"", time.monotonic() + limit
    while b"\n" not in raw:
        ready = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]
        chunk = os.read(descriptor, 65536) if ready else b""
        if not chunk:
            return {}
        raw += chunk
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def sweep_left_over(paths: Paths) -> _owned_sweep.Swept:
    """Remove what dead runs of this user left on this computer, and say so; costs nothing when there is no lease.

    What cannot be removed is told and does not stop the command that asked: its own work is another run's.
    """
    place = owned.directory(paths)
    if not any(place.glob("*.json")):
        return _owned_sweep.Swept()
    swept = _owned_sweep.sweep(place, Scope(), owned.how())
    if swept.outcome.removed:
        dead = [one["run"] for one in swept.runs if one["state"] == _owned_runs.DEAD]
        say("sweep", f"removed {len(swept.outcome.removed)} objects that {', '.join(dead)} left")
    if not swept.clean:
        complain(f"left over from dead runs: {_owned_sweep.complaint(swept)}; see ./bench reap")
    return swept


# The process


def main(arguments: list[str]) -> int:
    """Watch over one run; return 0 when nothing of it is left or there was nothing to do, 1 when something is."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    path, answer = Path(arguments[0]), int(arguments[1])
    lease = _owned_runs.read(path)
    watched, trouble = None, "there is no lease" if lease is None else lease.trouble
    if lease is not None and not trouble:
        watched = _holder.Watched(int(lease.holder["pid"]), lease.holder.get("start_time"))
        trouble = "" if watched.alive else "the process that it is to watch is gone"
        try:
            Engine(lease.engine or _owned_sweep.DEFAULT_SOCKET).version()
        except EngineError as error:
            trouble = str(error)
    if lease is None or watched is None or trouble:
        _say(answer, {"trouble": trouble})
        return 1
    _say(answer, {"watching": lease.ownership().mapping(), "roots": list(lease.roots)})
    if not wait(watched):
        return 0
    _note(lease.run, "its supervisor is gone")
    return clean_up(path, lease)


def _say(descriptor: int, document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, json.dumps(document).encode() + b"\n")
    os.close(descriptor)


def _note(run: str, text: str) -> None:
    """Write a line into the log; a full disk is no reason to stop."""
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {run}: {text}", flush=True)


def wait(watched: _holder.Watched, orders: int = 0) -> bool:
    """Wait for the end of the watched process; return False when somebody said first that there is nothing to do.

    Args:
        watched: The supervisor.
        orders: Descriptor on which `done` may come. Its end says nothing: the supervisor may close it and live on.
    """
    poller = select.poll()
    poller.register(orders, select.POLLIN)
    if watched.descriptor is not None:
        poller.register(watched.descriptor, select.POLLIN)
    heard = b""
    while watched.alive:
        for descriptor, _event in poller.poll(None if watched.descriptor is not None else _holder.BREATH * 1000):
            if descriptor != orders:
                continue
            chunk = os.read(orders, 4096)
            heard += chunk
            if heard.startswith(b"done\n"):
                return False
            if not chunk:
                poller.unregister(orders)
    return True


def clean_up(path: Path, lease: _owned_runs.RunLease, sleep: Callable[[float], None] = time.sleep) -> int:
    """Remove what the run made until several looks in a row find nothing, then its lease; return 0, or 1 when something is left.

    Args:
        path: The lease.
        lease: What it said when the run began; what it says now counts.
        sleep: Waits for some seconds.
    """
    empty, delay, deadline = 0, BETWEEN, time.monotonic() + LIMIT
    why = ""
    while time.monotonic() < deadline:
        now = _owned_runs.read(path)
        if now is not None and not now.trouble:
            if now.holder != lease.holder:
                _note(lease.run, "somebody else holds it now")
                return 0
            lease = now
        if lease.kept_until > time.time():
            _note(lease.run, "it is kept")
            return 0
        outcome, why = _try(lease)
        if outcome.removed or outcome.strays:
            lists = outcome.as_json()
            _note(lease.run, json.dumps({"removed": lists["removed"], "strays": lists["strays"]}))
        empty = 0 if why or outcome.removed else empty + 1
        # A lease that is gone was taken away after a proof: one look says whether that is still so.
        if empty >= (LOOKS if now is not None else 1):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            _note(lease.run, "nothing of it is left")
            return 0
        delay = min(delay * 2, LONGEST) if why else BETWEEN
        sleep(delay)
    _note(lease.run, f"given up: {why}")
    return 1


def _try(lease: _owned_runs.RunLease) -> tuple[Outcome, str]:
    """Remove what is there; return what came of it, and why something may be left."""
    try:
        outcome = _owned_sweep.prune_lease(lease, Scope(), owned.how())
    except (EngineError, OSError, FileError) as error:
        _note(lease.run, str(error))
        return Outcome(), str(error)
    why = "; ".join(f"{one['kind']} {one['name']}: {one['why']}" for one in outcome.left)
    if why:
        _note(lease.run, f"still there: {why}")
    return outcome, why


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
