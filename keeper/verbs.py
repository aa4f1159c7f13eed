"""The verbs of ``keeper call``: one JSON request, one JSON answer."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_wire import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease, LeaseError

from keeper import (
    VERSION,
    acquire,
    by_hand,
    confirm,
    item_calls,
    item_command,
    item_created,
    item_file,
    item_service,
    item_tree,
    late,
    queue,
    reboot,
    restore,
    sweep,
)
from keeper import settle as settling
from keeper.core import BEFORE, Keeper, Request, fence_of, iso, name_of, number, public, text
from keeper.errors import CONFLICT, EXIT_CODES, FAILED, UNFIT, UNPROVEN, USAGE, KeeperError
from keeper.store import CLOSED, RunDir

_LOOKING = ("status", "evidence")  # verbs that leave no trace, not even an empty directory
_SECRET_FIELDS = ("stdin", "env", "edit")


def snapshot(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Take the look that the proof will compare with: ``{fence, probes, proof}``; returns ``{snapshot}``."""
    probes, proof = request.get("probes"), request.get("proof") or {}
    if not isinstance(probes, Mapping) or not isinstance(proof, Mapping):
        raise KeeperError(USAGE, "snapshot takes probes and proof, both maps")
    fence = fence_of(request)
    with keeper.guarded(fence) as run:
        taken = run.dir.load(BEFORE)
        if taken is not None:
            raise KeeperError(CONFLICT, "there is a look from before already; it is never taken twice")
        if run.dir.items():
            raise KeeperError(CONFLICT, "something was changed already; a look from before comes before it")
    document = keeper.looker.take(probes, run.fingerprints, None)
    with keeper.guarded(fence) as run:
        try:
            run.dir.write(BEFORE, {"probes": dict(probes), "proof": dict(proof), "snapshot": document})
        except OSError as error:
            raise KeeperError(UNFIT, f"nothing was changed, no space: {error.strerror}") from error
    return {"snapshot": document}


