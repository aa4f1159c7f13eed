"""Acquire, renew, release: who gets a resource, and what has to be true before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease, hash_nonce

from keeper import late, product_lock, queue, restore, sweep
from keeper.core import TTL_DEFAULT, TTL_LIMIT, Keeper, Request, fence_of, iso, name_of, new_key, number, public, text
from keeper.errors import BUSY, CONFLICT, UNFIT, USAGE, KeeperError
from keeper.ports import poll
from keeper.store import KEY

_HOLDER_KEYS = ("controller_id", "host", "user", "pid", "start_time")
NOT_ARMED = "not armed"
GONE = "its holder's own computer said that it is dead"
ARMING = 90.0  # seconds that a lease lasts at least until its machine is armed; nothing is changed under it before
RESTORE_TRIES = 3
_NONCE_LENGTH = 16
_WAIT_FIRST = 0.2


@dataclass(frozen=True)
class Wish:
    """A lease as somebody wants it."""

    resource: str
    run_id: str
    nonce: str
    ttl: float
    keep: bool
    holder: Dict[str, Any]
    lock: Optional[Dict[str, str]]
    arm: bool


def _wish(request: Request) -> Wish:
    nonce = text(request, "nonce")
    if len(nonce) < _NONCE_LENGTH:
        raise KeeperError(USAGE, f"a nonce has at least {_NONCE_LENGTH} random characters")
    return Wish(
        name_of("resource", request.get("resource")),
        name_of("run", request.get("run_id")),
        nonce,
        number(request, "ttl", TTL_DEFAULT, 0.1, TTL_LIMIT),
        bool(request.get("keep")),
        holder_of(request.get("holder")),
        product_lock.lock_of(request),
        request.get("arm") is not False,
    )


def acquire(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Give a resource to a run: ``{resource, run_id, nonce, ttl, keep, wait, queue, holder, holder_gone, lock, arm}``.

    Whatever an earlier run left is restored and proven first. Who waits, or says with ``queue`` that it will ask again, has a
    place in order of arrival, and nobody is served before it.

    Returns:
        ``{token, deadline, armed, arming, recovered, already, late_writes}``; the last are facts about the run before.

    Raises:
        KeeperError: busy, naming holder, state and deadline, and with a place its position and how long it may take; unfit,
            when nothing on the machine would put it back.
    """
    wish = _wish(request)
    wait = number(request, "wait", 0.0, 0.0, TTL_LIMIT)
    stays = request.get("queue") is True
    queued = stays or wait > 0
    recovered: Optional[Dict[str, Any]] = None
    answer: Dict[str, Any] = {}
    refusal: Optional[KeeperError] = None

    def attempt() -> bool:
        nonlocal recovered, answer, refusal
        try:
            why = _left_behind(keeper, wish.resource, request)
            if why:
                recovered = recover_now(keeper, wish.resource, why)
            answer = _take(keeper, wish)
        except KeeperError as error:
            if error.kind != BUSY:
                raise
            refusal = _placed(keeper, wish, error) if queued else error
            return False
        return True

    if not poll(keeper.clock, keeper.clock.boottime() + wait, attempt, first=_WAIT_FIRST):
        assert refusal is not None  # noqa: S101 - poll gives up only after an attempt
        if queued and not stays:
            with keeper.store.host_lock():
                queue.leave(keeper, wish.resource, wish.run_id, wish.nonce)
        raise refusal
    return {**answer, "recovered": recovered}


def _placed(keeper: Keeper, wish: Wish, refusal: KeeperError) -> KeeperError:
    """Return a refusal with the caller's place in the queue."""
    with keeper.store.host_lock():
        position = queue.join(keeper, wish.resource, wish.run_id, wish.nonce, wish.holder)
        expected = queue.expected_seconds(keeper, keeper.lease(wish.resource), position)
    if not position:
        return KeeperError(BUSY, f"{refusal}; too many wait for it already", **refusal.details)
    told = "" if expected is None else f", about {expected:g} s"
    busy = {**(refusal.details.get("busy") or {}), "position": position, "expected_seconds": expected}
    return KeeperError(BUSY, f"{refusal}; position {position} in the queue{told}", **{**refusal.details, "busy": busy})


def holder_of(raw: Any) -> Dict[str, Any]:
    """Return the holder of a request, reduced to what is known of one. Raises KeeperError(usage)."""
    if not isinstance(raw, Mapping) or not raw.get("controller_id"):
        raise KeeperError(USAGE, f"holder names who holds it: {{{', '.join(_HOLDER_KEYS)}}}")
    return {key: str(raw[key])[:200] if isinstance(raw[key], str) else raw[key] for key in _HOLDER_KEYS if key in raw}


def busy(lease: Lease, why: str = "") -> KeeperError:
    """Return the refusal that names who has a resource."""
    who = lease.holder
    by = f"{who.get('user', '?')}@{who.get('host', '?')} (process {who.get('pid', '?')})" if who else "nobody known"
    message = f"{lease.resource} is {lease.state} for run {lease.run_id or '?'}, held by {by}"
    return KeeperError(BUSY, f"{message}{'; ' + why if why else ''}", busy=public(lease))


