"""Restore and proof: undo the journal, newest first; then compare, never assume; then free."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal, _lease, _proof
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_wire import EngineError

from keeper import guards, item_calls, item_command, item_created, item_engine, item_file, item_service, item_tree, late
from keeper.core import BEFORE, GuardedRun, Keeper, public
from keeper.errors import UNPROVEN, KeeperError
from keeper.kinds import CONFLICT, COVERED, FAILED, Undo, Verdict
from keeper.store import CLOSED, JOURNAL, KEY, RunDir

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease

ATTACH_WAIT = 1800.0  # seconds that a second restore waits for the first
PROOF_DEADLINE = 120.0
AGAIN_AFTER = 5.0  # seconds of a proof that does not hold, after which the engine is looked at again
HISTORY = 10  # closed runs whose journals stay for a reader
RETRY_FIRST, RETRY_LAST = 5.0, 600.0  # seconds until a restore or proof that failed is tried again
_UNDO: Dict[str, Callable[[Undo], Verdict]] = {
    "file": item_file.undo,
    "command": item_command.undo,
    "engine": item_engine.undo,
    "call": item_calls.undo,
    "service": item_service.undo,
    "tree": item_tree.undo,
    "created": item_created.undo,
}
AFTER = "after.json"
PROOF = "proof.json"
RESTORED = "restored.json"
# What set a restore off, where it is not the keeper that saw why (see `sweep`, `watch`).
BY_RUN = "its own run asked for it"
BY_SOMEBODY = "somebody asked for it"
AGAIN = "it was time to try again"


def mark(keeper: Keeper, resource: str, why: str) -> Lease:
    """Take a lease away from whoever has it, durably: from here on its writes are refused, and the sweep puts it back.

    The host lock must be held. What is free, and left nothing open, stays free.
    """
    lease = adopt(keeper, resource)
    if lease.state in (_lease.RESTORING, _lease.PROVING) and lease.retry is not None:
        return keeper.store.save(lease.next(retry=None))  # who asks does not wait for the next try
    if lease.state in (_lease.FREE, _lease.RESTORING, _lease.PROVING):
        return lease
    token = keeper.store.bump(resource, lease.token)
    return keeper.store.save(lease.next(state=_lease.RESTORING, token=token, reason=why, hold=None, retry=None))


def restore(keeper: Keeper, resource: str, why: str) -> Dict[str, Any]:
    """Undo what the journal of a resource says, idempotently, whoever asks. The caller has judged that it may.

    Args:
        keeper: This machine's.
        resource: What is put back.
        why: What set this off, unless it was said when the lease was taken away.

    Returns:
        ``{restored, state, run_id, why, seconds, items: [{item, kind, verdict, why, seconds}]}``.
    """
    with keeper.store.restore_lock(resource, ATTACH_WAIT):
        return _restore(keeper, resource, why)


def _restore(keeper: Keeper, resource: str, why: str) -> Dict[str, Any]:
    started = keeper.clock.boottime()
    with keeper.store.host_lock():
        lease = adopt(keeper, resource)
        if lease.state == _lease.FREE:
            return {"restored": True, "state": lease.state, "run_id": lease.run_id, "seconds": 0.0, "items": []}
        run = keeper.store.run(lease.run_id, resource)
        if lease.state == _lease.PROVING:
            return {**(run.load(RESTORED) or {}), "restored": True, "state": lease.state, "run_id": lease.run_id}
        # Whoever marked it has taken the token already; a restore that is taken up again needs no other one.
        token = lease.token if lease.state == _lease.RESTORING else keeper.store.bump(resource, lease.token)
        why = _first_cause(run, lease, why)
        lease = keeper.store.save(
            lease.next(state=_lease.RESTORING, token=token, attempts=lease.attempts + 1, reason=why, hold=None, retry=None)
        )
    try:
        keeper.units.stop(resource)
        guarded = keeper.open_run(lease.run_id, resource)
        items = _undo_all(guarded, token)
    except KeeperError as error:
        _quarantine(keeper, resource, why, error)
        raise
    bad = [one for one in items if one["verdict"] in (CONFLICT, FAILED)]
    seconds = round(keeper.clock.boottime() - started, 3)
    outcome = {"restored": not bad, "run_id": lease.run_id, "why": why, "seconds": seconds, "items": items}
    run.write(RESTORED, outcome)
    if not bad and why != BY_RUN:
        late.begin(guarded, lease)
    with keeper.store.host_lock():
        lease = keeper.lease(resource)
        reason = "; ".join(f"{one['item']}: {one['why']}" for one in bad)
        state = _lease.UNPROVEN if bad else _lease.PROVING
        # A third party's version waits for a person; what only failed may work later.
        retry = next_try(keeper, lease) if any(one["verdict"] == FAILED for one in bad) else None
        lease = keeper.store.save(lease.next(state=state, reason=reason, retry=retry))
    return {**outcome, "state": lease.state, "reason": lease.reason}


def _first_cause(run: RunDir, lease: Lease, why: str) -> str:
    """Return what set a restore off first: one that was cut short, or failed and is tried again, keeps its cause."""
    if lease.state == _lease.RESTORING:
        return lease.reason or why
    return str((run.load(RESTORED) or {}).get("why") or why) if why == AGAIN else why


def next_try(keeper: Keeper, lease: Lease) -> Dict[str, Any]:
    """Return when a restore or proof that failed is tried again: each time after twice as long, at most ``RETRY_LAST``."""
    boot = keeper.clock.boot()
    pause = min(RETRY_LAST, RETRY_FIRST * 2.0 ** max(0, lease.attempts - 1))
    return {"boottime": keeper.clock.boottime() + pause, "boot": {"boot_id": boot.boot_id, "init_start": boot.init_start}}


def left_open(keeper: Keeper, resource: str) -> bool:
    """Whether a run left changes that nobody has put back and proven, whatever the lease says."""
    return any(not (run.load(PROOF) or {}).get("proven") and not untouched(run) for run in keeper.store.open_runs(resource))


def adopt(keeper: Keeper, resource: str) -> Lease:
    """Return the lease, taking up a run that left items behind although the lease says free. Host lock held."""
    lease = keeper.lease(resource)
    if lease.state != _lease.FREE:
        return lease
    for run in keeper.store.open_runs(resource):
        if (run.load(PROOF) or {}).get("proven") or untouched(run):
            continue
        # The slot that said "held" was lost: what the journal says counts.
        return keeper.store.save(
            lease.next(state=_lease.RESTORING, run_id=run.run_id, reason="the lease was lost, its run left changes")
        )
    return lease


def untouched(run: RunDir) -> bool:
    """Whether a run never got to change anything: it died between making its directory and taking the lease."""
    try:
        return len(run.journal().records) == 1
    except _journal.JournalError:
        return b"\n" not in (run.read(JOURNAL) or b"")  # not even its first record was whole


def _quarantine(keeper: Keeper, resource: str, why: str, error: KeeperError) -> None:
    with keeper.store.host_lock():
        lease = keeper.lease(resource)
        retry = None if error.kind == UNPROVEN else next_try(keeper, lease)
        keeper.store.save(lease.next(state=_lease.UNPROVEN, reason=str(error), retry=retry))
    outcome = {"restored": False, "run_id": lease.run_id, "why": why, "items": []}
    with contextlib.suppress(OSError, _fsio.FileError):  # an earlier try's good word must not stand for this one
        keeper.store.run(lease.run_id, resource).write(RESTORED, outcome)


def _undo_all(run: GuardedRun, token: int) -> List[Dict[str, Any]]:
    results: List[Dict[str, Any]] = []
    journal = run.dir.journal()
    if _journal.committed(journal.records):
        return results
    for group, items in _journal.undo_order(run.dir.items()):
        stopped = ""
        for item in items:
            started = run.keeper.clock.boottime()
            if stopped:
                verdict = Verdict(FAILED, f"not tried: {stopped} of its group {group} comes first")
            else:
                verdict = undo_one(run, token, item)
            if not verdict.settled and not stopped:
                stopped = item.name
            results.append(
                {
                    "item": item.name,
                    "seq": item.seq,
                    "group": group,
                    "kind": item.kind,
                    "verdict": verdict.verdict,
                    "why": verdict.why,
                    "seconds": round(run.keeper.clock.boottime() - started, 3),
                }
            )
    return results


def undo_one(run: GuardedRun, token: int, item: _journal.Item) -> Verdict:
    """Undo one item and journal how that went."""
    verdict = _undo_one(Undo(run, token, item))
    _record(run, item, verdict)
    return verdict


def _undo_one(ask: Undo) -> Verdict:
    covered = ask.intent.get("covered_by")
    if covered:
        return Verdict(COVERED, f"covered by {covered}")
    try:
        return _UNDO[ask.item.kind](ask)
    except KeeperError as error:
        return Verdict(FAILED, str(error))
    except (EngineError, OSError) as error:
        return Verdict(FAILED, f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}")


def _record(run: GuardedRun, item: _journal.Item, verdict: Verdict) -> None:
    fields = {"ref": item.seq, "why": verdict.why[:2000], "at": run.keeper.clock.wall()}
    if verdict.settled:
        run.dir.append(_journal.UNDONE, verdict=verdict.verdict, **fields)
    elif verdict.verdict == CONFLICT:
        run.dir.append(_journal.CONFLICT, **fields)


# Proof


def prove(keeper: Keeper, resource: str, deadline: Optional[float] = None) -> Dict[str, Any]:
    """Compare a restored resource with its snapshot from before and with live predicates; free it when proven.

    Returns:
        ``{proven, state, failures, seconds, after, run_id}``.
    """
    with keeper.store.restore_lock(resource, ATTACH_WAIT):
        lease = keeper.lease(resource)
        run = keeper.store.run(lease.run_id, resource) if lease.run_id else None
        if lease.state == _lease.FREE:
            clean(keeper, resource)
            done = (run.load(PROOF) if run is not None else None) or {}
            return {"proven": True, "failures": [], "seconds": 0.0, "after": None, **done, "state": lease.state}
        if lease.state not in (_lease.PROVING, _lease.UNPROVEN) or run is None:
            raise KeeperError(UNPROVEN, f"{resource} is {lease.state}: restore it first", lease=public(lease))
        cut = run.load(PROOF) or {}
        if cut.get("proven"):  # it was proven, and died before it could say so in the lease
            with keeper.store.host_lock():
                lease = free(keeper, keeper.lease(resource))
            clean(keeper, resource)
            return {**cut, "after": run.load(AFTER), "state": lease.state}
        left = [one.name for one in keeper.open_run(lease.run_id, resource).dir.items() if one.open]
        if left:
            raise KeeperError(UNPROVEN, f"{resource} is not restored, left: {', '.join(left)}", lease=public(lease), left=left)
        return _prove(keeper, lease, deadline)


def _prove(keeper: Keeper, lease: Lease, deadline: Optional[float]) -> Dict[str, Any]:
    run = keeper.open_run(lease.run_id, lease.resource)
    taken = run.dir.load(BEFORE)
    if not run.dir.items():  # nothing was ever changed
        proof = _proof.Proof(proven=True, failures=[], after={}, seconds=0.0, samples=0)
    elif taken is None:
        lost = {"probe": BEFORE, "why": "the look from before, which it is compared with, is lost or damaged"}
        proof = _proof.Proof(proven=False, failures=[lost], after={}, seconds=0.0, samples=0)
    else:
        rules = {"deadline": PROOF_DEADLINE, **(taken.get("proof") or {})}
        if deadline is not None:
            rules["deadline"] = deadline
        rules["ignore"] = [*(rules.get("ignore") or []), *_waived(run, taken["probes"])]
        proof = _proof.prove(
            _watching(run, lease, lambda: keeper.looker.take(taken["probes"], run.fingerprints, taken["snapshot"])),
            taken["snapshot"],
            rules,
            pause=keeper.clock.sleep,
            clock=keeper.clock.boottime,
        )
    record = {
        "proven": proof.proven,
        "run_id": lease.run_id,
        "failures": proof.failures[:100],
        "seconds": round(proof.seconds, 3),
        "samples": proof.samples,
        "at": keeper.clock.wall(),
    }
    run.dir.write(AFTER, proof.after)
    run.dir.write(PROOF, record)
    with keeper.store.host_lock():
        lease = keeper.lease(lease.resource)
        if proof.proven:
            lease = free(keeper, lease)
        else:
            reason = "; ".join(f"{one.get('probe')}: {one.get('why')}" for one in proof.failures[:5])
            told = f"restored, but not proven: {reason}"
            lease = keeper.store.save(lease.next(state=_lease.UNPROVEN, reason=told, retry=next_try(keeper, lease)))
    if proof.proven:
        clean(keeper, lease.resource)
    return {**record, "after": proof.after, "state": lease.state}


def _watching(run: GuardedRun, lease: Lease, take: Callable[[], Dict[str, Any]]) -> Callable[[], Dict[str, Any]]:
    """Return a look that first brings back again what the engine took away behind the undo, at most every few seconds.

    A container that was stopped by somebody's late call stays down for ever; waiting for it would end in quarantine.
    """
    first = next((item for item in run.dir.items() if item.kind == "engine" and not item.intent.get("covered_by")), None)
    clock = run.keeper.clock
    due = [clock.boottime() + AGAIN_AFTER]

    def look() -> Dict[str, Any]:
        if first is not None and clock.boottime() >= due[0]:
            item_engine.again(Undo(run, lease.token, first))
            due[0] = clock.boottime() + AGAIN_AFTER
        return take()

    return look


def _waived(run: GuardedRun, probes: Mapping[str, Any]) -> List[str]:
    """Return the probes of files that a person settled as they are now, and the paths of which one said that they may stay so."""
    settled = {
        one.intent.get("path")
        for one in run.dir.items()
        if one.undone is not None and one.undone["type"] == _journal.SETTLED and one.undone.get("keep") == "current"
    }
    waived = [str(path) for one in run.dir.journal().records if one["type"] == _journal.WAIVED for path in one["paths"]]
    return [*waived, *(name for name, spec in probes.items() if spec.get("path") in settled)]


def free(keeper: Keeper, lease: Lease) -> Lease:
    """Give a lease back. The host lock must be held, the proof must be on disk."""
    if lease.lock:
        keeper.triggers.lock(lease.resource, on=False)
    nobody: Dict[str, Any] = {"nonce_hash": "", "holder": {}, "deadline": None, "keep": False, "hold": None, "lock": None}
    return keeper.store.save(lease.next(state=_lease.FREE, reason="", attempts=0, retry=None, expect_reboot=None, **nobody))


def forget_untouched(keeper: Keeper, resource: str) -> None:
    """Remove what runs left that died before they had the lease. Host lock held, the lease is free."""
    for run in keeper.store.open_runs(resource):
        if untouched(run):
            forget(keeper, run)


def forget(keeper: Keeper, run: RunDir) -> None:
    """Remove what is left of a run that changed nothing."""
    run.remove(*run.names())
    keeper.store.drop(run)


def clean(keeper: Keeper, resource: str) -> None:
    """Take our traces off the machine after the proof; cut anywhere, the next call goes on.

    Who waited for the lease does this as well, in the same moment as who gave it back: one after the other.
    """
    with keeper.store.host_lock():
        _clean(keeper, resource)


def _clean(keeper: Keeper, resource: str) -> None:
    lease = keeper.lease(resource)
    for run in keeper.store.open_runs(resource):
        # A proof that was cut before the lease was free again still needs what is here.
        in_use = lease.state != _lease.FREE and lease.run_id == run.run_id
        if in_use or not (run.load(PROOF) or {}).get("proven"):
            continue
        with contextlib.suppress(KeeperError):  # no key any more: the items were cleaned already
            guarded = keeper.open_run(run.run_id, resource)
            units = [one.intent["unit"] for one in guarded.dir.items() if one.kind == "file" and one.intent.get("unit")]
            for record in guarded.dir.journal().records:
                if record["type"] == _journal.STAGE:
                    item_file.clean(guarded, record)
            for item in guarded.dir.items():
                if item.kind == "engine":
                    with contextlib.suppress(EngineError):
                        item_engine.clean(guarded, item)
            if units:
                guards.remove(keeper, units, run)
        names = [name for name in run.names() if name.startswith(("unit-", "engine-", "window-"))]
        run.remove(*names, *([] if late.lasts(keeper, run) else [KEY]))
        run.write(CLOSED, {"at": keeper.clock.wall()})
    if lease.state == _lease.FREE:
        forget_untouched(keeper, resource)
    keeper.store.prune(resource, HISTORY)