def look(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Look again with the key and the probes of before: ``{fence, probes?}``; returns ``{snapshot}``."""
    fence = fence_of(request)
    with keeper.guarded(fence) as run:
        taken = run.dir.load(BEFORE) or {}
    probes = request.get("probes") or taken.get("probes") or {}
    return {"snapshot": keeper.looker.take(probes, run.fingerprints, taken.get("snapshot"))}


def may_end(keeper: Keeper, lease: Lease, request: Request) -> str:
    """Return why the caller may end a lease: its own, run out, of a holder known dead, by force with its run's name; or nothing."""
    nonce = request.get("nonce")
    if isinstance(request.get("fence"), Mapping):
        nonce = request["fence"].get("nonce")
    if isinstance(nonce, str) and lease.owned_by(nonce):
        return restore.BY_RUN
    if lease.state != _lease.HELD:
        return restore.BY_SOMEBODY
    over = sweep.ended(keeper, lease)
    if over:
        return over
    if request.get("force") is True and request.get("run_id") == lease.run_id:
        return "somebody took it from its run (--force)"
    return acquire.GONE if acquire.gone(lease, request) else ""


def _judge(keeper: Keeper, resource: str, request: Request) -> Tuple[Optional[Dict[str, Any]], str]:
    """Return the answer when there is nothing to do, else None and why the resource is restored. Raises KeeperError(busy)."""
    with keeper.store.host_lock():
        lease = restore.adopt(keeper, resource)
        run_id = request.get("run_id")
        if lease.state == _lease.FREE:
            return _nothing(keeper, lease, run_id, f"{resource} is free"), ""
        if run_id is not None and run_id != lease.run_id:
            why = f"run {run_id} does not hold {resource} (any more), run {lease.run_id} does"
            return _nothing(keeper, lease, run_id, why), ""
        why = may_end(keeper, lease, request)
        if not why:
            raise acquire.busy(lease, "its holder is not known to be dead; --force --run ID overrules")
    return None, why


def _nothing(keeper: Keeper, lease: Lease, run_id: Optional[str], why: str) -> Dict[str, Any]:
    """Answer for a run that is over already: with its own proof, not with what somebody else does now."""
    answer = {"restored": True, "proven": True, "nothing_to_do": True, "why": why, "items": [], "state": lease.state}
    asked = run_id or lease.run_id
    if not asked or asked not in [one.run_id for one in keeper.store.runs(lease.resource)]:
        return answer
    proof = keeper.store.run(asked, lease.resource).load(restore.PROOF) or {}
    proven = bool(proof.get("proven", True))
    # Who set it off before and asks again is told how it came out.
    told = acquire.outcome(keeper, lease, asked)
    how: Dict[str, Any] = {key: told[key] for key in ("items", "seconds", "proof_seconds", "after") if key in told}
    return {**answer, **how, "run_id": asked, "proven": proven, "failures": proof.get("failures") or []}


def undo(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Undo everything: ``{resource, fence?, run_id?, nonce?, force?, holder_gone?}``; the proof is another call."""
    resource = name_of("resource", request.get("resource") or (request.get("fence") or {}).get("resource"))
    if isinstance(request.get("fence"), Mapping):
        request = {"run_id": request["fence"].get("run_id"), **request}
    nothing, why = _judge(keeper, resource, request)
    if nothing is not None:
        return {**nothing, "resource": resource}
    return {"nothing_to_do": False, "resource": resource, **restore.restore(keeper, resource, why)}


def prove(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Prove and free what was restored: ``{resource, deadline?}``."""
    deadline = None if request.get("deadline") is None else number(request, "deadline", 0.0, 0.0, 86400.0)
    return restore.prove(keeper, name_of("resource", request.get("resource")), deadline)


def recover(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Restore, prove, free: ``{resource?, run_id?, nonce?, force?, holder_gone?, controller_id?, begin?, evidence?}``.

    With ``begin`` it is only set off; the answer then has ``begun``, and the same call without it follows. With ``evidence`` the
    answer has the journal, too.

    Returns:
        ``{restored, proven, nothing_to_do, resources: {name: {...}}}``; without a resource every one of the machine.
    """
    names = [name_of("resource", request["resource"])] if request.get("resource") else keeper.store.resources()
    found: Dict[str, Any] = {}
    for name in names:
        found[name] = _recover_one(keeper, name, request, alone=len(names) == 1)
        if request.get("evidence") is True and found[name].get("run_id") and not found[name].get("begun"):
            told = evidence(keeper, {"resource": name, "run_id": found[name]["run_id"]})
            found[name] = {"after": told["after"], **found[name], "journal": told["journal"]}
    return {
        "restored": all(one["restored"] for one in found.values()),
        "proven": all(one["proven"] for one in found.values()),
        "nothing_to_do": all(one.get("nothing_to_do") for one in found.values()),
        "resources": found,
    }


def _recover_one(keeper: Keeper, name: str, request: Request, *, alone: bool) -> Dict[str, Any]:
    """Recover one resource; where there are several, a refusal is an answer and does not keep the others from theirs."""
    try:
        nothing, why = _judge(keeper, name, request)
        if nothing is None:
            if request.get("begin") is True:
                return acquire.begin(keeper, name, why)
            return _with_help(keeper, acquire.recover_now(keeper, name, why), name)
        restore.clean(keeper, name)
    except KeeperError as error:
        if error.kind == UNPROVEN:
            error.details = _with_help(keeper, error.details, name)
        if alone:
            raise
        return {"restored": False, "proven": False, "nothing_to_do": False, **error.document()}
    return nothing


def _with_help(keeper: Keeper, answer: Dict[str, Any], resource: str) -> Dict[str, Any]:
    """Return an answer with what a person can do, where the keeper cannot."""
    found = None if answer.get("proven") else by_hand.needed(keeper.store, resource)
    return answer if found is None else {**answer, "by_hand": found}


def settle(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Settle one item and prove again: ``{resource, item, keep, reason}``."""
    resource = name_of("resource", request.get("resource"))
    done = settling.settle(keeper, resource, text(request, "item"), str(request.get("keep")), str(request.get("reason") or ""))
    return {**acquire.recover_now(keeper, resource, "a person settled what kept it"), **done}


# Telling


def status(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Say who has what: ``{resource?}``; returns ``{version, leases: [...]}``. Changes nothing."""
    names = [name_of("resource", request["resource"])] if request.get("resource") else keeper.store.resources()
    return {"schema": 1, "version": VERSION, "leases": [_describe(keeper, name) for name in names]}


def _describe(keeper: Keeper, resource: str) -> Dict[str, Any]:
    try:
        lease = keeper.store.lease(resource)
    except LeaseError as error:
        unread = {"resource": resource, "state": _lease.UNPROVEN, "reason": f"the lease cannot be read: {error}", "items": []}
        return _with_help(keeper, unread, resource)
    found: Dict[str, Any] = {
        **public(lease),
        "over": lease.state == _lease.HELD and keeper.over(lease),
        "age": round(keeper.clock.wall() - lease.since, 1) if lease.since else None,
        "left": None if lease.deadline is None else round(lease.deadline.boottime - keeper.clock.boottime(), 1),
        "restoring_now": keeper.store.restoring(resource),
        "hold": _hold(keeper, lease),
        "retry_in": _retry_in(keeper, lease),
        "expect_reboot": _expected(keeper, lease),
        "queue": queue.public(keeper, resource),
        "late_writes": late.writes(keeper, resource, lease.since),
        "watched_for": late.watched_for(keeper, resource),
        "items": [],
    }
    if not lease.run_id:
        return found
    run = keeper.store.run(lease.run_id, resource)
    try:
        found["items"] = [_brief(one) for one in run.items()]
        found["proof"] = run.load(restore.PROOF)
        found["restored"] = _without_items(run.load(restore.RESTORED))
    except FileNotFoundError:
        found["items"] = []
    except _journal.JournalError as error:
        if lease.state != _lease.FREE:
            found.update(state=_lease.UNPROVEN, reason=f"the journal cannot be read: {error}")
    return _with_help(keeper, found, resource) if found["state"] == _lease.UNPROVEN else found


def _without_items(restored: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    return None if restored is None else {key: value for key, value in restored.items() if key != "items"}


def _hold(keeper: Keeper, lease: Lease) -> Optional[Dict[str, Any]]:
    """Return how the holder's connection stands: ``{generation, cut_for}``, the last in seconds, None while it stands."""
    if not lease.hold:
        return None
    cut = lease.hold.get("lost_at")
    return {
        "generation": lease.hold["generation"],
        "cut_for": None if cut is None else round(keeper.clock.boottime() - float(cut), 1),
    }


def _expected(keeper: Keeper, lease: Lease) -> Optional[Dict[str, Any]]:
    """Return the reboot that is announced: ``{until, by, came}``, None when none is, or its time is over."""
    expected = lease.expect_reboot
    if lease.state != _lease.HELD or not expected or keeper.clock.wall() >= float(expected["until"]):
        return None
    return {"until": iso(expected["until"]), "by": expected.get("by") or "its run", "came": expected.get("boot") is not None}


def _retry_in(keeper: Keeper, lease: Lease) -> Optional[float]:
    if lease.retry is None:
        return None
    return max(0.0, round(float(lease.retry["boottime"]) - keeper.clock.boottime(), 1))


def _brief(item: _journal.Item) -> Dict[str, Any]:
    intent = item.intent
    what = {
        "file": intent.get("path"),
        "tree": intent.get("path"),
        "created": f"{intent.get('dir')}/{intent.get('name') or intent.get('pattern')}",
        "service": intent.get("unit"),
        "call": f"{intent.get('action')} {intent.get('container')}",
    }.get(item.kind) or " ".join(intent.get("argv") or [])
    state = "changed" if item.done else "being changed, or its client was lost"
    if item.undone is not None:
        state = "settled" if item.undone["type"] == _journal.SETTLED else "put back"
    elif item.conflict is not None:
        state = "conflict"
    return {
        "item": item.name,
        "seq": item.seq,
        "group": item.group,
        "kind": item.kind,
        "what": what,
        "state": state,
        "covered_by": intent.get("covered_by"),
        "why": str((item.conflict or {}).get("why", "")) if item.open else "",
        "at": intent.get("at"),
        "original": intent.get("staged") if item.kind == "file" and item.open and intent["before"]["exists"] else None,
    }


def evidence(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Return what a run leaves for a reader, no secrets in it: ``{resource, run_id?}``.

    Returns:
        ``{run_id, before, after, restored, proof, late, journal: [records]}``.
    """
    resource = name_of("resource", request.get("resource"))
    run_id = request.get("run_id") or keeper.lease(resource).run_id
    run = keeper.store.run(name_of("run", run_id), resource)
    if run_id not in [one.run_id for one in keeper.store.runs(resource)]:
        raise KeeperError(USAGE, f"run {run_id} left nothing here for {resource}")
    before = run.load(BEFORE) or {}
    return {
        "run_id": run_id,
        "before": before.get("snapshot"),
        "after": run.load(restore.AFTER),
        "restored": run.load(restore.RESTORED),
        "proof": run.load(restore.PROOF),
        "late": run.load(late.LATE),
        "journal": _records(run),
        "closed": run.exists(CLOSED),
    }


def _records(run: RunDir) -> List[Dict[str, Any]]:
    try:
        return [_without_secrets(dict(one)) for one in run.journal().records]
    except _journal.JournalError as error:
        return [{"type": "UNREADABLE", "why": str(error)}]


def _without_secrets(node: Any) -> Any:
    """Return a record without environment and input of commands."""
    if isinstance(node, Mapping):
        return {key: _without_secrets(value) for key, value in node.items() if key not in _SECRET_FIELDS}
    return node


VERBS: Dict[str, Callable[[Keeper, Request], Dict[str, Any]]] = {
    "acquire": acquire.acquire,
    "renew": acquire.renew,
    "release": acquire.release,
    "snapshot": snapshot,
    "look": look,
    "file": item_file.apply,
    "command": item_command.run,
    "engine": item_calls.run,
    "service": item_service.apply,
    "tree": item_tree.make,
    "created": item_created.declare,
    "restore": undo,
    "prove": prove,
    "recover": recover,
    "settle": settle,
    "confirm": confirm.confirm,
    "expect_reboot": reboot.expect,
    "status": status,
    "evidence": evidence,
}


def _answer(keeper: Keeper, verb: str, request: Any) -> Dict[str, Any]:
    if verb not in VERBS:
        raise KeeperError(USAGE, f"unknown verb {verb!r}; there are {', '.join(VERBS)}")
    if not isinstance(request, Mapping):
        raise KeeperError(USAGE, "a request is a JSON object")
    if verb not in _LOOKING:
        keeper.store.make()
    return VERBS[verb](keeper, request)


def call(keeper: Keeper, verb: str, request: Any) -> tuple[int, Dict[str, Any]]:
    """Run one verb; return exit code and answer. Never raises for what a caller or the machine did wrong."""
    try:
        answer = _answer(keeper, verb, request)
    except KeeperError as error:
        return error.exit_code, error.document()
    except (OSError, _fsio.FileError, EngineError, LeaseError, _journal.JournalError) as error:
        failure = KeeperError(FAILED, f"{type(error).__name__}: {error}")
        return failure.exit_code, failure.document()
    return (EXIT_CODES[UNPROVEN] if _unproven(verb, answer) else 0), answer


def _unproven(verb: str, answer: Mapping[str, Any]) -> bool:
    if verb == "restore":
        return not answer["restored"]
    return verb in ("prove", "recover", "settle") and not answer["proven"]
