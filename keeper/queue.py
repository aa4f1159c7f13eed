"""Who waits for a resource, in order of arrival. A place is kept by asking again; whoever stops asking loses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease, hash_nonce

from keeper.store import CLOSED, JOURNAL

if TYPE_CHECKING:
    from keeper.core import Keeper

PATIENCE = 30.0  # seconds after which the place of somebody who did not ask again is gone
LENGTH = 100  # waiters of one resource

Place = Dict[str, Any]


def waiting(keeper: Keeper, resource: str) -> List[Place]:
    """Return who waits, first come first: ``{run_id, nonce_hash, holder, since, seen}``, times in CLOCK_BOOTTIME."""
    now, boot = keeper.clock.boottime(), keeper.clock.boot()
    document = keeper.store.load_queue(resource)
    if document.get("boot") != [boot.boot_id, boot.init_start]:
        return []  # nobody's connection outlives a boot
    places = document.get("places")
    return [one for one in places if now - float(one["seen"]) <= PATIENCE] if isinstance(places, list) else []


def _save(keeper: Keeper, resource: str, places: List[Place]) -> None:
    boot = keeper.clock.boot()
    keeper.store.save_queue(resource, {"boot": [boot.boot_id, boot.init_start], "places": places})


def _mine(place: Mapping[str, Any], run_id: str, nonce: str) -> bool:
    return bool(place["run_id"] == run_id and place["nonce_hash"] == hash_nonce(nonce))


def before(keeper: Keeper, resource: str, run_id: str, nonce: str) -> List[Place]:
    """Return who waits before a caller. The host lock must be held."""
    found = []
    for place in waiting(keeper, resource):
        if _mine(place, run_id, nonce):
            break
        found.append(place)
    return found


def join(keeper: Keeper, resource: str, run_id: str, nonce: str, holder: Mapping[str, Any]) -> int:
    """Take a place at the end, or keep the one that is there; return its position from 1, 0 when the queue is full.

    The host lock must be held.
    """
    places = waiting(keeper, resource)
    now = keeper.clock.boottime()
    for position, place in enumerate(places, start=1):
        if _mine(place, run_id, nonce):
            place["seen"] = now
            _save(keeper, resource, places)
            return position
    if len(places) >= LENGTH:
        return 0
    who = {key: holder[key] for key in ("host", "user", "pid") if key in holder}
    places.append({"run_id": run_id, "nonce_hash": hash_nonce(nonce), "holder": who, "since": now, "seen": now})
    _save(keeper, resource, places)
    return len(places)


def leave(keeper: Keeper, resource: str, run_id: str, nonce: str) -> None:
    """Give a place up. The host lock must be held."""
    places = waiting(keeper, resource)
    others = [one for one in places if not _mine(one, run_id, nonce)]
    if len(others) != len(places):
        _save(keeper, resource, others)


def expected_seconds(keeper: Keeper, lease: Lease, position: int) -> Optional[float]:
    """Return how long somebody in a position may expect to wait, from how long runs took here; None when nothing is known."""
    lasted = []
    for run in keeper.store.runs(lease.resource):
        ended = (run.load(CLOSED) or {}).get("at")
        if ended is not None and run.exists(JOURNAL):
            lasted.append(float(ended) - float(run.journal().records[0].get("at") or ended))
    if not lasted:
        return None
    from statistics import median  # noqa: PLC0415 - only who waits asks

    usual = median(lasted)
    return round(max(0.0, usual - (keeper.clock.wall() - lease.since)) + (position - 1) * usual, 1)


def public(keeper: Keeper, resource: str) -> List[Dict[str, Any]]:
    """Return who waits, for people: ``{position, run_id, holder, waiting}``, the last in seconds."""
    now = keeper.clock.boottime()
    return [
        {"position": number, "run_id": one["run_id"], "holder": one["holder"], "waiting": round(now - float(one["since"]), 1)}
        for number, one in enumerate(waiting(keeper, resource), start=1)
    ]
