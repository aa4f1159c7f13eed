"""Credentials in what is written down: a fingerprint under a key of this run, so that two can be compared and none be read."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization", "x-molecule-admin-token", "x-api-key"})
NAMES = re.compile(r"token|secret|passw|credential|api[-_]?key|session|authorization|cookie", re.IGNORECASE)
LENGTH = 16  # hex digits of a fingerprint


@dataclass(frozen=True)
class Mask:
    """Masks values under one key.

    Attributes:
        key: Of this run. Whoever has it can tell whether a masked value is one that they know.
    """

    key: bytes

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "Mask()"

    def value(self, text: str) -> str:
        """Give what stands for a credential."""
        mark = hmac.new(self.key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
        return f"masked:{mark[:LENGTH]}"

    def headers(self, items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Mask the headers that carry credentials."""
        return [(name, self.value(value) if name.lower() in HEADERS or NAMES.search(name) else value) for name, value in items]

    def query(self, raw: str) -> str:
        """Mask the parameters whose names sound like credentials."""
        pairs = parse_qsl(raw, keep_blank_values=True)
        return urlencode([(name, self.value(value) if NAMES.search(name) else value) for name, value in pairs], safe=":")

    def body(self, value: Any) -> Any:
        """Mask the texts of a JSON body whose names sound like credentials."""
        if isinstance(value, dict):
            return {name: self._named(str(name), item) for name, item in value.items()}
        return [self.body(item) for item in value] if isinstance(value, list) else value

    def _named(self, name: str, item: Any) -> Any:
        return self.value(item) if isinstance(item, str) and NAMES.search(name) else self.body(item)
