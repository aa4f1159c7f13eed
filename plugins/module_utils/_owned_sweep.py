"""The sweep: what dead runs left, found by their leases and by nothing they wrote down themselves."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _owned, _owned_runs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import EngineLike, Means, Outcome, Prune, Scope

DEFAULT_SOCKET = "/var/run/docker.sock"
_SHOWN = 5  # objects that a complaint names


@dataclass
class Swept:
    """What a sweep did.

    Attributes:
        outcome: What became of the objects of all dead runs.
        runs: ``{run, stack, state, holder, why}`` of every run with a lease.
        failed: ``run: why`` of dead runs about which an engine gave no answer.
    """

    outcome: Outcome = field(default_factory=Outcome)
    runs: List[Dict[str, Any]] = field(default_factory=list)
    failed: List[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing of a dead run is left, and that is known."""
        return self.outcome.clean and not self.failed


def place(text: str) -> Path:
    """Return the directory of the leases. Raises OwnershipError when it is not absolute."""
    path = Path(text)
    if not path.is_absolute():
        raise _owned.OwnershipError(f"the directory of the leases must be absolute, not {text!r}")
    return path


@dataclass(frozen=True)
class How:
    """With what a sweep works.

    Attributes:
        engine: Returns the engine behind a socket.
        pause: Waits for some seconds.
        now: Seconds since the epoch.
        first: What is done to a dead run before its objects are removed; not in a dry run.
    """

    engine: Callable[[str], EngineLike]
    pause: Callable[[float], None]
    now: float
    first: Callable[[_owned_runs.RunLease], None] = lambda _lease: None


def prune_lease(lease: _owned_runs.RunLease, scope: Scope, how: How) -> Outcome:
    """Remove what one run made, on the engine and below the roots that its lease names. Raises EngineError."""
    if not scope.dry:
        how.first(lease)
    roots = tuple(dict.fromkeys([*lease.roots, *scope.roots]))
    where = Scope(scope.kinds, roots, scope.shared, scope.dry)
    return Prune(lease.ownership(), where, Means(how.engine(lease.engine or DEFAULT_SOCKET), how.pause)).run()


def sweep(directory: Path, scope: Scope, how: How) -> Swept:
    """Remove what dead runs left, and the leases of those of which nothing is left.

    Args:
        directory: Where the leases are.
        scope: What to look for; a run's own roots come in addition.
        how: With what.
    """
    swept = Swept()
    for run in _owned_runs.names(directory):
        # Read at its turn: what was dead when we began may have been taken over since.
        lease = _owned_runs.read(_owned_runs.where(directory, run))
        if lease is None:
            continue
        word = _owned_runs.state(lease, how.now)
        swept.runs.append(_owned_runs.told(lease, word))
        if word == _owned_runs.DEAD:
            _sweep_one(directory, lease, scope, how, swept)
    return swept


def _sweep_one(directory: Path, lease: _owned_runs.RunLease, scope: Scope, how: How, swept: Swept) -> None:
    try:
        outcome = prune_lease(lease, scope, how)
    except (EngineError, OSError, _fsio.FileError) as error:
        swept.failed.append(f"{lease.run}: {error}")
        return
    swept.outcome.add(outcome)
    # Strays are not ours to remove, and a lease kept for them would fail every command from now on: they are told, once.
    if not outcome.left and not scope.dry and set(scope.kinds) == set(_owned.KINDS):
        with contextlib.suppress(FileNotFoundError):
            _owned_runs.where(directory, lease.run).unlink()


def as_result(swept: Swept) -> Dict[str, Any]:
    """Return what a module or a command says: the lists, ``changed``, and the diff."""
    lists = swept.outcome.as_json()
    stays = _owned.as_report([*lists["left"], *lists["spared"]])
    before = sorted({*_owned.as_report(lists["removed"]), *stays})
    return {
        "changed": bool(lists["removed"]),
        **lists,
        "runs": swept.runs,
        "diff": {"before": _text(before), "after": _text(stays)},
    }


def _text(lines: List[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def complaint(swept: Swept) -> str:
    """Return in a sentence or two why it is not clean, empty when it is."""
    parts = list(swept.failed)
    for title, found in (
        ("still there", swept.outcome.left),
        ("made without the run's labels, and not touched", swept.outcome.strays),
    ):
        if found:
            parts.append(f"{title}: {_few(found)}")
    return "; ".join(parts)


def _few(found: List[Dict[str, str]]) -> str:
    shown = "; ".join(f"{one['kind']} {one['name']} ({one['why']})" for one in found[:_SHOWN])
    return shown + (f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
