"""Bodies of requests: JSON objects whose fields have the type, and the size, that they should."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LARGEST = 2**31 - 1  # what a column for whole numbers holds
DIGITS = 9  # of a number in a query or variable: below LARGEST whatever they are


class BadBody(Exception):
    """No JSON, no object, or a field of another type."""


def _no_number(text: str) -> None:
    raise BadBody(f"{text} is no JSON")


def parse(body: bytes) -> Any:
    """Parse a body; BadBody when it is empty, no JSON, or nested without end."""
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as failure:
        raise BadBody from failure


def digits(text: str) -> int | None:
    """Give the number that plain digits say, None when they are none or too many."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None


def storable(text: str) -> bool:
    """Say whether a database can hold a text: no NUL, nothing that is half a character."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True)
class Fields:
    """An object out of a request. A missing field and null are the same: the default."""

    value: dict[str, Any]

    @classmethod
    def of(cls, body: bytes) -> Fields:
        """Read a body."""
        value = parse(body)
        if not isinstance(value, dict):
            raise BadBody
        return cls(value)

    def has(self, name: str) -> bool:
        """Say whether the field is there, null included."""
        return name in self.value

    def raw(self, name: str) -> Any:
        """Give a field of any type."""
        return self.value.get(name)

    def text(self, name: str, default: str = "") -> str:
        """Give a text."""
        value = self.value.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not storable(value):
            raise BadBody
        return value

    def needed(self, name: str) -> str:
        """Give a text that must be there and not empty."""
        value = self.text(name)
        if not value:
            raise BadBody
        return value

    def maybe(self, name: str) -> str | None:
        """Give a text, None when it is missing or empty."""
        return self.text(name) or None

    def whole(self, name: str, default: int = 0) -> int:
        """Give a whole number."""
        value = self.value.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
            raise BadBody
        return value

    def number(self, name: str, default: float = 0) -> float:
        """Give a number."""
        value = self.value.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadBody
        return value

    def flag(self, name: str) -> bool:
        """Give a truth value, False when missing."""
        value = self.value.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise BadBody
        return value
