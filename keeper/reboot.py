"""A reboot that is announced: the leases of the machine go on if their holders are back in time, instead of being over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List

from ansible_collections.benchkeeper.core.plugins.module_utils import _lease

from keeper.core import Keeper, Request, fence_of, iso, name_of, number, public, text
from keeper.errors import CONFLICT, USAGE, KeeperError

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease

LIMIT = 3600.0
WITHIN = 300.0


def expect(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Announce one reboot: ``{fence, within}`` (seconds) by a run, ``{resource?, within, by}`` by a person at the machine.

    A run's call is a sign of life, as any of its calls. A person's is not: it gives a lease no time in this boot, and one whose
    holder is cut off or whose time is over goes back all the same.

    Returns:
        ``{until, leases}``; a person is told in ``others`` which ones it was not announced for, and why.
    """
    within = number(request, "within", WITHIN, 1.0, LIMIT)
    until = keeper.clock.wall() + within
    if request.get("fence") is not None:
        fence = fence_of(request)
        with keeper.store.host_lock():
            lease = keeper.check_fence(fence)
            deadline = keeper.deadline(max(lease.ttl, within))
            lease = keeper.store.save(lease.next(expect_reboot={"until": until, "boot": None}, deadline=deadline))
        return {"until": iso(until), "leases": [public(lease)]}
    by = text(request, "by")[:100]
    with keeper.store.host_lock():
        others, leases = _judge(keeper, request)
        for lease in leases:
            keeper.store.save(lease.next(expect_reboot={"until": until, "boot": None, "by": by}))
    return {"until": iso(until), "leases": [public(lease) for lease in leases], "others": others}


def _judge(keeper: Keeper, request: Request) -> tuple[Dict[str, str], List[Lease]]:
    """Return why leases cannot be carried over a boot, and those that can. Raises KeeperError when there is none of them."""
    wanted = request.get("resource")
    others: Dict[str, str] = {}
    leases: List[Lease] = []
    for name in [name_of("resource", wanted)] if wanted is not None else keeper.store.resources():
        lease = keeper.lease(name)
        why = _why_not(keeper, lease)
        if why:
            others[name] = why
        else:
            leases.append(lease)
    if not leases:
        told = "; ".join(f"{name} {why}" for name, why in others.items()) or "nothing on this machine was ever lent"
        lent = any(not why.startswith("is free") for why in others.values())
        raise KeeperError(CONFLICT if lent else USAGE, f"nothing to announce a reboot for: {told}")
    return others, leases


def _why_not(keeper: Keeper, lease: Lease) -> str:
    if lease.state == _lease.FREE:
        return "is free, a reboot changes nothing"
    if lease.state != _lease.HELD:
        return f"is {lease.state}, which goes on after a reboot by itself"
    if keeper.over(lease):
        return "ran out, everything is put back"
    if (lease.hold or {}).get("lost_at") is not None and not lease.keep:
        return "lost its holder, everything is put back in a moment"
    return ""
