"""Guarded files: the original is staged beside the file before anything changes, and comes back by one rename."""

from __future__ import annotations

import base64
import contextlib
import grp
import os
import pwd
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _edits, _fsio, _journal
from ansible_collections.benchkeeper.core.plugins.module_utils._fingerprint import Fingerprinter, canonical_bytes

from keeper import guards
from keeper.core import GuardedRun, Keeper, Request, check_path, fence_of, text
from keeper.errors import CONFLICT as REFUSED
from keeper.errors import FAILED as BROKEN
from keeper.errors import UNFIT, USAGE, KeeperError
from keeper.kinds import CONFLICT, PUT_BACK, UNDONE, Undo, Verdict, identity, moved

LIMIT = 4 * 1024 * 1024  # larger files are no configuration
END, REARM = "end", "rearm"  # what a third party's write does to a borrow, while it lasts
_ABSENT = {"exists": False}


def look(
    prints: Fingerprinter, directory: _fsio.Directory, name: str, canonical: List[str]
) -> Tuple[Dict[str, Any], Optional[_fsio.Content]]:
    """Return the fingerprints of a file and its contents; raises FileError when it is no readable regular file."""
    try:
        content = directory.read(name, LIMIT)
    except FileNotFoundError:
        return dict(_ABSENT), None
    return state(prints, f"{directory.path}/{name}", content, canonical), content


def state(prints: Fingerprinter, path: str, content: _fsio.Content, canonical: List[str]) -> Dict[str, Any]:
    """Return what is remembered of a file's contents: never the contents."""
    found: Dict[str, Any] = {
        "exists": True,
        "fp": prints.of(path, content.data),
        "mode": f"{content.mode:04o}",
        "uid": content.uid,
        "gid": content.gid,
        "size": len(content.data),
    }
    if canonical:
        try:
            view = canonical_bytes(_edits.read_json(content.data), canonical)
        except _edits.UnfitError:
            found["canonical_fp"] = None
        else:
            found["canonical_fp"] = prints.of(f"{path}#canonical", view)
    return found


def same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two looks show the same file, byte for byte, with mode and owner."""
    keys = ("exists", "fp", "mode", "uid", "gid")
    return all(one.get(key) == two.get(key) for key in keys)


def same_view(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two looks agree in the keys we own, where a canonical view was taken, else in everything."""
    if one.get("canonical_fp") and two.get("canonical_fp"):
        return bool(one["canonical_fp"] == two["canonical_fp"])
    return same(one, two)


def _wanted(request: Request, current: Optional[_fsio.Content], path: str) -> Optional[_fsio.Content]:
    """Return the file as the request wants it, None for removed."""
    asked = [key for key in ("edit", "content", "content_b64", "remove") if request.get(key) not in (None, False)]
    if len(asked) != 1:
        raise KeeperError(USAGE, f"a guarded file takes one of edit, content, content_b64, remove, not {asked}")
    if asked == ["remove"]:
        return None
    if asked == ["edit"]:
        if current is None:
            raise KeeperError(UNFIT, f"{path} does not exist, there is nothing to edit")
        try:
            data = _edits.apply(current.data, request["edit"])
        except _edits.EditError as error:
            raise KeeperError(USAGE, f"{path}: {error}") from error
        except _edits.UnfitError as error:
            raise KeeperError(UNFIT, f"{path} cannot be edited: {error}; nothing was written") from error
    elif asked == ["content"]:
        data = str(request["content"]).encode("utf-8")
    else:
        data = base64.b64decode(request["content_b64"], validate=True)
    mode = request.get("mode")
    return _fsio.Content(
        data,
        int(str(mode), 8) if mode is not None else (current.mode if current else 0o600),
        account(request.get("owner"), "owner", current.uid if current else os.geteuid()),
        account(request.get("group_owner"), "group_owner", current.gid if current else os.getegid()),
        None,
        current.xattrs if current else {},
    )


def account(name: Any, kind: str, default: int) -> int:
    """Return the number of an ``owner`` or ``group_owner`` by name. Raises KeeperError(usage)."""
    if name is None:
        return default
    try:
        return pwd.getpwnam(str(name)).pw_uid if kind == "owner" else grp.getgrnam(str(name)).gr_gid
    except KeyError as error:
        raise KeeperError(USAGE, f"there is no {kind} {name!r} on this machine") from error


