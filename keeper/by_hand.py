"""What a person can do where the keeper does nothing: a record that it cannot trust, damaged or of another version.

Nothing of such a record is acted upon. Of what can be read it is only said where to look.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import LeaseError

from keeper.store import JOURNAL, KEY, RunDir

if TYPE_CHECKING:
    from keeper.store import Store

_LONGEST = 300  # characters of a path or command
_MOST = 200  # changes of a run


def needed(store: Store, resource: str) -> Optional[Dict[str, Any]]:
    """Return what to do by hand when a resource cannot be judged, None when the keeper can do it."""
    try:
        lease = store.lease(resource)
        if lease.state == _lease.FREE or not lease.run_id:
            return None
        run = store.run(lease.run_id, resource)
        run.journal()
        if run.exists(KEY):
            return None
    except (LeaseError, _journal.JournalError, FileNotFoundError, _fsio.FileError):
        pass
    return look(store, resource)


def look(store: Store, resource: str) -> Dict[str, Any]:
    """Return what can be read of the journals that are not closed, newest change first.

    Returns:
        ``{runs: [{run_id, folder, read, damaged, changes: [{seq, kind, item, look}]}]}``.
    """
    return {"resource": resource, "state": store.root, "runs": [_run(run) for run in store.open_runs(resource)]}


def _run(run: RunDir) -> Dict[str, Any]:
    try:
        raw = run.read(JOURNAL) or b""
    except (_fsio.FileError, OSError):
        raw = b""
    records, damaged = _journal.salvage(raw)
    undone = [one.get("ref") for one in records if one.get("type") in (_journal.UNDONE, _journal.SETTLED)]
    changes = [one for one in reversed(records) if one.get("type") == _journal.INTENT and one.get("seq") not in undone]
    return {
        "run_id": run.run_id,
        "folder": run.path,
        "read": len(records),
        "damaged": damaged,
        "changes": [
            {"seq": _word(one.get("seq")), "kind": _word(one.get("kind")), "item": _word(one.get("item")), "look": _look(one, run)}
            for one in changes[:_MOST]
        ],
    }


def _word(value: Any) -> str:
    """Return something of a record as one printable word of a shell: it may hold anything."""
    text = "".join(one if one.isprintable() else "?" for one in str(value))
    return shlex.quote(text[:_LONGEST])


def _words(value: Any) -> str:
    return " ".join(_word(one) for one in value)[:_LONGEST] if isinstance(value, list) else _word(value)


def _beside(path: Any, name: Any) -> str:
    return _word(f"{str(path).rpartition('/')[0]}/{name}")


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _look(record: Mapping[str, Any], run: RunDir) -> str:
    """Return in a sentence where to look for one change."""
    if record.get("covered_by"):
        return f"came with {_word(record['covered_by'])}, and goes with it"
    say = _SENTENCES.get(str(record.get("kind")))
    return "is of a kind that this keeper does not know" if say is None else say(record, _map(record.get("before")), run)


def _file(record: Mapping[str, Any], before: Mapping[str, Any], _run: RunDir) -> str:
    path = record.get("path")
    if before.get("exists") is False:
        return f"{_word(path)} did not exist before"
    return f"the original of {_word(path)} should be {_beside(path, record.get('staged'))}"


def _command(record: Mapping[str, Any], _before: Mapping[str, Any], run: RunDir) -> str:
    ran, undo = f"{_words(record.get('argv'))} was run", _map(record.get("undo"))
    if not undo:
        return f"{ran}; nothing undoes it"
    tags = f"; image tags of before: {_word(run.path)}/{_word(record['baseline'])}" if record.get("baseline") else ""
    place = _word(undo.get("live_dir") or undo.get("cwd") or "/")
    return f"{ran}; it is undone by {_words(undo.get('argv'))} in {place} as {_word(undo.get('user') or 'root')}{tags}"


_SENTENCES: Dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], RunDir], str]] = {
    "file": _file,
    "command": _command,
    "engine": _command,
    "service": lambda one, before, _: f"{_word(one.get('unit'))} was {_word(before.get('active'))}, {_word(before.get('enabled'))}",
    "call": lambda one, before, _: f"container {_word(one.get('container'))} was {_word(before.get('state'))}",
    "tree": lambda one, _before, _: f"directory {_word(one.get('path'))} was not there before",
    "created": lambda one, _before, _: f"{_word(one.get('name') or one.get('pattern'))} in {_word(one.get('dir'))} was made",
}
