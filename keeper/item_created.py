"""Files that a command of the run creates where we do not tell it to: owned by name, or by what is new of a pattern."""

from __future__ import annotations

import fnmatch
import os
from typing import Any, Dict, List, Set, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal

from keeper.core import GuardedRun, Keeper, Request, check_path, fence_of, text
from keeper.errors import CONFLICT as REFUSED
from keeper.errors import UNFIT, USAGE, KeeperError
from keeper.kinds import CONFLICT, PUT_BACK, UNDONE, Undo, Verdict, identity, moved
from keeper.units import STOP_GRACE


def declare(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Own what a command will create: ``{fence, item, group, path}`` or ``{fence, item, group, dir, pattern, by}``.

    A path may exist already, when the command was ours. Of a pattern only what comes while the command named ``by`` is
    running becomes ours; without ``by`` it is the next guarded command of the group.

    Returns:
        ``{changed, dir, pattern}``: never changed, nothing is touched before the undo.
    """
    if request.get("path"):
        parent, name = check_path(text(request, "path"))
        pattern = ""
    else:
        check_path(text(request, "dir"))
        parent, name, pattern = text(request, "dir"), "", text(request, "pattern")
        if "/" in pattern:
            raise KeeperError(USAGE, f"pattern is one of names, not of paths: {pattern!r}")
    by = text(request, "by") if pattern and request.get("by") is not None else None
    try:
        with keeper.guarded(fence_of(request)) as run, _fsio.opened(keeper.store.files, parent) as directory:
            found = directory.stat(name) if name else None
            if found is not None and found.kind != "file":
                raise KeeperError(REFUSED, f"{parent}/{name} exists and is no regular file")
            item = run.intent(
                request,
                "created",
                (f"file:{parent.rstrip('/')}/{name or pattern}",),
                dir=parent,
                name=name,
                pattern=pattern,
                by=by,
                parent=identity(run, directory.stat()),
                ino=None if found is None else found.ino,
                before=_matching(directory, pattern),
            )
            run.done(item)
    except (_fsio.FileError, FileNotFoundError) as error:
        raise KeeperError(UNFIT, f"{parent}: {getattr(error, 'strerror', None) or error}") from error
    return {"changed": False, "dir": parent, "pattern": pattern or name}


def _matching(directory: _fsio.Directory, pattern: str) -> List[str]:
    return [name for name in directory.names() if fnmatch.fnmatchcase(name, pattern)] if pattern else []


def watched(run: GuardedRun, request: Request) -> Dict[str, Any]:
    """Return the patterns that a command which starts now makes files of, by the number of their items.

    That is the command that the item names in ``by``; else the first one after it in its group, or its next try when
    that was lost. Whatever comes at other times, or while other commands run, is somebody else's.
    """
    items = run.dir.items()
    found: Dict[str, Any] = {}
    for item in items:
        if item.kind != "created" or not item.open or not item.intent["pattern"]:
            continue
        by = item.intent.get("by")
        before = [one for one in items if one.seq > item.seq and one.kind in ("command", "engine")]
        if by is None:
            same = (request.get("group") or "default") == item.group
            tries = [one for one in before if one.group == item.group]
        else:
            same = request.get("item") == by
            tries = [one for one in before if one.name == by]
        if same and all(one.name == request.get("item") and one.done is None for one in tries):
            names = sorted({*item.intent["before"], *_now(run, item)})
            found[str(item.seq)] = {"dir": item.intent["dir"], "pattern": item.intent["pattern"], "before": names}
    return found


def _now(run: GuardedRun, item: _journal.Item) -> Set[str]:
    try:
        with _fsio.opened(run.keeper.store.files, item.intent["dir"]) as directory:
            return set(_matching(directory, item.intent["pattern"]))
    except (FileNotFoundError, _fsio.FileError):
        return set()


def _owned(ask: Undo, directory: _fsio.Directory) -> Tuple[Set[str], Set[str]]:
    """Return the names that are ours, and those of which nobody can tell."""
    if ask.intent["name"]:
        return {ask.intent["name"]}, set()
    ours: Set[str] = set()
    unsure: Set[str] = set()
    seq = str(ask.item.seq)
    for item in ask.run.dir.items():
        recorded = ((item.done or {}).get("files") or {}).get(seq)
        if recorded is None and seq in item.intent.get("creates", ()):
            recorded = (ask.run.dir.load(f"{item.intent['stem']}.seen") or {}).get(seq)
            if recorded is None:  # no one saw its end: killed, or the power was cut
                sure, perhaps = _cut(ask, directory, item, seq)
                ours |= sure
                unsure |= perhaps
        ours.update(recorded or ())
    return ours, unsure - ours


def _cut(ask: Undo, directory: _fsio.Directory, item: _journal.Item, seq: str) -> Tuple[Set[str], Set[str]]:
    """Judge what is new by its time: a command without an end ran until this boot, if it began in another."""
    clock = ask.run.keeper.clock
    watch = (ask.run.dir.load(f"{item.intent['stem']}.json") or {}).get("watch") or {}
    before = set((watch.get(seq) or ask.intent)["before"])
    began = item.intent["at"] - 1.0
    same_boot = ask.intent["parent"].get("boot") == identity(ask.run, None)["boot"]
    booted = clock.wall() - clock.boottime() + clock.boot().init_start / os.sysconf("SC_CLK_TCK")
    until = item.intent["at"] + item.intent["timeout"] + 2 * STOP_GRACE if same_boot else booted
    found: Set[str] = set()
    for name in set(_matching(directory, ask.intent["pattern"])) - before:
        stat = directory.stat(name)
        if stat is not None and began <= stat.mtime_ns / 1e9 <= until:
            found.add(name)
    return (set(), found) if same_boot else (found, set())


def undo(ask: Undo) -> Verdict:
    """Remove the files."""
    removed = []
    try:
        with _fsio.opened(ask.run.keeper.store.files, ask.intent["dir"]) as directory:
            ours, unsure = _owned(ask, directory)
            names = [name for name in sorted(ours) if directory.stat(name) is not None]
            why = moved(ask.run, ask.intent["parent"], directory) if names else ""
            if unsure and not why:
                why = f"nobody saw the command end that makes such files; whose {', '.join(sorted(unsure))} is cannot be told"
            for name in names:
                found = directory.stat(name)
                if found is not None and (found.kind != "file" or ask.intent["ino"] not in (None, found.ino)):
                    why = f"{ask.intent['dir']}/{name} is another file than the one of this run; it is left alone"
            if why:
                return Verdict(CONFLICT, why)
            for name in names:
                directory.unlink(name)
                removed.append(name)
            directory.sync()
    except FileNotFoundError:
        return Verdict(UNDONE, "its directory is gone")
    except _fsio.FileError as error:
        return Verdict(CONFLICT, str(error))
    return Verdict(PUT_BACK, f"removed {', '.join(removed)}") if removed else Verdict(UNDONE)
