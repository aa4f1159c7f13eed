r"""Reading and editing ``KEY=value`` files whose values are quoted as a shell would.

Single quotes are literal, double quotes know the backslash before ``\ " $ ` `` and a line end, a bare value knows the
backslash, pieces stand side by side (``'it'\''s'``), quotes may span lines. Nothing is expanded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Tuple

_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+\Z")
_LINE_END = "\n"


@dataclass(frozen=True)
class Entry:
    """One assignment: its value and where it stands in the text."""

    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Dotenv:
    """A parsed file.

    ``entries`` maps a key to its last assignment, which is the one that counts; ``bad_lines`` are the numbers
    (from 1) of lines that are neither assignment, comment nor empty. Their text is not kept: it may be a secret.
    """

    entries: Dict[str, Entry]
    bad_lines: Tuple[int, ...]

    @property
    def values(self) -> Dict[str, str]:
        """Keys and values."""
        return {key: entry.value for key, entry in self.entries.items()}


class _UnfinishedError(ValueError):
    """A quote was opened and never closed."""


def parse(text: str) -> Dotenv:
    """Read a file's text. Never raises: what cannot be read is counted in ``bad_lines``."""
    entries: Dict[str, Entry] = {}
    bad = []
    position = 0
    text_end = len(text)
    if text.startswith("\ufeff"):
        position = 1
    while position < text_end:
        line_end = text.find(_LINE_END, position)
        line_end = text_end if line_end < 0 else line_end
        line = text[position:line_end].strip()
        if not line or line.startswith("#"):
            position = line_end + 1
            continue
        match = _KEY.match(text, position, line_end)
        if match is None:
            bad.append(text.count(_LINE_END, 0, position) + 1)
            position = line_end + 1
            continue
        try:
            value, end = _value(text, match.end())
        except _UnfinishedError:
            bad.append(text.count(_LINE_END, 0, position) + 1)
            position = line_end + 1
            continue
        entries[match["key"]] = Entry(value, position, end)
        position = end + 1
    return Dotenv(entries, tuple(bad))


def _value(text: str, position: int) -> Tuple[str, int]:
    """Return the value that starts at a position and where its line ends."""
    pieces = []
    kept = 0  # so much of the value is not trailing blank
    length = 0
    while position < len(text) and text[position] in " \t":
        position += 1
    start = position
    while position < len(text) and text[position] != _LINE_END:
        char = text[position]
        quoted = True
        if char == "'":
            close = text.find("'", position + 1)
            if close < 0:
                raise _UnfinishedError
            piece = text[position + 1 : close]
            position = close + 1
        elif char == '"':
            piece, position = _double(text, position + 1)
        elif char == "\\" and position + 1 < len(text):
            piece = "" if text[position + 1] == _LINE_END else text[position + 1]
            position += 2
        elif char == "#" and (position == start or text[position - 1] in " \t"):
            end = text.find(_LINE_END, position)
            position = len(text) if end < 0 else end
            break
        else:
            piece = char
            position += 1
            quoted = char not in " \t\r"
        pieces.append(piece)
        length += len(piece)
        if quoted:
            kept = length
    return "".join(pieces)[:kept], position


def _double(text: str, position: int) -> Tuple[str, int]:
    out: List[str] = []
    while position < len(text):
        char = text[position]
        if char == '"':
            return "".join(out), position + 1
        if char == "\\" and position + 1 < len(text) and text[position + 1] in '\\"$`\n':
            if text[position + 1] != _LINE_END:
                out.append(text[position + 1])
            position += 2
            continue
        out.append(char)
        position += 1
    raise _UnfinishedError


def quote(value: str) -> str:
    """Return a value as this module and a shell read it back."""
    if _PLAIN.match(value):
        return value
    return "'" + value.replace("'", "'\\''") + "'" if value else ""


def set_value(text: str, key: str, value: str) -> str:
    """Return the text with one key changed, every other byte kept; a new key is appended."""
    entry = parse(text).entries.get(key)
    line = f"{key}={quote(value)}"
    if entry is not None:
        return text[: entry.start] + line + text[entry.end :]
    glue = "" if not text or text.endswith(_LINE_END) else _LINE_END
    return f"{text}{glue}{line}{_LINE_END}"
