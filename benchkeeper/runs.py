"""Runs as the controller remembers them: one state file each in the user's state directory, so that any directory will do."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _holder, _keeper_holder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchkeeper.options import E2EOptions
    from benchkeeper.paths import Paths


@dataclass(frozen=True)
class RunState:
    """A run as it is remembered. ``data`` holds its nonce: it is never printed."""

    path: Path
    data: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The run's identity."""
        return str(self.data.get("run_id", self.path.stem))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that the run was to lease."""
        return tuple(str(host) for host in self.data.get("hosts") or ())

    @property
    def alive(self) -> bool:
        """Whether the run's holder is known to be at work: it is a process of this computer, and still there."""
        holder = self.data.get("holder") or {}
        return holder.get("controller_id") == _keeper_holder.controller_id() and not _keeper_holder.is_gone(holder)


def new_run_id() -> str:
    """Return ``YYYYmmddTHHMMSSZ-<6 hex>``; sorts by time."""
    return f"{datetime.now(tz=timezone.utc).strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(3)}"


def write(path: Path, data: dict[str, Any]) -> None:
    """Write a state file of mode 0600 whole and durably."""
    _keeper_holder.write_private(path, json.dumps(data, indent=1))


def create(paths: Paths, options: E2EOptions, hosts: Sequence[str]) -> RunState:
    """Remember a new run before anything of it happens."""
    run_id = new_run_id()
    state = RunState(
        paths.state / "runs" / f"{run_id}.json",
        {
            "run_id": run_id,
            "nonce": secrets.token_hex(16),
            "canary": f"bkcanary{secrets.token_hex(12)}",
            "stack": options.stack,
            "hosts": list(hosts),
            "inventory": str(options.inventory),
            "checkout": str(paths.root),
            "results": str(paths.results / run_id),
            "keep": options.keep,
            "holder": _keeper_holder.describe(os.getpid()),
        },
    )
    write(state.path, state.data)
    return state


def read(path: Path) -> RunState | None:
    """Return a state file, or None when it is not there or not whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return RunState(path, data) if isinstance(data, dict) else None


def again(state: RunState) -> RunState:
    """Return the state as it is on disk now; the playbook completes it."""
    return read(state.path) or state


def unfinished(paths: Paths) -> list[RunState]:
    """Return the runs of which nobody knows yet that everything is back, oldest first."""
    found = [read(path) for path in sorted((paths.state / "runs").glob("*.json"))]
    return [state for state in found if state is not None]


def find(paths: Paths, run_id: str) -> RunState | None:
    """Return one run that is not finished, or None."""
    return read(paths.state / "runs" / f"{run_id}.json")


def forget(state: RunState) -> None:
    """Remove a run whose hosts are all proven back: its nonce opens nothing any more."""
    for path in (state.path, state.path.with_name(state.path.name + _holder.ENDED)):
        with contextlib.suppress(OSError):
            path.unlink()
