"""`./bench reap`: removes what dead runs left on this computer's engine, or what one named run made. Never what others made."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _owned, _owned_runs, _owned_sweep
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import PATIENCE, Scope

from benchkeeper import owned
from benchkeeper.errors import BusyError, UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchkeeper.paths import Paths

SCHEMA = 1
WHY_UNKNOWN = "no lease of it is here: it may be another computer's; if it is dead for certain, name it with --run"


def reap(paths: Paths, run_id: str | None, *, dry: bool, as_json: bool) -> int:
    """Reap, print what came of it, and return the exit code.

    0 when nothing is left of what may be removed; 1 when a run made something without its labels; 4 when something is left, or
    when it is not known what is.

    Raises:
        BusyError: When the named run is alive.
        UnfitError: When the engine does not answer and no run is known.
    """
    scope = Scope(dry=dry)
    try:
        swept = _all(paths, scope) if run_id is None else _one(paths, run_id, scope)
    except (EngineError, OSError, _fsio.FileError) as error:
        raise UnfitError(f"{error}; what is there is not known") from error
    code = exit_code(swept)
    if as_json:
        result = _owned_sweep.as_result(swept)
        document = {"schema": SCHEMA, "dry_run": dry, "exit_code": code, "failed": swept.failed, **result}
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        for line in lines(swept, dry=dry):
            print(line)
    return code


def exit_code(swept: _owned_sweep.Swept) -> int:
    """Return the exit code of what was done."""
    unknown = [one for one in swept.runs if one["state"] == _owned_runs.UNKNOWN]
    if swept.outcome.left or swept.failed or unknown:
        return 4
    return 1 if swept.outcome.strays else 0


def _all(paths: Paths, scope: Scope) -> _owned_sweep.Swept:
    """Sweep by leases, then look for runs of this checkout that have none."""
    place = owned.directory(paths)
    swept = _owned_sweep.sweep(place, scope, owned.how())
    known = {(one["run"], one["stack"]) for one in swept.runs}
    try:
        found = set(_without_lease(paths, Engine(owned.socket(), timeout=PATIENCE)))
    except EngineError as error:
        if not swept.runs:
            raise
        swept.failed.append(str(error))
        return swept
    for run, stack in sorted(found - known):
        swept.runs.append({"run": run, "stack": stack, "state": _owned_runs.UNKNOWN, "holder": {}, "why": WHY_UNKNOWN})
    return swept


def _without_lease(paths: Paths, engine: Engine) -> Iterator[tuple[str, str]]:
    """Yield (run, stack) of what this checkout has on the engine."""
    labels = {_owned.OWNER: paths.checkout_id}
    for listed in (engine.containers, engine.networks, engine.volumes, engine.images):
        for one in listed(labels):
            carried = _owned.labels_of(one)
            run, stack = carried.get(_owned.RUN, ""), carried.get(_owned.STACK, "")
            with contextlib.suppress(_owned.OwnershipError):  # what outlives runs, or is not whole
                _owned.triple(paths.checkout_id, stack, run)
                if carried.get(_owned.OWNER) == paths.checkout_id:
                    yield run, stack


def _one(paths: Paths, run_id: str, scope: Scope) -> _owned_sweep.Swept:
    """Remove what a named run made."""
    place = owned.directory(paths)
    swept = _owned_sweep.Swept()
    for lease in _named(paths, place, run_id):
        swept.runs.append(_owned_runs.told(lease, _owned_runs.DEAD))
        try:
            swept.outcome.add(_owned_sweep.prune_lease(lease, scope, owned.how()))
        except EngineError as error:
            swept.failed.append(f"{run_id}: {error}")
    if not swept.outcome.left and not swept.failed and not scope.dry:
        with contextlib.suppress(FileNotFoundError):
            _owned_runs.where(place, run_id).unlink()
    return swept


def _named(paths: Paths, place: Path, run_id: str) -> list[_owned_runs.RunLease]:
    """Return what is to be removed of a named run. A person who names one without a lease says that it is dead.

    Raises:
        BusyError: When its lease says that it is alive, or may be.
    """
    lease = _owned_runs.read(_owned_runs.where(place, run_id))
    if lease is None or lease.trouble:
        engine, roots = owned.socket(), (tempfile.gettempdir(),)
        stacks = sorted({stack for run, stack in _without_lease(paths, Engine(engine, timeout=PATIENCE)) if run == run_id})
        return [_owned_runs.RunLease(paths.checkout_id, stack, run_id, engine=engine, roots=roots) for stack in stacks]
    word = _owned_runs.state(lease, time.time())
    if word in (_owned_runs.ALIVE, _owned_runs.UNKNOWN):
        who = _owned_runs.told(lease, word)["holder"]
        why = "is alive" if word == _owned_runs.ALIVE else "cannot be asked from here"
        by = f"{who.get('user', '?')}@{who.get('host', '?')} pid {who.get('pid', '?')}"
        raise BusyError(f"run {run_id} is held by {by}, which {why}")
    return [lease]


def lines(swept: _owned_sweep.Swept, *, dry: bool) -> list[str]:
    """Return what a person reads: what each run is, what was done to each object, and one last line that says it all."""
    said = [f"run {one['run']} ({one['stack'] or '?'}): {_state(one)}" for one in swept.runs]
    lists = swept.outcome.as_json()
    verbs = {
        "removed": "would remove" if dry else "removed",
        "left": "still there",
        "spared": "left alone",
        "strays": "without labels",
    }
    for name, verb in verbs.items():
        said += [f"{verb:<14} {one['kind']:<9} {one['name']}{_because(one)}" for one in lists[name]]
    said += [f"not known: {why}" for why in swept.failed]
    return [*said, _last(swept, dry=dry)]


def _state(one: dict[str, Any]) -> str:
    who = one["holder"]
    by = f", held by {who.get('user', '?')}@{who.get('host', '?')} pid {who.get('pid', '?')}" if who else ""
    return f"{one['state']}{by}{_because(one)}"


def _because(one: dict[str, Any]) -> str:
    return f": {one['why']}" if one.get("why") else ""


def _last(swept: _owned_sweep.Swept, *, dry: bool) -> str:
    code = exit_code(swept)
    if code == 4:
        return "NOT everything of dead runs is known to be gone"
    if code == 1:
        return "what carried labels is gone; what a run made without them is for a person to judge"
    if not swept.outcome.removed:
        return "nothing to reap"
    return "nothing was removed: this was a dry run" if dry else "everything that dead runs left is gone"
