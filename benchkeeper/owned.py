"""Runs that own objects on the controller's own engine: begun with a lease and a watcher, ended with a proof that nothing is left.

The lease is written before the first object is made. A run that can still act (signals, errors) ends with `OwnedRun.end`; after a
kill -9 the watcher does the same; after a kill -9 of both, the sweep that every later command does first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import os
import secrets
import tempfile
import time
from typing import TYPE_CHECKING

from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder, _owned_dirs, _owned_runs, _owned_sweep
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import SOCKET, Engine
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import RealFiles
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import PATIENCE, Outcome, Scope

from benchkeeper import owned_processes, runs
from benchkeeper.errors import BusyError, UnfitError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from benchkeeper.paths import Paths

FOREVER = 4102444800.0  # 2100-01-01: kept until somebody takes it down


def directory(paths: Paths) -> Path:
    """Return where the leases of this user's runs are."""
    return paths.state / "owned"


def socket() -> str:
    """Return the socket of this computer's engine. Raises UnfitError when DOCKER_HOST names something that is no socket."""
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise UnfitError(f"runs that own objects need an engine on a socket of this computer, and DOCKER_HOST is {host}")
    return host.removeprefix("unix://") or SOCKET


def how() -> _owned_sweep.How:
    """Return with what a dead run is cleaned up here: its processes first, since they may still be making objects."""

    def first(lease: _owned_runs.RunLease) -> None:
        owned_processes.end(lease.ownership())

    return _owned_sweep.How(functools.partial(Engine, timeout=PATIENCE), time.sleep, time.time(), first)


class OwnedRun:
    """One run. ``labels`` go on every object it makes, ``environment`` to every command it starts."""

    def __init__(self, place: Path, lease: _owned_runs.RunLease) -> None:
        self._place = place
        self.lease = lease
        self.own = lease.ownership()

    @property
    def labels(self) -> dict[str, str]:
        """The ownership triple."""
        return self.own.mapping()

    @property
    def environment(self) -> dict[str, str]:
        """The triple for processes; for the commands that the run starts, never for the supervisor itself."""
        return owned_processes.environment(self.own)

    @property
    def file(self) -> Path:
        """The lease."""
        return _owned_runs.where(self._place, self.lease.run)

    def state_directory(self) -> str:
        """Make a directory of mode 0700 for one start and return its path, which is the same inside of containers."""
        owner = (os.geteuid(), os.getegid())
        return _owned_dirs.make(RealFiles(), self.lease.roots[0], self.own, secrets.token_hex(16), owner)

    def keep(self, seconds: float | None = None) -> None:
        """Leave everything as it is when the holder ends: for some seconds, or until somebody takes it down."""
        until = FOREVER if seconds is None else time.time() + seconds
        self.lease = dataclasses.replace(self.lease, kept_until=until)
        _owned_runs.write(self._place, self.lease)

    def end(self, scope: Scope | None = None) -> Outcome:
        """Remove everything, and forget the run when nothing is left. Raises EngineError when that cannot be known."""
        outcome = _owned_sweep.prune_lease(self.lease, scope or Scope(), how())
        if not outcome.left:
            self.forget()
        return outcome

    def forget(self) -> None:
        """Remove the lease of a run of which nothing is left."""
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()


def begin(paths: Paths, stack: str, roots: tuple[str, ...] = (), run_id: str = "") -> OwnedRun:
    """Write the lease of a new run that this process holds; nothing may be made before it.

    Args:
        paths: The checkout; its id is the owner.
        stack: The stack.
        roots: Absolute directories right below which state directories are made; the temporary directory when there are none.
        run_id: The run; a new one when empty.
    """
    lease = _owned_runs.RunLease(
        owner=paths.checkout_id,
        stack=stack,
        run=run_id or runs.new_run_id(),
        holder=_keeper_holder.describe(os.getpid()),
        boot_id=_owned_runs.boot_id(),
        engine=socket(),
        roots=roots or (tempfile.gettempdir(),),
    )
    run = OwnedRun(directory(paths), lease)
    if run.file.exists():
        raise BusyError(f"there is a run {lease.run} already")
    _owned_runs.write(run.file.parent, lease)
    return run


def take_over(paths: Paths, run_id: str) -> OwnedRun:
    """Return a run that was kept, held by this process from now on; it needs a watcher of its own.

    Raises:
        UsageError: When there is no such run.
        BusyError: When somebody holds it, or its time is over and a sweep may be at it.
    """
    place = directory(paths)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place / "take-over.lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lease = _owned_runs.read(_owned_runs.where(place, run_id))
        if lease is None:
            raise UsageError(f"no run {run_id} is kept here")
        word = _owned_runs.state(lease, time.time())
        if word != _owned_runs.KEPT:
            raise BusyError(f"run {run_id} is {word}, not kept; see ./bench reap --dry-run")
        holder = _keeper_holder.describe(os.getpid())
        ours = dataclasses.replace(lease, holder=holder, boot_id=_owned_runs.boot_id(), kept_until=0.0)
        _owned_runs.write(place, ours)
    return OwnedRun(place, ours)
