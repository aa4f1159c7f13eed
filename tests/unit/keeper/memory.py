"""A filesystem in memory that loses what was not synced: data and changes of directories, each on its own.

A rename happens or does not happen, as every filesystem with a journal promises; but of several changes of a directory any may
be lost, the earlier as well as the later ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import Content, Stat

if TYPE_CHECKING:
    import random


class Crash(BaseException):
    """The process or the machine died here. Not an Exception: nothing may catch it."""


class Node:
    """A file or directory, as it is and as it would be found after a power cut."""

    numbers = itertools.count(1)

    def __init__(self, kind: str, content: Content) -> None:
        self.kind = kind
        self.ino = next(self.numbers)
        self.content = content
        self.durable: Optional[Content] = None
        self.entries: Dict[str, Node] = {}
        self.durable_entries: Dict[str, Node] = {}
        self.unsynced: List[Tuple[str, str, Node]] = []  # changes of a directory: (name removed, name added, what it is)

    def change(self, removed: str, added: str, child: Node) -> None:
        """Change the entries of a directory, not durably."""
        if removed:
            del self.entries[removed]
        if added:
            self.entries[added] = child
        self.unsynced.append((removed, added, child))


def _nothing(what: str) -> None:
    pass


class MemoryFiles:
    """One filesystem. ``step`` is called before each change and may raise Crash."""

    def __init__(self) -> None:
        self.root = Node("dir", Content(b"", 0o755, 0, 0))
        self.step: Callable[[str], None] = _nothing
        self.full = False

    def open(self, path: str) -> MemoryDirectory:
        directory = MemoryDirectory(self, self.root, "/")
        for part in [one for one in path.split("/") if one]:
            directory = directory.child(part)
        return directory

    def power_cut(self, dice: random.Random) -> None:
        """Lose, of what was not synced, whatever the dice say."""
        self._cut(self.root, dice)

    def _cut(self, node: Node, dice: random.Random) -> None:
        if node.kind == "file":
            old = node.durable or Content(b"", node.content.mode, node.content.uid, node.content.gid)
            if old != node.content and dice.random() < 0.5:
                node.content = old
            node.durable = node.content
            return
        kept = dict(node.durable_entries)
        for removed, added, child in node.unsynced:
            if dice.random() < 0.5:
                continue
            if removed and kept.get(removed) in (child, None):
                kept.pop(removed, None)
            if added:
                kept[added] = child
        node.unsynced = []
        node.entries = dict(kept)
        node.durable_entries = dict(kept)
        for below in kept.values():
            self._cut(below, dice)

    # For the tests themselves

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        parent, name = _fsio.split(path)
        node = self._make(parent)
        node.entries[name] = Node("file", Content(data, mode, 0, 0))
        node.entries[name].durable = node.entries[name].content
        node.durable_entries[name] = node.entries[name]

    def _make(self, path: str) -> Node:
        node = self.root
        for part in [one for one in path.split("/") if one]:
            if part not in node.entries:
                node.entries[part] = Node("dir", Content(b"", 0o755, 0, 0))
            node.durable_entries[part] = node.entries[part]
            node = node.entries[part]
        return node

    def tree(self, path: str) -> Dict[str, bytes]:
        """Return every file below a path with its bytes, empty directories as ``name/``."""
        found: Dict[str, bytes] = {}

        def walk(node: Node, prefix: str) -> None:
            for name, below in node.entries.items():
                if below.kind == "file":
                    found[f"{prefix}{name}"] = below.content.data
                else:
                    if not below.entries:
                        found[f"{prefix}{name}/"] = b""
                    walk(below, f"{prefix}{name}/")

        walk(self._make(path), "")
        return found


class MemoryDirectory:
    def __init__(self, files: MemoryFiles, node: Node, path: str) -> None:
        self.files = files
        self.node = node
        self.path = path

    def _find(self, name: str) -> Node:
        if name not in self.node.entries:
            raise FileNotFoundError(2, "No such file or directory")
        return self.node.entries[name]

    def stat(self, name: str = "") -> Optional[Stat]:
        node = self.node.entries.get(name) if name else self.node
        if node is None:
            return None
        content = node.content
        return Stat(node.kind, content.mode, content.uid, content.gid, len(content.data), 1, node.ino)

    def names(self) -> List[str]:
        return sorted(self.node.entries)

    def child(self, name: str) -> MemoryDirectory:
        node = self._find(name)
        if node.kind != "dir":
            raise _fsio.UnsafePathError(f"{name} is no directory")
        return MemoryDirectory(self.files, node, f"{self.path.rstrip('/')}/{name}")

    def read(self, name: str, limit: int) -> Content:
        node = self._find(name)
        if node.kind != "file":
            raise _fsio.FileError(f"{name} is no regular file")
        if len(node.content.data) > limit:
            raise _fsio.TooLargeError(name)
        return node.content

    def _space(self) -> None:
        if self.files.full:
            raise OSError(28, "No space left on device")

    def create(self, name: str, content: Content) -> None:
        self.files.step(f"create {name}")
        self._space()
        if name in self.node.entries:
            raise FileExistsError(17, "File exists")
        self.node.change("", name, Node("file", content))

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        self.files.step(f"write {name}")
        node = self._find(name)
        old = node.content.data
        whole = old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :]
        node.content = dataclasses.replace(node.content, data=whole)

    def reserve(self, name: str, size: int) -> None:
        self._space()

    def truncate(self, name: str, size: int) -> None:
        self.files.step(f"truncate {name}")
        node = self._find(name)
        node.content = dataclasses.replace(node.content, data=node.content.data[:size])

    def sync(self, name: str = "") -> None:
        self.files.step(f"sync {name or '.'}")
        if name:
            node = self._find(name)
            node.durable = node.content
        else:
            self.node.durable_entries = dict(self.node.entries)
            self.node.unsynced = []

    def rename(self, old: str, new: str) -> None:
        self.files.step(f"rename {old} {new}")
        self.node.change(old, new, self._find(old))

    def unlink(self, name: str) -> None:
        self._find(name)
        self.files.step(f"unlink {name}")
        self.node.change(name, "", self._find(name))

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> None:
        self.files.step(f"mkdir {name}")
        if name in self.node.entries:
            raise FileExistsError(17, "File exists")
        self.node.change("", name, Node("dir", Content(b"", mode, uid, gid)))

    def rmdir(self, name: str) -> None:
        self.files.step(f"rmdir {name}")
        if self._find(name).entries:
            raise OSError(39, "Directory not empty")
        self.node.change(name, "", self._find(name))

    def own(self, name: str, mode: int, uid: int, gid: int) -> None:
        self.files.step(f"own {name}")
        node = self._find(name)
        node.content = dataclasses.replace(node.content, mode=mode, uid=uid, gid=gid)

    def close(self) -> None:
        pass
