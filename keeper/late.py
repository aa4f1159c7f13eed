"""Late writes: somebody writes a guarded file after it was put back. Nothing fences tasks that are not ours, so it is only told.

What a run left that did not ask for its own restore is looked at for as long as its lease lasted between two signs of life. The
run's key stays until then: it is what files are compared with, and what makes the machine's init start the sweep.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Dict, List

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal

from keeper import item_file
from keeper.core import TTL_DEFAULT
from keeper.errors import KeeperError
from keeper.store import CLOSED, KEY, RunDir, Store

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease

    from keeper.core import GuardedRun, Keeper

LATE = "late.json"
LONGEST = TTL_DEFAULT  # seconds; a lease may last for days, a task that was lost does not


def begin(run: GuardedRun, lease: Lease) -> None:
    """Begin to watch the files of a run that are back now; once begun it is not begun again."""
    paths = list(_put_back(run))
    if not paths or run.dir.exists(LATE):
        return
    now, boot = run.keeper.clock.boottime(), run.keeper.clock.boot()
    until = now + min(lease.ttl, LONGEST)
    document = {"since": now, "until": until, "boot": [boot.boot_id, boot.init_start], "paths": paths, "writes": []}
    with contextlib.suppress(OSError):  # without space nobody watches; that is no reason to keep the machine
        run.dir.write(LATE, document)


def _put_back(run: GuardedRun) -> Dict[str, _journal.Item]:
    """Return the items that hold the originals of files that are as before, by path."""
    found: Dict[str, _journal.Item] = {}
    for item in run.dir.items():
        if item.kind != "file" or item.undone is None or item.intent.get("covered_by") or item.intent["first"] is not None:
            continue
        if item.undone.get("keep") != "current":  # a person said that it may stay
            found.setdefault(item.intent["path"], item)
    return found


def watched(store: Store, resource: str) -> List[RunDir]:
    """Return the runs whose files are still looked at."""
    return [run for run in store.runs(resource) if run.exists(KEY) and run.exists(LATE)]


def lasts(keeper: Keeper, run: RunDir) -> bool:
    """Whether the watch over a run's files goes on; a boot ends it."""
    document = run.load(LATE) or {}
    boot = keeper.clock.boot()
    same = document.get("boot") == [boot.boot_id, boot.init_start]
    return bool(same and document["paths"] and keeper.clock.boottime() < float(document["until"]))


def look(keeper: Keeper, resource: str) -> None:
    """Look once at what runs left, write down what was written since, and end what lasted long enough. Host lock held."""
    for run in watched(keeper.store, resource):
        over = not lasts(keeper, run)
        closed = run.exists(CLOSED)
        if closed or not over:
            with contextlib.suppress(KeeperError, OSError):  # what cannot be read, or written down, is not watched
                _compare(keeper.open_run(run.run_id, resource))
        if closed and over:
            run.remove(KEY)


def _compare(run: GuardedRun) -> None:
    document = run.dir.load(LATE) or {"paths": []}
    clock = run.keeper.clock
    items = _put_back(run)
    left: List[str] = []
    for path in (one for one in document["paths"] if one in items):
        what = _changed(run, items[path])
        if not what:
            left.append(path)
        elif not _lent_since(run, path, document["since"]):
            after = round(clock.boottime() - document["since"], 1)
            document["writes"].append({"path": path, "what": what, "at": clock.wall(), "after": after})
    if left != document["paths"]:
        run.dir.write(LATE, {**document, "paths": left})


def _changed(run: GuardedRun, item: _journal.Item) -> str:
    """Return what happened to a file since it was put back, or nothing."""
    before = item.intent["before"]
    parent, name = _fsio.split(item.intent["path"])
    try:
        with _fsio.opened(run.keeper.store.files, parent) as directory:
            current, _content = item_file.look(run.fingerprints, directory, name, item.intent["canonical"])
    except FileNotFoundError:  # its directory
        current = {"exists": False}
    except (_fsio.FileError, OSError):
        return "cannot be read any more"
    if item_file.same_view(current, before):
        return ""
    if not current["exists"]:
        return "was removed"
    return "was written" if before["exists"] else "was made"


def _lent_since(run: GuardedRun, path: str, since: float) -> bool:
    """Whether a later run guards a file, or did: then it is that run's, and no longer ours to watch."""
    store = run.keeper.store
    for resource in store.resources():
        for other in store.runs(resource):
            with contextlib.suppress(_journal.JournalError, OSError):
                for item in other.items() if other.path != run.dir.path else ():
                    if item.kind == "file" and item.intent["path"] == path and float(item.intent["boottime"]) >= since:
                        return True
    return False


def writes(keeper: Keeper, resource: str, since: float) -> List[Dict[str, Any]]:
    """Return the late writes that were seen since a moment (seconds since the epoch): ``{run_id, path, what, at, after}``."""
    return [
        {"run_id": run.run_id, **one}
        for run in keeper.store.runs(resource)
        for one in (run.load(LATE) or {}).get("writes", ())
        if one["at"] > since
    ]


def watched_for(keeper: Keeper, resource: str) -> float:
    """Return for how many seconds something of a resource is still watched; 0 when nothing is."""
    found = [run.load(LATE) or {} for run in watched(keeper.store, resource) if lasts(keeper, run)]
    return max([round(float(one["until"]) - keeper.clock.boottime(), 1) for one in found] or [0.0])
