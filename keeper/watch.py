"""Guarded files while they are borrowed: a third party that writes one is noticed then, not only at the restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _lease

from keeper import item_file, restore
from keeper.errors import KeeperError

if TYPE_CHECKING:
    from keeper.core import GuardedRun, Keeper


def watch(keeper: Keeper, resource: str) -> str:
    """Look whether a third party wrote a guarded file of a live lease: by policy arm it again, or end the borrow.

    It is armed again only when what stands there is the original: somebody put it back. Anything else ends the borrow, since
    it would have to be thrown away or mixed with ours; the restore then keeps both versions.

    Returns:
        Why the borrow ended, empty when it goes on.
    """
    with keeper.store.host_lock():
        lease = keeper.lease(resource)
        if lease.state != _lease.HELD or keeper.over(lease):
            return ""
        run = keeper.open_run(lease.run_id, resource)
        for path in dict.fromkeys(one.intent["path"] for one in run.dir.items() if one.kind == "file" and one.open):
            why = _judge(run, path)
            if why:
                restore.mark(keeper, resource, why)
                return why
    return ""


def _judge(run: GuardedRun, path: str) -> str:
    """Return why the borrow has to end because of one file, empty when it has not."""
    chain = item_file.chain(run, path)
    last = chain[-1]
    if last.done is None or last.intent.get("covered_by"):
        return ""  # being written now, or inside a directory of ours where the branch may do what it likes
    parent, name = _fsio.split(path)
    try:
        with _fsio.opened(run.keeper.store.files, parent) as directory:
            current, _content = item_file.look(run.fingerprints, directory, name, last.intent["canonical"])
            if item_file.same_view(current, last.intent["after"]):
                return ""
            back = item_file.same_view(current, chain[0].intent["before"])
            if back and last.intent.get("on_conflict") == item_file.REARM and last.intent.get("edit"):
                item_file.rearm(run, last, directory, name)
                return ""
    except (_fsio.FileError, OSError, KeeperError) as error:
        return f"{path} cannot be read any more while it is borrowed: {error}"
    return f"{path} was {'put back' if back else 'changed'} by somebody else while it was borrowed"
