"""Values that differ from run to run: bound where a response first shows them, then filled into requests and compared."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

SYMBOL = re.compile(r"<(uuid:\d+|token:\d+(?::prefix)?|ts|ms|int|ver|uuid8|[a-z0-9]+(?: [a-z0-9]+)+)>")
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SHORT = {
    "ts": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)",
    "ms": r"\d{13}",
    "int": r"\d+",
    "ver": r"[0-9.]+",
    "uuid8": r"[0-9a-f]{8}",
}
SHOWN = 80  # characters of a value in a difference
PREFIX = 4  # a token's prefix has at least so many characters


def shown(value: Any) -> str:
    """Give a value for a reader, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@dataclass
class Symbols:
    """What the symbols of one recording stand for in this play."""

    bound: dict[str, str] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """Put values into a request; a symbol that nothing bound stays, and what it hits says so."""
        return SYMBOL.sub(lambda match: self.bound.get(match.group(1), match.group(0)), text)

    def hidden(self, text: str) -> str:
        """Put symbols back where their values stand: tokens are nobody's business, and a reader compares symbols."""
        for name, value in sorted(self.bound.items(), key=lambda item: -len(item[1])):
            text = text.replace(value, f"<{name}>")
        return text

    def differences(self, wanted: Any, got: Any, place: str = "") -> list[str]:
        """Compare a recorded value with one of today; empty when they are the same but for symbols."""
        if isinstance(wanted, str) and SYMBOL.search(wanted):
            return [] if self._text(wanted, got) else [f"{place}: {wanted} is not {shown(got)}"]
        if isinstance(wanted, dict) and isinstance(got, dict):
            return self._objects(wanted, got, place)
        if isinstance(wanted, list) and isinstance(got, list):
            if len(wanted) != len(got):
                return [f"{place}: {len(wanted)} entries are {len(got)}"]
            pairs = zip(wanted, got, strict=True)
            return [
                text for number, (one, other) in enumerate(pairs) for text in self.differences(one, other, f"{place}[{number}]")
            ]
        same = wanted == got and isinstance(wanted, bool) == isinstance(got, bool)
        return [] if same else [f"{place}: {shown(wanted)} is {shown(got)}"]

    def _objects(self, wanted: dict[str, Any], got: dict[str, Any], place: str) -> list[str]:
        found = [f"{place}.{name} is missing" for name in wanted if name not in got]
        found += [f"{place}.{name} was not recorded" for name in got if name not in wanted]
        for name, value in wanted.items():
            if name in got:
                found += self.differences(value, got[name], f"{place}.{name}")
        return found

    def _text(self, wanted: str, got: Any) -> bool:
        if wanted in ("<int>", "<ms>") and isinstance(got, int) and not isinstance(got, bool):
            return True
        if not isinstance(got, str):
            return False
        names: list[str] = []
        pattern = ""
        last = 0
        for match in SYMBOL.finditer(wanted):
            pattern += re.escape(wanted[last : match.start()]) + f"({self._pattern(match.group(1))})"
            names.append(match.group(1))
            last = match.end()
        found = re.fullmatch(pattern + re.escape(wanted[last:]), got, re.DOTALL)
        if not found:
            return False
        for name, value in zip(names, found.groups(), strict=True):
            if name.startswith(("uuid:", "token:")):
                self.bound.setdefault(name, value)
        return self._prefixes(names)

    def _pattern(self, name: str) -> str:
        if name in self.bound:
            return re.escape(self.bound[name])
        if name in SHORT:
            return SHORT[name]
        if name.startswith("uuid:"):
            return UUID
        return r"[\w.~-]+" if name.startswith("token:") else r".*"

    def _prefixes(self, names: list[str]) -> bool:
        """Say whether prefixes are those of their tokens, as far as both are known."""
        pairs = ((self.bound[name], self.bound.get(name.removesuffix(":prefix"))) for name in names if name.endswith(":prefix"))
        return all(whole is None or (len(prefix) >= PREFIX and whole.startswith(prefix)) for prefix, whole in pairs)
