"""Confirm or undo: keep what was changed, said in time and over a connection that the change did not break."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _journal

from keeper import restore
from keeper.core import Keeper, Request, fence_of
from keeper.errors import CONFLICT, KeeperError


def confirm(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Keep every change of a lease and free it: ``{fence}``.

    Refused at and after the deadline, and from a connection that stood before the first change: one that is shared by several
    sessions survives a lock-out, and would confirm what nobody can use any more.

    Returns:
        ``{confirmed, items, already}``.

    Raises:
        KeeperError: fence, conflict (an old connection; a command still runs).
    """
    fence = fence_of(request)
    with keeper.store.host_lock():
        lease = keeper.check_fence(fence)
        run = keeper.open_run(lease.run_id, lease.resource)
        items = run.dir.items()
        open_commands = [one.name for one in items if one.done is None and one.kind in ("command", "engine", "call", "service")]
        if open_commands:
            raise KeeperError(CONFLICT, f"not confirmed: {', '.join(open_commands)} did not end yet")
        first = min((float(one.intent["boottime"]) for one in items), default=None)
        _check_connection(keeper, first)
        if not _journal.committed(run.dir.journal().records):
            run.dir.append(_journal.COMMIT, at=keeper.clock.wall())
        run.dir.write(restore.PROOF, {"proven": True, "confirmed": True, "run_id": lease.run_id, "failures": [], "seconds": 0.0})
        keeper.store.bump(lease.resource, lease.token)
        restore.free(keeper, lease)
    restore.clean(keeper, fence.resource)
    return {"confirmed": True, "items": [one.name for one in items]}


def _check_connection(keeper: Keeper, first_change: Optional[float]) -> None:
    began = keeper.sessions.began()
    if began is not None and first_change is not None and began <= first_change:
        age = round(keeper.clock.boottime() - began)
        raise KeeperError(
            CONFLICT,
            f"not confirmed: this SSH connection is {age} s old and stood before the first change, so it proves nothing; "
            "connect anew (without a shared connection) and confirm again",
        )
