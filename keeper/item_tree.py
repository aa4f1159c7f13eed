"""Directories of ours: what a run makes on a machine and takes away again."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio

from keeper.core import GuardedRun, Keeper, Request, check_path, fence_of, text
from keeper.errors import CONFLICT as REFUSED
from keeper.errors import UNFIT, KeeperError
from keeper.item_file import account
from keeper.kinds import CONFLICT, FAILED, PUT_BACK, UNDONE, Undo, Verdict, identity, moved, same_identity

MARKER = ".benchkeeper.json"
_MARKER_LIMIT = 4096
_DEPTH = 200  # levels of a tree that is removed; deeper ones are made to hurt


def make(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Create a directory with a marker: ``{fence, item, group, path, owner, group_owner, mode, stack, owner_id, dry}``.

    Returns:
        ``{changed, already}``.
    """
    parent, name = check_path(text(request, "path"))
    path = f"{parent.rstrip('/')}/{name}"
    try:
        with keeper.guarded(fence_of(request)) as run, _fsio.opened(keeper.store.files, parent) as directory:
            return _make(run, request, directory, name, path)
    except (_fsio.FileError, FileNotFoundError) as error:
        raise KeeperError(UNFIT, f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _make(run: GuardedRun, request: Request, directory: _fsio.Directory, name: str, path: str) -> Dict[str, Any]:
    found = directory.stat(name)
    earlier = next((one for one in run.dir.items() if one.kind == "tree" and one.open and one.intent["path"] == path), None)
    if earlier is not None and earlier.done is not None and found is not None and found.ino == earlier.done["made"]["ino"]:
        return {"changed": False, "already": True}
    if found is not None and earlier is None:
        raise KeeperError(REFUSED, f"{path} exists and is not ours; nothing was changed")
    if request.get("dry"):
        return {"changed": True, "already": False}
    marker = {
        "owner": str(request.get("owner_id") or ""),
        "stack": str(request.get("stack") or ""),
        "run": run.dir.run_id,
    }
    item = earlier
    if item is None:
        item = run.intent(request, "tree", (f"tree:{path}",), path=path, parent=identity(run, directory.stat()), marker=marker)
    uid = account(request.get("owner"), "owner", os.geteuid())
    gid = account(request.get("group_owner"), "group_owner", os.getegid())
    if found is None:
        directory.mkdir(name, 0o700, os.geteuid(), os.getegid())
    below = directory.child(name)
    try:
        if below.stat(MARKER) is None:
            below.create(MARKER, _fsio.Content(_spell(marker), 0o644, uid, gid))
        below.sync(MARKER)
        below.sync()
        made = below.stat()
    finally:
        below.close()
    directory.own(name, int(str(request.get("mode") or "0755"), 8), uid, gid)
    directory.sync()
    run.done(item, made=identity(run, made))
    return {"changed": True, "already": False}


def undo(ask: Undo) -> Verdict:
    """Remove a directory of ours, recognised by its inode, or by its marker where the inode was not recorded."""
    parent, name = _fsio.split(ask.intent["path"])
    try:
        with _fsio.opened(ask.run.keeper.store.files, parent) as directory:
            return _undo(ask, directory, name)
    except FileNotFoundError:
        return Verdict(UNDONE, "its parent directory is gone")
    except _fsio.FileError as error:
        return Verdict(CONFLICT, str(error))
    except OSError as error:
        return Verdict(FAILED, f"{ask.intent['path']}: {error.strerror}")


def _undo(ask: Undo, directory: _fsio.Directory, name: str) -> Verdict:
    path = ask.intent["path"]
    found = directory.stat(name)
    if found is None:
        directory.sync()
        return Verdict(UNDONE)
    why = moved(ask.run, ask.intent["parent"], directory)
    if why:
        return Verdict(CONFLICT, why)
    if found.kind != "dir":
        return Verdict(CONFLICT, f"{path} is no directory any more; it is left alone")
    below = directory.child(name)
    try:
        marker = _marker(below)
        made = {**(ask.item.done or {}).get("made", {}), "uid": found.uid}  # its owner was given to it, and is not ours to judge
        known = same_identity(made, identity(ask.run, found))
        if marker is not None and marker != ask.intent["marker"]:
            return Verdict(CONFLICT, f"{path} carries somebody else's marker; it is left alone")
        if not known and marker is None and not _just_made(below, ask.intent["marker"]):
            return Verdict(CONFLICT, f"{path} is not the directory that this run made; it is left alone")
        empty(below, found.dev, keep_last=MARKER)
    finally:
        below.close()
    directory.rmdir(name)
    directory.sync()
    return Verdict(PUT_BACK)


def _just_made(directory: _fsio.Directory, marker: Mapping[str, Any]) -> bool:
    """Whether a directory is empty but for a marker of ours that was being written when the power went."""
    if set(directory.names()) - {MARKER}:
        return False
    try:
        raw = directory.read(MARKER, _MARKER_LIMIT).data
    except FileNotFoundError:
        return True
    except _fsio.FileError:
        return False
    return _spell(marker).startswith(raw)


def _spell(marker: Mapping[str, Any]) -> bytes:
    return json.dumps(marker, sort_keys=True).encode("ascii")


def _marker(directory: _fsio.Directory) -> Optional[Mapping[str, Any]]:
    try:
        found = json.loads(directory.read(MARKER, _MARKER_LIMIT).data)
    except (FileNotFoundError, _fsio.FileError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def empty(directory: _fsio.Directory, device: int, keep_last: str = "", depth: int = 0) -> None:
    """Remove everything in a directory, following no link and entering no other filesystem.

    Raises:
        OSError: When something cannot be removed.
        FileError: When something is mounted inside, or the tree is absurdly deep.
    """
    if depth > _DEPTH:
        raise _fsio.FileError(f"{directory.path} is nested too deeply to be removed")
    # The marker goes last: a removal that is cut short must still find what it may remove.
    for name in sorted(directory.names(), key=lambda one: one == keep_last):
        found = directory.stat(name)
        if found is None:
            continue
        if found.dev != device:
            raise _fsio.FileError(f"{directory.path}/{name} is a mount; it is left alone")
        if found.kind != "dir":
            directory.unlink(name)
            continue
        below = directory.child(name)
        try:
            empty(below, device, depth=depth + 1)
        finally:
            below.close()
        directory.rmdir(name)