def _left_behind(keeper: Keeper, resource: str, request: Request) -> str:
    """Return why somebody's changes have to be undone before the resource can be given, or nothing. Raises KeeperError(busy)."""
    with keeper.store.host_lock():
        lease = restore.adopt(keeper, resource)
        if lease.state == _lease.FREE:
            return ""
        if lease.state == _lease.UNPROVEN:
            raise busy(lease, f"it is in quarantine: {lease.reason}")
        if lease.state in (_lease.RESTORING, _lease.PROVING):
            return restore.BY_SOMEBODY  # also while somebody does it: who asks now follows, and sees how it ends
        if lease.run_id == request.get("run_id") and lease.owned_by(str(request.get("nonce"))):
            return ""
        why = sweep.ended(keeper, lease)
        if not why and not lease.keep and gone(lease, request):
            why = GONE
        if not why:
            raise busy(lease)
        return why


def gone(lease: Lease, request: Request) -> bool:
    """Whether the caller, on the holder's own controller, says that exactly this holder is dead.

    ``holder_gone`` is true with ``controller_id`` (or ``holder.controller_id``) of the lease's holder, or it is the dead
    holder itself, whose pid and start time have to match as well.
    """
    told = request.get("holder_gone")
    if not told:
        return False
    claim: Dict[str, Any] = {"controller_id": request.get("controller_id")}
    if claim["controller_id"] is None and isinstance(request.get("holder"), Mapping):
        claim["controller_id"] = request["holder"].get("controller_id")
    if isinstance(told, Mapping):
        claim = {key: told.get(key) for key in ("controller_id", "pid", "start_time")}
    return bool(claim["controller_id"]) and all(str(lease.holder.get(key)) == str(claim[key]) for key in claim)


def recover_now(keeper: Keeper, resource: str, why: str) -> Dict[str, Any]:
    """Have a resource restored and proven by the machine's own restore, and say how it went."""
    with keeper.store.host_lock():
        lease = restore.mark(keeper, resource, why)
    run_id = lease.run_id
    for _try in range(RESTORE_TRIES):
        keeper.triggers.restore(lambda: sweep.restore_due(keeper))
        lease = keeper.lease(resource)
        if lease.state not in (_lease.RESTORING, _lease.PROVING) or lease.run_id != run_id:
            break  # a restore that was running already may have ended without having seen this one
    return outcome(keeper, lease, run_id)


def begin(keeper: Keeper, resource: str, why: str) -> Dict[str, Any]:
    """Have a resource put back by the machine's own restore, and do not wait for it; whoever asks again follows it."""
    with keeper.store.host_lock():
        lease = restore.mark(keeper, resource, why)
    keeper.triggers.start()
    begun = {"begun": True, "nothing_to_do": False, "restored": False, "proven": False}
    return {**begun, "run_id": lease.run_id, "state": lease.state, "items": []}


def outcome(keeper: Keeper, lease: Lease, run_id: str) -> Dict[str, Any]:
    """Return what restore and proof of a run left on disk."""
    run = keeper.store.run(run_id, lease.resource)
    restored, proof = run.load(restore.RESTORED) or {}, run.load(restore.PROOF) or {}
    over = lease.state == _lease.FREE or lease.run_id != run_id
    back = over or (bool(restored.get("restored")) and lease.state in (_lease.PROVING, _lease.UNPROVEN))
    told = {} if over else {"reason": lease.reason}
    return {
        **restored,
        **({**proof, "after": run.load(restore.AFTER)} if back else {}),
        **told,
        "run_id": run_id,
        "restored": back,
        "proven": over and bool(proof.get("proven")),
        "items": restored.get("items") or [],
        "state": lease.state,
        "nothing_to_do": False,
        "proof_seconds": float(proof.get("seconds") or 0.0) if back else 0.0,
        "seconds": round(float(restored.get("seconds") or 0.0) + (float(proof.get("seconds") or 0.0) if back else 0.0), 3),
    }


def _take(keeper: Keeper, wish: Wish) -> Dict[str, Any]:
    """Take the lease, arm the machine, have the product's lock; a step that fails leaves the resource free.

    Raises:
        KeeperError: busy, unfit, conflict.
    """
    started = keeper.clock.boottime()
    answer = _lease_now(keeper, wish)
    if answer["already"]:
        return answer
    fence = {"resource": wish.resource, "run_id": wish.run_id, "nonce": wish.nonce, "token": answer["token"]}
    try:
        if wish.lock is not None:
            keeper.triggers.lock(wish.resource, on=True)
        # Its key is on disk, so the init's sweep finds something to watch: a stamp from now on proves that it does.
        arming = keeper.triggers.alive(started) if wish.arm else NOT_ARMED
        if wish.lock is not None:
            product_lock.wait_taken(keeper, wish.lock, wish.run_id)
    except KeeperError:
        release(keeper, {"fence": fence})
        restore.forget(keeper, keeper.store.run(wish.run_id, wish.resource))  # so that the same run may ask again
        raise
    with keeper.store.host_lock():
        lease = keeper.check_fence(fence_of({"fence": fence}))
        lease = keeper.store.save(lease.next(arming=arming, deadline=keeper.deadline(lease.ttl)))
        return {**_answer(lease), "already": False, "late_writes": answer["late_writes"]}


