"""Peers of the sidechain, made up but with p2pool's lag: none at first, then those remembered from last time, then the right ones.

The dashboard infers the pool's type from the peers' ports, so after a switch it says Unknown, then the old type, then the new one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from p2pool.options import PORTS


@dataclass(frozen=True)
class Lag:
    """How long, in seconds since start, there are no peers, and how long after that the remembered ones."""

    cold: float
    stale: float


def peer_list(pool: str, remembered: str, age: float, lag: Lag, count: int = 8) -> list[str]:
    """Give the `ip:port` of the peers at an age of the process; addresses are from the documentation range."""
    if age < lag.cold:
        return []
    shown = remembered if remembered != pool and age < lag.cold + lag.stale else pool
    return [f"198.51.100.{10 + n}:{PORTS[shown]}" for n in range(count)]


class PeerMemory:
    """The type of sidechain the cached peer list belongs to, kept over restarts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, default: str) -> str:
        """Give the remembered type; the default when nothing sensible is remembered."""
        try:
            pool = json.loads(self.path.read_text())["pool"]
        except (OSError, ValueError, KeyError, TypeError):
            return default
        return pool if pool in PORTS else default

    def write(self, pool: str) -> None:
        """Remember a type."""
        self.path.write_text(json.dumps({"pool": pool}))
