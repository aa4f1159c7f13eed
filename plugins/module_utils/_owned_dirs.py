"""State directories: one for each start, with a marker that says whose it is, and removed by what the marker says.

The path is the same for whoever looks (the host, a container that it is mounted in, a container that this one starts), so it can be
handed to the engine as it is. A copy of such a directory carries a copy of the marker; the marker therefore names the path it was
made at, and what stands anywhere else is not ours.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import DIRECTORY, Ownership

MARKER = ".benchkeeper.json"
"""As the keeper calls it; a directory of the keeper's names no path, and is the journal's to remove."""
_LIMIT = 4096
_DEPTH = 200  # levels; a deeper tree is made to hurt
_TOKEN = re.compile(r"[0-9a-f]{16,64}")

Mounts = Callable[[], List[str]]


@dataclass(frozen=True)
class Found:
    """A directory that says it is ours. ``why`` tells what speaks against it; empty when nothing does."""

    path: str
    dev: int
    ino: int
    why: str = ""

    def told(self, why: str = "") -> Dict[str, str]:
        """Return it as results tell it."""
        entry = {"kind": DIRECTORY, "id": self.path, "name": self.path}
        return {**entry, "why": why} if why else entry


def mounts(path: str = "/proc/self/mountinfo") -> List[str]:
    """Return where something is mounted on this host; a bind mount of the same filesystem is told by nothing else."""
    found = []
    for line in Path(path).read_text("utf-8", errors="surrogateescape").splitlines():
        words = line.split(" ")
        if len(words) > 4:
            found.append(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4]))
    return found


def prefix(own: Ownership) -> str:
    """Return how the names of a run's state directories begin."""
    return f"benchkeeper-{own.run}-"


def make(files: _fsio.Files, parent: str, own: Ownership, token: str, owner: Tuple[int, int]) -> str:
    """Make a state directory of mode 0700 and return its path.

    Args:
        files: Where directories are opened.
        parent: An absolute directory that exists.
        own: Whose it is.
        token: 16 to 64 hex digits that no other start has.
        owner: Its uid and gid.

    Raises:
        FileExistsError: When this start made one already.
        FileError, FileNotFoundError: When the parent cannot be used.
    """
    if not _TOKEN.fullmatch(token):
        raise _fsio.FileError(f"a token of hex digits is wanted, not {token!r}")
    name = f"{prefix(own)}{token}"
    path = f"{parent.rstrip('/')}/{name}"
    _fsio.split(path)
    with _fsio.opened(files, parent) as directory:
        directory.mkdir(name, 0o700, *owner)
        below = directory.child(name)
        try:
            below.create(MARKER, _fsio.Content(_spell({**own.marker(), "path": path}), 0o644, *owner))
            below.sync(MARKER)
            below.sync()
        finally:
            below.close()
        directory.sync()
    return path


def ensure(files: _fsio.Files, parent: str, own: Ownership, token: str, owner: Optional[Tuple[int, int]]) -> Tuple[str, bool]:
    """Return the state directory of a start, and whether it had to be made; without an owner nothing is made (a dry run).

    Raises:
        FileError: When something else stands there, or the parent cannot be used.
    """
    path = f"{parent.rstrip('/')}/{prefix(own)}{token}"
    for one in find(files, [parent], own):
        if one.path == path and not one.why:
            return path, False
    if owner is None:
        return path, True
    try:
        return make(files, parent, own, token, owner), True
    except FileExistsError as error:
        raise _fsio.FileError(f"{path} exists and is not this run's") from error


def find(files: _fsio.Files, roots: Iterable[str], own: Ownership) -> List[Found]:
    """Return the run's directories right below some roots; a root that is not there holds none."""
    found: List[Found] = []
    for root in dict.fromkeys(roots):
        with contextlib.suppress(FileNotFoundError), _fsio.opened(files, root) as directory:
            found += [one for name in directory.names() for one in _judge(directory, root, name, own)]
    return found


def _judge(directory: _fsio.Directory, root: str, name: str, own: Ownership) -> List[Found]:
    path = f"{root.rstrip('/')}/{name}"
    try:
        stat = directory.stat(name)
        if stat is None or stat.kind != "dir":
            return []
        below = directory.child(name)
        try:
            marker = _read(below)
            bare = marker is None and _named(name, own) and not set(below.names()) - {MARKER}
        finally:
            below.close()
    except (OSError, _fsio.FileError):  # somebody else's, or on its way out
        return []
    if own.marked(marker):
        # The keeper's own directories say no path: its journal removes them.
        said = (marker or {}).get("path")
        why = "" if said == path else f"its marker was made for {said}" if said else "it belongs to a keeper's journal"
        return [Found(path, stat.dev, stat.ino, why)]
    # Made and not yet marked when its maker was killed: nothing is in it, and its name holds the run.
    return [Found(path, stat.dev, stat.ino)] if bare else []


def _named(name: str, own: Ownership) -> bool:
    return name.startswith(prefix(own)) and bool(_TOKEN.fullmatch(name[len(prefix(own)) :]))


def remove(files: _fsio.Files, one: Found, own: Ownership, mounted: Mounts = mounts) -> str:
    """Remove one directory, judged again just before; return why it was spared, empty when it is gone.

    Raises:
        OSError: When something in it cannot be removed.
        FileError: When something is mounted in it, or it is absurdly deep.
    """
    parent, name = _fsio.split(one.path)
    try:
        with _fsio.opened(files, parent) as directory:
            now = _judge(directory, parent, name, own)
            if not now:
                return "" if directory.stat(name) is None else "its marker changed since it was found"
            if now[0] != one:
                return "another directory stands there since it was found"
            inside = [place for place in mounted() if place == one.path or place.startswith(f"{one.path}/")]
            if inside:
                raise _fsio.FileError(f"something is mounted at {inside[0]}")
            below = directory.child(name)
            try:
                _clear(below, one.dev)
            finally:
                below.close()
            directory.rmdir(name)
            directory.sync()
    except FileNotFoundError:
        return ""
    return ""


def _clear(directory: _fsio.Directory, device: int, depth: int = 0) -> None:
    """Remove what is in a directory: no link is followed, no other filesystem entered, the marker goes last."""
    if depth > _DEPTH:
        raise _fsio.FileError(f"{directory.path} is deeper than {_DEPTH} levels")
    for name in sorted(directory.names(), key=lambda each: (each == MARKER and depth == 0, each)):
        stat = directory.stat(name)
        if stat is None:
            continue
        if stat.kind != "dir":
            directory.unlink(name)
            continue
        if stat.dev != device:
            raise _fsio.FileError(f"{directory.path}/{name} is another filesystem")
        below = directory.child(name)
        try:
            _clear(below, device, depth + 1)
        finally:
            below.close()
        directory.rmdir(name)


def _spell(marker: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(marker), sort_keys=True).encode("ascii")


def _read(directory: _fsio.Directory) -> Optional[Mapping[str, Any]]:
    try:
        found = json.loads(directory.read(MARKER, _LIMIT).data)
    except (FileNotFoundError, _fsio.FileError, ValueError):
        return None
    return found if isinstance(found, dict) else None
