"""Redaction by value, then by shape.

A known secret is found in the encodings that programs write it in: raw, base64 at any offset, base64url, hexadecimal,
URL, form, JSON, shell, repr, HTML, YAML, line by line, and with line breaks or terminal colours in between.
"""

from __future__ import annotations

import base64
import bisect
import codecs
import html
import json
import re
import shlex
import urllib.parse
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Tuple, Union

from ansible_collections.benchkeeper.core.plugins.module_utils._redact_shapes import MASK, open_block, redact_shapes
from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import SHORTEST, collect_secrets, is_secret

__all__ = ["MASK", "Hit", "Redactor", "collect_secrets", "encodings"]

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_LINE_BREAK = re.compile(r"\\?\r?\n[ \t]*")
_TAIL = 4096  # characters held back, so that a secret that is cut by a chunk is still seen whole
_HELD = 256 * 1024  # characters after which a block that never ends is given up
_FEW = 32  # beginnings of spellings; a secret has about ten
_PEM_LINE = 16  # characters: shorter lines of a multi-line secret are not telling


@dataclass(frozen=True)
class Hit:
    """A secret that was found: its place in the list of secrets, the encoding, the offset in characters."""

    secret: int
    encoding: str
    offset: int


def _base64_cores(raw: bytes) -> Iterator[Tuple[str, str]]:
    """Yield what is certain of the base64 of a value that stands anywhere inside something larger."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode("ascii")
        first = -(-offset * 8 // 6)
        last = (offset + len(raw)) * 8 // 6
        core = encoded[first:last]
        yield f"base64+{offset}", core
        yield f"base64url+{offset}", core.replace("+", "-").replace("/", "_")


def encodings(secret: str) -> Dict[str, str]:
    """Return the spellings of a secret by name of the encoding."""
    raw = secret.encode("utf-8", "surrogateescape")
    shell = shlex.quote(secret)
    as_json = json.dumps(secret)[1:-1]
    quoted = urllib.parse.quote(raw, safe="")
    spellings = {
        "raw": secret,
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "url": quoted,
        "url lower": re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted),
        "url path": urllib.parse.quote(raw, safe="/:@!$&'()*+,;="),
        "form": urllib.parse.quote_plus(raw),
        "json": as_json,
        "json utf-8": json.dumps(secret, ensure_ascii=False)[1:-1],
        "json slashes": as_json.replace("/", "\\/"),
        "json in json": json.dumps(as_json)[1:-1],
        "shell": shell[1:-1] if shell.startswith("'") else shell,
        "shell backslash": re.sub(r"([^A-Za-z0-9_@%+=:,./-])", r"\\\1", secret),
        "shell single": secret.replace("'", "'\\''"),
        "shell double": re.sub(r'([\\"$`])', r"\\\1", secret),
        "repr": repr(secret)[1:-1],
        "repr bytes": repr(raw)[2:-1],
        "html": html.escape(secret),
        "xml": html.escape(secret, quote=False),
        "yaml": secret.replace("'", "''"),
        "base32": base64.b32encode(raw).decode("ascii").rstrip("=")[: len(raw) * 8 // 5],
    }
    spellings.update(_base64_cores(raw))
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        spellings.update({f"line {n}": line for n, line in enumerate(lines) if len(line) >= _PEM_LINE})
    return spellings


class Redactor:
    """Removes secrets from text.

    Args:
        secrets: Known values; those shorter than 6 characters are ignored.
        shapes: Also remove what only looks like a secret.
    """

    def __init__(self, secrets: Iterable[str] = (), *, shapes: bool = True) -> None:
        self.shapes = shapes
        self._needles: Dict[str, List[Tuple[str, int, str]]] = {}
        self._longest = 0
        seen = set()
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=lambda one: (-len(one), one))
        for index, secret in enumerate(known):
            for name, spelling in encodings(secret).items():
                if len(spelling) >= SHORTEST and spelling not in seen:
                    seen.add(spelling)
                    self._needles.setdefault(spelling[:SHORTEST], []).append((spelling, index, name))
                    self._longest = max(self._longest, len(spelling))
        for group in self._needles.values():
            group.sort(key=lambda needle: -len(needle[0]))
        # A pattern finds the places where a few needles may begin much faster than we walk; many it would try one by one.
        few = len(self._needles) <= _FEW
        self._begins = re.compile("|".join(map(re.escape, self._needles))) if self._needles and few else None
        self._held = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    # Whole texts

    def text(self, text: str) -> str:
        """Return a text without secrets and without terminal colours."""
        return self._clean(_ANSI.sub("", text))

    def data(self, value: Any, *, names: bool = False) -> Any:
        """Return JSON data with every text redacted; with ``names`` also every text under a key that says secret.

        Public addresses stay: checks compare with them.
        """
        if isinstance(value, str):
            return self._clean(_ANSI.sub("", value), addresses=False)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): MASK
                if names and isinstance(below, str) and below and is_secret(str(key))
                else self.data(below, names=names)
                for key, below in value.items()
            }
        return [self.data(element, names=names) for element in value] if isinstance(value, (list, tuple)) else value

    def scan(self, raw: bytes) -> List[Hit]:
        """Return every known secret in some bytes; empty means that they may be published."""
        text = _ANSI.sub("", raw.decode("utf-8", "surrogateescape"))
        return [Hit(index, name, start) for start, _end, index, name in self._found(text)]

    # Streams

    def feed(self, chunk: Union[bytes, str]) -> str:
        """Take a piece of a stream and return what is certain by now; ``flush`` returns the rest."""
        self._held += self._decoder.decode(chunk) if isinstance(chunk, bytes) else chunk
        self._held = _ANSI.sub("", self._held)
        tail = max(_TAIL, 2 * self._longest)
        if len(self._held) <= tail:
            return ""
        cut = self._held.rfind("\n", 0, len(self._held) - tail) + 1
        block = open_block(self._held)
        if 0 <= block < cut and len(self._held) - block < _HELD:
            cut = self._held.rfind("\n", 0, block) + 1
        if not cut and len(self._held) > _HELD:
            cut = len(self._held) - tail
        for start, end, _index, _name in self._found(self._held):
            if start < cut < end:
                cut = start
        ready, self._held = self._held[:cut], self._held[cut:]
        return self.text(ready)

    def flush(self) -> str:
        """Return the rest of a stream."""
        ready = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return self.text(ready)

    # How

    def _clean(self, text: str, *, addresses: bool = True) -> str:
        pieces = []
        position = 0
        for start, end, _index, _name in sorted(self._found(text)):
            if end <= position:
                continue
            if start >= position:
                pieces += [text[position:start], MASK]
            position = end
        cleaned = "".join(pieces) + text[position:]
        return redact_shapes(cleaned, addresses=addresses) if self.shapes else cleaned

    def _found(self, text: str) -> List[Tuple[int, int, int, str]]:
        """Return (start, end, secret, encoding) of every hit, also of those that a line break cuts in two."""
        if not self._needles:
            return []
        found = list(self._search(text))
        breaks = [(match.start(), match.end()) for match in _LINE_BREAK.finditer(text)]
        if breaks:
            joined, places = _join(text, breaks)
            for start, end, index, name in self._search(joined):
                hit = (places(start), places(end - 1) + 1, index, name)
                if hit[1] - hit[0] != end - start:
                    found.append(hit)
        return found

    def _search(self, text: str) -> Iterator[Tuple[int, int, int, str]]:
        needles = self._needles
        for start in self._starts(text):
            group = needles.get(text[start : start + SHORTEST])
            if group is None:
                continue
            for spelling, index, name in group:
                if text.startswith(spelling, start):
                    yield start, start + len(spelling), index, name
                    break

    def _starts(self, text: str) -> Iterator[int]:
        if self._begins is None:
            # One look-up per character, however many secrets there are.
            yield from range(len(text) - SHORTEST + 1)
            return
        found = self._begins.search(text)
        while found:
            yield found.start()
            found = self._begins.search(text, found.start() + 1)


def _join(text: str, breaks: List[Tuple[int, int]]) -> Tuple[str, Callable[[int], int]]:
    """Return the text without its line breaks, and a function from places in it to places in the text."""
    pieces = []
    starts = []  # where each piece begins in the joined text
    origins = []  # and in the text
    position = length = 0
    for start, end in [*breaks, (len(text), len(text))]:
        pieces.append(text[position:start])
        starts.append(length)
        origins.append(position)
        length += start - position
        position = end

    def place(index: int) -> int:
        piece = bisect.bisect_right(starts, index) - 1
        return origins[piece] + index - starts[piece]

    return "".join(pieces), place
