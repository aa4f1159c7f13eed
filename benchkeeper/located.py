"""YAML with the line of everything in it, and the one form in which a mistake in a file is told.

A *place* is a tuple of keys and list indexes from the top of a document, such as ``("signals", "pool", "all", 0, "op")``. The
parser is PyYAML's own; lines are the marks of its nodes, so what came in by an anchor or a merge has the line where it is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Place = tuple[Any, ...]
LIMIT = 4 * 1024 * 1024  # bytes; a file that a person writes is smaller
NODES = 1_000_000  # that a file may have when every alias is written out
# The parser in C is many times faster, and is there in every usual build.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, order=True)
class Mistake:
    """What is wrong, and where: `line` counts from 1, `text` is one sentence for a person, without a secret in it."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """Return it as editors and CI systems read it: in one line."""
        return f"{self.file}:{self.line}: {' '.join(self.text.split())}"


class BrokenFileError(Exception):
    """A file cannot be read at all; carries the mistakes, at least one."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(map(str, self.mistakes)))


@dataclass(frozen=True)
class Document:
    """One YAML file.

    Attributes:
        name: How the file is called in messages.
        data: What stands in it; None for an empty file.
        node: The same as PyYAML's nodes, merges done.
        text: The text it was read from.
        offset: Lines before its first one, for a document inside of another file.
    """

    name: str
    data: Any
    node: yaml.Node | None = field(repr=False)
    text: str = field(repr=False, default="")
    offset: int = 0

    def line(self, place: Place = ()) -> int:
        """Return the line of a place; of what contains it, when it is not there."""
        node, line, rest = self.node, self.offset + 1, list(place)
        while node is not None and rest:
            found = _child(node, rest.pop(0))
            if found is not None:
                node, line = found[0], self.offset + found[1]
        return line

    def at(self, place: Place) -> yaml.Node | None:
        """Return the node at a place, None when nothing is there."""
        node = self.node
        for step in place:
            found = None if node is None else _child(node, step)
            node = None if found is None else found[0]
        return node

    def known(self, place: Place) -> Place:
        """Return the part of a place that is there: steps that lead nowhere are left out."""
        node, kept = self.node, []
        for step in place:
            found = None if node is None else _child(node, step)
            if found is not None:
                node = found[0]
                kept.append(step)
        return tuple(kept)

    def mistake(self, place: Place, text: str) -> Mistake:
        """Return a mistake at a place."""
        return Mistake(self.name, self.line(place), text)


def _child(node: yaml.Node, step: Any) -> tuple[yaml.Node, int] | None:
    """Return the node that one step leads to and its line, counted from 1. Of equal keys the last counts, as in the data."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode) and key.value == str(step)]
        return (pairs[-1][1], pairs[-1][0].start_mark.line + 1) if pairs else None
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and 0 <= step < len(node.value):
        return node.value[step], node.value[step].start_mark.line + 1
    return None


def _repeated(node: yaml.Node, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Yield (key, line, line of the first) for keys that one mapping has twice: YAML keeps the last without a word."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for element in node.value:
            yield from _repeated(element, seen)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                line = key.start_mark.line + 1
                if key.value in first:
                    yield key.value, line, first[key.value]
                first.setdefault(key.value, line)
            yield from _repeated(value, seen)


def _weight(node: yaml.Node, known: dict[int, int], above: frozenset[int] = frozenset()) -> int:
    """Return how many nodes there are when every alias is written out.

    Raises:
        ValueError: an alias contains itself, or there are too many.
    """
    if id(node) in above:
        raise ValueError("an alias that contains itself")
    if id(node) not in known:
        inner = above | {id(node)}
        below: list[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            below = [one for pair in node.value for one in pair]
        known[id(node)] = 1 + sum(_weight(one, known, inner) for one in below)
        if known[id(node)] > NODES:
            raise ValueError("too many aliases of aliases")
    return known[id(node)]


def parse(text: str, name: str, offset: int = 0) -> Document:
    """Read one YAML document.

    Args:
        text: The document.
        name: How the file is called in messages.
        offset: Lines before it in that file.

    Raises:
        BrokenFileError: it is no YAML, more than one document, or has a key twice (all of those are named).
    """
    loader = _Loader("")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _weight(node, {})
        twice = list(_repeated(node, set())) if node is not None else []
        if twice:
            told = [(line, f"the key {key} twice, first in line {offset + first}") for key, line, first in twice]
            raise BrokenFileError(Mistake(name, offset + line, words) for line, words in told)
        data = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = offset + (mark.line + 1 if mark else 1)
        raise BrokenFileError([Mistake(name, line, f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A character that YAML forbids, a date that is none, an alias that contains itself.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokenFileError([Mistake(name, offset + 1, f"not YAML: {reason}")]) from None
    finally:
        loader.dispose()
    return Document(name, data, node, text, offset)


def read_text(path: Path, name: str) -> str:
    """Return the text of a file.

    Raises:
        BrokenFileError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BrokenFileError([Mistake(name, 1, f"cannot be read: {error.strerror}")]) from None
    if len(raw) > LIMIT:
        raise BrokenFileError([Mistake(name, 1, f"too large: {len(raw)} bytes, at most {LIMIT}")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFileError([Mistake(name, raw[: error.start].count(b"\n") + 1, "not UTF-8")]) from None


def read(path: Path, name: str) -> Document:
    """Read one YAML file; raise BrokenFileError when it cannot be read."""
    return parse(read_text(path, name), name)
