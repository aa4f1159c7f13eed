"""Files that a command of the run creates where we do not tell it to: owned by name, or by what is new of a pattern."""

from __future__ import annotations

import fnmatch
from typing import Any, Dict, List, Set

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal

from keeper.core import GuardedRun, Keeper, Request, check_path, fence_of, text
from keeper.errors import CONFLICT as REFUSED
from keeper.errors import UNFIT, USAGE, KeeperError
from keeper.kinds import CONFLICT, PUT_BACK, UNDONE, Undo, Verdict, identity, moved


def declare(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Own what a command will create: ``{fence, item, group, path}`` or ``{fence, item, group, dir, pattern}``.

    A path may exist already, when the command was ours. Of a pattern only what is new while a command of the run is running
    becomes ours.

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


def made(run: GuardedRun) -> Dict[str, List[str]]:
    """Return what is new of each open pattern now, by the number of its item: a command that ends owns it."""
    found: Dict[str, List[str]] = {}
    for item in run.dir.items():
        if item.kind == "created" and item.open and item.intent["pattern"]:
            new = sorted(_new(run, item))
            if new:
                found[str(item.seq)] = new
    return found


def _new(run: GuardedRun, item: _journal.Item) -> Set[str]:
    try:
        with _fsio.opened(run.keeper.store.files, item.intent["dir"]) as directory:
            return set(_matching(directory, item.intent["pattern"])) - set(item.intent["before"])
    except (FileNotFoundError, _fsio.FileError):
        return set()


def _owned(ask: Undo) -> Set[str]:
    """Return the names that are ours: recorded by commands that ended; all new ones when a command was lost."""
    if ask.intent["name"]:
        return {ask.intent["name"]}
    names: Set[str] = set()
    for item in ask.run.dir.items():
        if item.kind in ("command", "engine"):
            if item.done is None:
                return _new(ask.run, ask.item)
            names.update((item.done.get("files") or {}).get(str(ask.item.seq), ()))
    return names


def undo(ask: Undo) -> Verdict:
    """Remove the files."""
    removed = []
    try:
        with _fsio.opened(ask.run.keeper.store.files, ask.intent["dir"]) as directory:
            names = [name for name in sorted(_owned(ask)) if directory.stat(name) is not None]
            why = moved(ask.run, ask.intent["parent"], directory) if names else ""
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
