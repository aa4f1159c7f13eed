"""Which requests pass. Pure: a method and a path against a short list of patterns."""

from __future__ import annotations

import re
from dataclasses import dataclass

VERSION = r"(?:/v1\.\d+)?"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


@dataclass(frozen=True)
class Rules:
    """Allowed `METHOD pattern` pairs; a pattern must match the whole path, the query is not looked at."""

    allowed: tuple[tuple[str, re.Pattern[str]], ...]

    def passes(self, method: str, target: str) -> bool:
        """Tell whether a request may reach the engine."""
        path = target.partition("?")[0]
        return any(method == verb and pattern.fullmatch(path) for verb, pattern in self.allowed)


def looking() -> Rules:
    """Read-only: ping, version, list and inspect containers."""
    paths = ("/_ping", "/version", "/containers/json", f"/containers/{NAME}/json")
    return Rules(tuple((verb, re.compile(VERSION + path)) for path in paths for verb in ("GET", "HEAD")))


def control(names: tuple[str, ...]) -> Rules:
    """Ping, and start or stop of the named containers, nothing else."""
    who = "|".join(re.escape(name) for name in names)
    ping = re.compile(VERSION + "/_ping")
    act = re.compile(f"{VERSION}/containers/(?:{who})/(?:start|stop)")
    return Rules((("GET", ping), ("HEAD", ping), ("POST", act)))
