"""Boot stage 1: files and enablement are back before the units that read them start. It starts nothing but holders of locks.

Containers, live proofs and everything else are stage 2: the sweep's, once the machine is up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Mapping

from ansible_collections.benchkeeper.core.plugins.module_utils import _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Deadline, Lease

from keeper import restore, sweep
from keeper.errors import KeeperError

if TYPE_CHECKING:
    from keeper.core import GuardedRun, Keeper

EARLY = ("file",)


def boot(keeper: Keeper) -> List[str]:
    """Put back what can be put back this early; return what failed, a line each. Doing it again in the same boot does nothing."""
    return [line for resource in keeper.store.resources() for line in _safely(keeper, resource)]


def _safely(keeper: Keeper, resource: str) -> List[str]:
    try:
        return _one(keeper, resource)
    except (KeeperError, OSError, _journal.JournalError) as error:
        return [f"{resource}: {error}"]


def _one(keeper: Keeper, resource: str) -> List[str]:
    with keeper.store.host_lock():
        lease = keeper.lease(resource)
        here = keeper.clock.boot()
        if lease.state == _lease.HELD:
            if lease.deadline is not None and lease.deadline.boot == here:
                return []
            if sweep.reboot_expected(keeper, lease):
                go_on(keeper, lease)
                return []
            lease = restore.mark(keeper, resource, sweep.STARTED_ANEW)
        elif lease.state == _lease.FREE:
            if not restore.left_open(keeper, resource):
                return []
            lease = restore.mark(keeper, resource, "its run left changes behind although the lease is free")
        run = keeper.open_run(lease.run_id, resource)
    if lease.lock:
        keeper.triggers.lock(resource, on=True, wait=False)  # its unit may have to wait for what waits for us
    with keeper.store.restore_lock(resource, sweep.GRACE):
        return _early(run, lease)


def go_on(keeper: Keeper, lease: Lease) -> Lease:
    """Carry a lease over an announced boot: its nonce and token stay good until the announced time. Host lock held."""
    assert lease.expect_reboot is not None  # noqa: S101 - the caller asked
    clock = keeper.clock
    left = float(lease.expect_reboot["until"]) - clock.wall()
    here = clock.boot()
    deadline = Deadline(clock.wall() + left, clock.boottime() + left, here)
    boot_of = {"boot_id": here.boot_id, "init_start": here.init_start}
    return keeper.store.save(lease.next(hold=None, deadline=deadline, expect_reboot={**lease.expect_reboot, "boot": boot_of}))


def _early(run: GuardedRun, lease: Lease) -> List[str]:
    """Undo, group by group and newest first, files as long as nothing else comes before them; enablement as well."""
    failed: List[str] = []
    for _group, items in _journal.undo_order(run.dir.items()):
        for item in items:
            if item.kind == "service":
                _enable(run.keeper, item.intent)
                break
            if item.kind not in EARLY and not item.intent.get("covered_by"):
                break
            if item.kind in EARLY:
                verdict = restore.undo_one(run, lease.token, item)
                if not verdict.settled:
                    failed.append(f"{lease.resource}: {item.name}: {verdict.why}")
                    break
    return failed


def _enable(keeper: Keeper, intent: Mapping[str, Any]) -> None:
    """Give a unit the enablement back that it had; whether it runs is stage 2's."""
    unit = str(intent["unit"])
    wanted = intent["before"].get("enabled")
    if wanted in ("enabled", "disabled") and keeper.services.look(unit).get("enabled") != wanted:
        keeper.services.act("enable" if wanted == "enabled" else "disable", unit)
