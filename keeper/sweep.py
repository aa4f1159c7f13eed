"""The sweep: what on this machine is due to go back, and the one who sets that off."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot, Lease

from keeper import late, restore
from keeper import watch as watching
from keeper.errors import KeeperError
from keeper.ports import start_time

if TYPE_CHECKING:
    from keeper.core import Keeper

GRACE = 10.0  # seconds that a holder whose connection was cut has to come back
ROUND = 10.0  # seconds that one sweep goes on looking: starting a program costs more than many looks
PAUSE = 0.5  # seconds between two looks
STARTED_ANEW = "the machine was started anew under it"
_GUARD_EVERY = 4  # looks


def lost_at(keeper: Keeper, lease: Lease) -> Optional[float]:
    """Return when (CLOCK_BOOTTIME) the holder's connection was cut; None while it stands, or when there never was one."""
    hold = lease.hold
    if not hold:
        return None
    if hold.get("lost_at") is not None:
        return float(hold["lost_at"])
    if start_time(int(hold["pid"])) == hold["started"]:
        return None
    # Our own end of it died without saying so.
    with keeper.store.host_lock():
        now = keeper.lease(lease.resource)
        if now.serial != lease.serial:
            return None
        keeper.store.save(now.next(hold={**hold, "lost_at": keeper.clock.boottime()}))
    return keeper.clock.boottime()


def due(keeper: Keeper, resource: str) -> str:
    """Return why a resource has to be put back now, empty when it has not.

    Raises:
        KeeperError: unproven, when its lease cannot be read: nothing of it is touched.
    """
    lease = keeper.lease(resource)
    if lease.state == _lease.HELD:
        return _held_due(keeper, lease)
    if lease.state in (_lease.RESTORING, _lease.PROVING):
        if keeper.store.restoring(resource) or not (lease.retry is None or retry_due(keeper, lease)):
            return ""
        return f"its restore was cut short ({lease.state})"
    if lease.state == _lease.UNPROVEN:
        return restore.AGAIN if retry_due(keeper, lease) else ""
    return "its run left changes behind although the lease is free" if restore.left_open(keeper, resource) else ""


def ended(keeper: Keeper, lease: Lease) -> str:
    """Return why a held lease is over, empty while it lasts."""
    if lease.deadline is None or lease.deadline.boot != keeper.clock.boot():
        return STARTED_ANEW
    return "its time ran out" if keeper.over(lease) else ""


def _held_due(keeper: Keeper, lease: Lease) -> str:
    over = ended(keeper, lease)
    if over:
        return "" if over == STARTED_ANEW and reboot_expected(keeper, lease) else over
    cut = None if lease.keep else lost_at(keeper, lease)
    if cut is not None and keeper.clock.boottime() >= cut + GRACE:
        return f"its holder has been gone for {GRACE:g} s"
    return ""


def reboot_expected(keeper: Keeper, lease: Lease) -> bool:
    """Whether this boot was announced, and there is still time for the holder to come back."""
    expected = lease.expect_reboot
    if not expected or lease.deadline is None:
        return False
    # One boot was announced, not any number: the one after it is another surprise.
    first = expected.get("boot")
    here = keeper.clock.boot()
    known = first is None or Boot(**first) == here
    return known and keeper.clock.wall() < float(expected["until"])


def retry_due(keeper: Keeper, lease: Lease) -> bool:
    """Whether a restore or proof that failed is to be tried again now. Another boot is a new chance."""
    retry = lease.retry
    if retry is None:
        return False
    return Boot(**retry["boot"]) != keeper.clock.boot() or keeper.clock.boottime() >= float(retry["boottime"])


def look(keeper: Keeper, *, watch: bool) -> Dict[str, str]:
    """Look once at everything lent; return why what is due has to go back, by resource.

    Args:
        keeper: This machine's.
        watch: Whether guarded files are looked at, too, and those that were put back not long ago.
    """
    found: Dict[str, str] = {}
    for resource in keeper.store.resources():
        try:
            why = due(keeper, resource)
            if watch and not why:
                why = watching.watch(keeper, resource)
        except (KeeperError, OSError, _journal.JournalError):
            continue  # what cannot be read is nobody's to touch; the others are looked at
        if why:
            found[resource] = why
    if watch:
        _look_after(keeper)
    return found


def _look_after(keeper: Keeper) -> None:
    """Look for late writes, and take away what somebody who died left of a lease that is free: else we would go on for ever."""
    for resource in keeper.store.resources():
        with contextlib.suppress(KeeperError, OSError, _journal.JournalError):
            if late.watched(keeper.store, resource):
                with keeper.store.host_lock():
                    late.look(keeper, resource)
            if keeper.store.open_runs(resource) and keeper.lease(resource).state == _lease.FREE:
                restore.clean(keeper, resource)


def owed(keeper: Keeper) -> List[str]:
    """Return the resources that are not free and cleaned up, or still watched for late writes."""
    store = keeper.store
    return [name for name in store.resources() if store.open_runs(name) or late.watched(store, name)]


def sweep(keeper: Keeper, seconds: float = ROUND) -> Mapping[str, str]:
    """Look again and again for a while, setting off the restore of what is due; return what was due at the last look."""
    end = keeper.clock.boottime() + seconds
    found: Mapping[str, str] = {}
    count = 0
    while True:
        found = look(keeper, watch=count % _GUARD_EVERY == 0)
        count += 1
        left = owed(keeper)
        if left:  # else the keeper may have been taken away meanwhile, and a stamp would be a trace
            keeper.triggers.stamp()
        if found:
            keeper.triggers.start()
        if not left or keeper.clock.boottime() + PAUSE >= end:
            return found
        keeper.clock.sleep(PAUSE)


def restore_due(keeper: Keeper) -> Dict[str, Dict[str, Any]]:
    """Restore everything that is due, then prove it; a resource that cannot be helped does not keep the others from it.

    Returns:
        ``{resource: {restored, proven, ...}}``, with ``error`` where one kept it from that.
    """
    found = {name: _attempt(keeper, name, functools.partial(restore.restore, keeper, name, why)) for name, why in _all_due(keeper)}
    for name, one in found.items():
        if one.get("restored"):
            one.update(_attempt(keeper, name, functools.partial(restore.prove, keeper, name)))
    return found


def _all_due(keeper: Keeper) -> Iterator[Tuple[str, str]]:
    for resource in keeper.store.resources():
        why = ""
        with contextlib.suppress(KeeperError, OSError, _journal.JournalError):
            why = due(keeper, resource)
        if why:
            yield resource, why


def _attempt(keeper: Keeper, resource: str, act: Callable[[], Mapping[str, Any]]) -> Dict[str, Any]:
    try:
        return dict(act())
    except (KeeperError, _journal.JournalError) as error:
        return {"proven": False, "error": str(error)}
    except OSError as error:
        # Most of all a full disk: the sweep would set this off again at every look.
        with contextlib.suppress(KeeperError, OSError), keeper.store.host_lock():
            lease = keeper.lease(resource)
            if lease.state in (_lease.RESTORING, _lease.PROVING):
                keeper.store.save(lease.next(retry=restore.next_try(keeper, lease)))
        return {"proven": False, "error": str(error)}
