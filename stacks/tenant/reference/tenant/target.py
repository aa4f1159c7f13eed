"""The request target as it was sent, and its decoded path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Target:
    """A request target.

    Attributes:
        raw_path: The path as the client sent it, percent signs and all.
        raw_query: What stood behind the question mark.
        host: The host of an absolute target, which wins over the Host header; None for an ordinary one.
    """

    raw_path: str
    raw_query: str = ""
    host: str | None = None

    @classmethod
    def parse(cls, raw: str) -> Target:
        """Split a target at its first question mark."""
        host = None
        if raw.startswith(("http://", "https://")):
            host, _, rest = raw.split("://", 1)[1].partition("/")
            raw = f"/{rest}"
        path, _, query = raw.partition("?")
        return cls(path, query, host)

    @property
    def path(self) -> str:
        """The decoded path: what routes and the guard compare."""
        return unquote(self.raw_path, errors="surrogateescape")

    @property
    def with_query(self) -> str:
        """Path and query as they were sent."""
        return f"{self.raw_path}?{self.raw_query}" if self.raw_query else self.raw_path

    @property
    def malformed(self) -> bool:
        """Whether the path has a percent sign that encodes nothing."""
        return bool(BROKEN.search(self.raw_path))

    def query(self) -> dict[str, str]:
        """Give the parameters; of repeated ones the first counts."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.raw_query, keep_blank_values=True):
            found.setdefault(name, value)
        return found


def segments(path: str) -> list[str]:
    """Split a decoded path; `/a/` has an empty last segment."""
    return path.split("/")[1:]