def _lease_now(keeper: Keeper, wish: Wish) -> Dict[str, Any]:
    resource, run_id = wish.resource, wish.run_id
    restore.clean(keeper, resource)
    with keeper.store.host_lock():
        lease = keeper.lease(resource)
        late.look(keeper, resource)
        told = {"late_writes": late.writes(keeper, resource, lease.since)}
        if lease.state == _lease.HELD and lease.run_id == run_id and lease.owned_by(wish.nonce) and not keeper.over(lease):
            return {**_answer(keeper.renew(lease)), "already": True, **told}
        if lease.state != _lease.FREE:
            raise busy(lease, lease.reason)
        first = queue.before(keeper, resource, run_id, wish.nonce)
        if first:
            who = first[0]["holder"]
            waiter = f"{who.get('user', '?')}@{who.get('host', '?')} (run {first[0]['run_id']})"
            waits = {**public(lease), "state": "queued", "run_id": first[0]["run_id"], "holder": who}
            raise KeeperError(BUSY, f"{resource} is free, but {waiter} waits for it", busy=waits)
        if wish.lock is not None:
            product_lock.check_free(wish.lock)
        run = keeper.store.run(run_id, resource)
        if run_id in [one.run_id for one in keeper.store.runs(resource)]:
            raise KeeperError(CONFLICT, f"run {run_id} had {resource} before; a run id is used once")
        try:
            if not keeper.store.known(resource):
                # From here on a run without a lease file means that the lease was lost.
                lease = keeper.store.save(lease.next())
            token = keeper.store.bump(resource, lease.token)
            keeper.store.make("runs", run_id, resource)
            run.write(KEY, new_key())
            run.open_journal(run_id=run_id, resource=resource, at=keeper.clock.wall(), token=token)
        except OSError as error:
            raise KeeperError(UNFIT, f"nothing was changed, no space for the journal: {error.strerror}") from error
        lease = keeper.store.save(
            lease.next(
                state=_lease.HELD,
                token=token,
                run_id=run_id,
                nonce_hash=hash_nonce(wish.nonce),
                holder=wish.holder,
                ttl=wish.ttl,
                keep=wish.keep,
                since=keeper.clock.wall(),
                # Where cron sweeps, a short lease would be over before the sweep that proves that it lives.
                deadline=keeper.deadline(max(wish.ttl, ARMING) if wish.arm else wish.ttl),
                reason="",
                attempts=0,
                arming=NOT_ARMED,
                hold=None,
                retry=None,
                expect_reboot=None,
                lock=wish.lock,
            )
        )
        queue.leave(keeper, resource, run_id, wish.nonce)
    return {**_answer(lease), "already": False, **told}


def _answer(lease: Lease) -> Dict[str, Any]:
    return {
        "token": lease.token,
        "deadline": iso(lease.deadline.wall) if lease.deadline else None,
        "run_id": lease.run_id,
        "resource": lease.resource,
        "ttl": lease.ttl,
        "armed": lease.arming != NOT_ARMED,
        "arming": lease.arming,
        "state": lease.state,
    }


def renew(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Give a lease its whole time again: ``{fence, ttl, keep}``."""
    fence = fence_of(request)
    with keeper.store.host_lock():
        lease = keeper.check_fence(fence)
        changes: Dict[str, Any] = {}
        if request.get("ttl") is not None:
            changes["ttl"] = number(request, "ttl", lease.ttl, 0.1, TTL_LIMIT)
        if isinstance(request.get("keep"), bool):
            changes["keep"] = request["keep"]
        deadline = keeper.deadline(changes.get("ttl", lease.ttl))
        return _answer(keeper.store.save(lease.next(deadline=deadline, **changes)))


def release(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Give a lease back under which nothing was changed: ``{fence}``. Anything else is restored and proven first.

    Returns:
        ``{released, already}``.
    """
    fence = fence_of(request)
    with keeper.store.host_lock():
        lease = keeper.lease(fence.resource)
        if lease.state == _lease.FREE:
            return {"released": True, "already": True}
        lease = keeper.check_fence(fence)
        run = keeper.open_run(lease.run_id, lease.resource)
        left = [one.name for one in run.dir.items() if one.open]
        if run.dir.items():
            raise KeeperError(
                CONFLICT, f"{lease.resource} was changed ({', '.join(left) or 'undone, not proven'}): restore it", left=left
            )
        run.dir.write(restore.PROOF, {"proven": True, "run_id": lease.run_id, "failures": [], "seconds": 0.0})
        keeper.store.bump(lease.resource, lease.token)
        restore.free(keeper, lease)
    restore.clean(keeper, fence.resource)
    return {"released": True, "already": False}