def apply(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Change a file: ``{fence, item, group, path, edit | content | content_b64 | remove, mode, owner, canonical, dry}``.

    ``unit`` names the unit that reads it, which then does not start at a boot before the file is back. ``on_conflict`` says
    what happens when somebody else writes it meanwhile: ``end`` the borrow, or ``rearm`` an edit when the original was put back.

    Returns:
        ``{changed, already, fp_before, fp_after}``, and with ``dry`` what would be changed.
    """
    path = text(request, "path")
    parent, name = check_path(path)
    canonical = list(request.get("canonical") or [])
    if request.get("unit") is not None:
        guards.check_unit(request["unit"])
    if request.get("on_conflict") not in (None, END, REARM):
        raise KeeperError(USAGE, f"on_conflict is {END} or {REARM}")
    try:
        with keeper.guarded(fence_of(request)) as run, _fsio.opened(keeper.store.files, parent) as directory:
            return _apply(run, request, directory, name, canonical)
    except (_fsio.FileError, FileNotFoundError) as error:
        raise KeeperError(UNFIT, f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except OSError as error:
        raise KeeperError(BROKEN, f"{path}: {error.strerror}") from error


def _apply(run: GuardedRun, request: Request, directory: _fsio.Directory, name: str, canonical: List[str]) -> Dict[str, Any]:
    path = f"{directory.path.rstrip('/')}/{name}"
    before, current = look(run.fingerprints, directory, name, canonical)
    wanted = _wanted(request, current, path)
    after = dict(_ABSENT) if wanted is None else state(run.fingerprints, path, wanted, canonical)
    answer = {"changed": not same(before, after), "fp_before": before, "fp_after": after}
    if not answer["changed"] or request.get("dry"):
        return {**answer, "already": not answer["changed"]}
    earlier = first_of(run, path)
    if earlier is not None and not _known(run, path, before):
        raise KeeperError(REFUSED, f"{path} was changed by somebody else since item {earlier.name!r}; it is left alone")
    staged = earlier.intent["staged"] if earlier is not None else f".{name}.{run.tag}-{len(run.dir.journal().records) + 1}"
    tree = run.covering_tree(path)
    if earlier is None and tree is None:
        # Said before it is done, so that a hidden copy is found again even if its INTENT never came.
        run.note(_journal.STAGE, path=path, staged=staged, parent=identity(run, directory.stat()))
        if current is not None:
            _stage(directory, staged, current)
    if request.get("unit") and tree is None:
        guards.add(run.keeper.store.files, request["unit"])
    item = run.intent(
        {**request, "covered_by": tree.name} if tree is not None else request,
        "file",
        (f"file:{path}",),
        path=path,
        parent=identity(run, directory.stat()),
        canonical=canonical,
        staged=staged,
        first=None if earlier is None else earlier.seq,
        before=before,
        after=after,
        **_policy(request),
    )
    if wanted is None:
        directory.unlink(name)
        directory.sync()
    else:
        _fsio.replace(directory, name, wanted, f".{name}.{run.tag}-new")
    run.done(item)
    return {**answer, "already": False}


def _policy(request: Request) -> Dict[str, Any]:
    """Return what an INTENT says of how the file is watched; the edit only where it may have to be made again."""
    rearm = request.get("on_conflict") == REARM and request.get("edit")
    found = {"unit": request.get("unit"), "on_conflict": REARM if rearm else None, "edit": request["edit"] if rearm else None}
    return {key: value for key, value in found.items() if value}


def rearm(run: GuardedRun, item: _journal.Item, directory: _fsio.Directory, name: str) -> None:
    """Make an edit again on a file that somebody put back; journaled like the first time. Raises KeeperError."""
    intent = item.intent
    again = {"item": item.name, "group": item.group, "on_conflict": REARM}
    again.update({key: intent[key] for key in ("edit", "unit", "canonical") if key in intent})
    _apply(run, again, directory, name, list(intent["canonical"]))


def _stage(directory: _fsio.Directory, staged: str, content: _fsio.Content) -> None:
    """Keep the original as a complete hidden file on its own filesystem, durably."""
    directory.create(staged, content)
    directory.sync(staged)
    directory.sync()


def chain(run: GuardedRun, path: str) -> List[_journal.Item]:
    """Return the open items of a path, oldest first."""
    return [one for one in run.dir.items() if one.kind == "file" and one.open and one.intent["path"] == path]


def first_of(run: GuardedRun, path: str) -> Optional[_journal.Item]:
    """Return the open item that staged the original of a path."""
    return next(iter(chain(run, path)), None)


def _known(run: GuardedRun, path: str, current: Mapping[str, Any]) -> bool:
    """Whether a file is in a state that this run found or made."""
    return any(same_view(current, one.intent[key]) for one in chain(run, path) for key in ("before", "after"))


def undo(ask: Undo) -> Verdict:
    """Put a file back, judged by what is there now."""
    intent = ask.intent
    if intent.get("first") is not None:
        return Verdict(UNDONE, f"undone with item {intent['first']}, which holds the original")
    parent, name = _fsio.split(intent["path"])
    try:
        with _fsio.opened(ask.run.keeper.store.files, parent) as directory:
            return _undo(ask, directory, name)
    except (_fsio.FileError, FileNotFoundError) as error:
        return Verdict(CONFLICT, f"{intent['path']}: {getattr(error, 'strerror', None) or error}")


def _undo(ask: Undo, directory: _fsio.Directory, name: str) -> Verdict:
    intent = ask.intent
    why = moved(ask.run, intent["parent"], directory)
    if why:
        return Verdict(CONFLICT, why)
    current, _content = look(ask.run.fingerprints, directory, name, intent["canonical"])
    before = intent["before"]
    if same(current, before):
        directory.sync()  # an earlier restore may have been cut between its rename and this
        return Verdict(UNDONE)
    if before["exists"] and current.get("canonical_fp") and current["canonical_fp"] == before.get("canonical_fp"):
        afters = [one.intent["after"] for one in _chain_after(ask)]
        if not any(same_view(current, after) for after in afters):
            return Verdict(UNDONE, "the keys we changed are as before; the rest was changed by somebody else")
    if not any(same_view(current, one.intent["after"]) for one in _chain_after(ask)):
        return Verdict(CONFLICT, _both(ask, current))
    if not before["exists"]:
        directory.unlink(name)
        directory.sync()
        return Verdict(PUT_BACK, "removed; it did not exist before")
    return put_back(ask, directory, name)


def _chain_after(ask: Undo) -> List[_journal.Item]:
    """Return every item of the path in this run: the ones undone before us left their mark on it, too."""
    return [
        one
        for one in ask.run.dir.items()
        if one.kind == "file" and one.intent["path"] == ask.intent["path"] and one.seq >= ask.item.seq
    ]


def put_back(ask: Undo, directory: _fsio.Directory, name: str) -> Verdict:
    """Rename the staged original over the file, once it was seen to be the original."""
    intent = ask.intent
    gone = Verdict(CONFLICT, f"the staged original of {intent['path']} is gone or changed; the file is left alone")
    try:
        content = directory.read(intent["staged"], LIMIT)
    except FileNotFoundError:
        return gone
    if not same(state(ask.run.fingerprints, intent["path"], content, []), intent["before"]):
        return gone
    directory.rename(intent["staged"], name)
    directory.sync()
    return Verdict(PUT_BACK)


def _both(ask: Undo, current: Mapping[str, Any]) -> str:
    intent = ask.intent
    now = "does not exist" if not current["exists"] else "was changed by somebody else"
    parent, _name = _fsio.split(intent["path"])
    return (
        f"{intent['path']} {now} while it was borrowed; both versions are kept: the current one in place, "
        f"the original as {parent}/{intent['staged']}"
    )


def settle(ask: Undo, keep: str) -> Verdict:
    """Settle a conflict as a person decided: put the original in place, or leave the current file."""
    if keep == "current":
        return Verdict(UNDONE, "settled: the current file stays")
    parent, name = _fsio.split(ask.intent["path"])
    with _fsio.opened(ask.run.keeper.store.files, parent) as directory:
        if not ask.intent["before"]["exists"]:
            with contextlib.suppress(FileNotFoundError):
                directory.unlink(name)
            directory.sync()
            return Verdict(PUT_BACK, "settled: removed, it did not exist before")
        return put_back(ask, directory, name)


def clean(run: GuardedRun, record: _journal.Record) -> None:
    """Remove what a STAGE record says was put beside a file, after the proof."""
    parent, name = _fsio.split(record["path"])
    with contextlib.suppress(_fsio.FileError, FileNotFoundError), _fsio.opened(run.keeper.store.files, parent) as place:
        if moved(run, record["parent"], place):
            return
        for leftover in (record["staged"], f".{name}.{run.tag}-new"):
            with contextlib.suppress(FileNotFoundError):
                place.unlink(leftover)
        place.sync()
