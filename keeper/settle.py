"""What a person decides where the keeper cannot: whose version of a conflict stays, and what the proof may miss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

from ansible_collections.benchkeeper.core.plugins.module_utils import _journal, _lease

from keeper import item_file
from keeper.errors import UNPROVEN, USAGE, KeeperError
from keeper.kinds import UNDONE, Undo, Verdict
from keeper.restore import ATTACH_WAIT, PROOF

if TYPE_CHECKING:
    from keeper.core import GuardedRun, Keeper

PROOF_ITEM = "proof"  # what is settled when everything is put back and something differs all the same


def settle(keeper: Keeper, resource: str, name: str, keep: str, reason: str) -> Dict[str, Any]:
    """Settle one item in conflict as a person decides; it is recorded who and why.

    ``proof`` instead of an item, with ``current``: everything is put back, and what differs all the same may stay as it is. The
    live predicates must hold even so.

    Returns:
        ``{item, verdict, why}``.
    """
    if keep not in ("original", "current") or not reason.strip():
        raise KeeperError(USAGE, "settle takes --keep original or current, and a --reason")
    with keeper.store.restore_lock(resource, ATTACH_WAIT):
        lease = keeper.lease(resource)
        if lease.state != _lease.UNPROVEN:
            raise KeeperError(USAGE, f"{resource} is {lease.state}; only what is in quarantine can be settled")
        run = keeper.open_run(lease.run_id, resource)
        if name == PROOF_ITEM:
            return _waive(run, keep, reason)
        item = run.find(name)
        if item is None:
            raise KeeperError(USAGE, f"there is no open item {name!r}")
        verdict = Verdict(UNDONE, "settled: it stays as it is")
        if item.kind == "file":
            item = item_file.first_of(run, item.intent["path"]) or item
            verdict = item_file.settle(Undo(run, lease.token, item), keep)
        elif keep == "original":
            raise KeeperError(USAGE, f"{name} is a {item.kind}: only a file's original can be put in place by hand")
        if not verdict.settled:
            raise KeeperError(UNPROVEN, verdict.why)
        run.dir.append(_journal.SETTLED, ref=item.seq, keep=keep, reason=reason[:1000], at=keeper.clock.wall(), why=verdict.why)
        return {"item": item.name, "verdict": verdict.verdict, "why": verdict.why}


def _waive(run: GuardedRun, keep: str, reason: str) -> Dict[str, Any]:
    left = [one.name for one in run.dir.items() if one.open]
    if left or keep != "current":
        raise KeeperError(
            USAGE, f"{PROOF_ITEM} takes --keep current, once everything is put back (left: {', '.join(left) or 'nothing'})"
        )
    failures = (run.dir.load(PROOF) or {}).get("failures") or []
    paths = sorted({f"{one['probe']}.{one['path']}" for one in failures if one.get("part") == "invariant" and one.get("path")})
    if not paths:
        raise KeeperError(
            USAGE, "nothing in the last proof can be left as it is: what it misses is live, or could not be looked at"
        )
    run.dir.append(_journal.WAIVED, paths=paths, reason=reason[:1000], at=run.keeper.clock.wall())
    return {"item": PROOF_ITEM, "verdict": UNDONE, "why": f"settled: it may stay as it is: {', '.join(paths)}"}
