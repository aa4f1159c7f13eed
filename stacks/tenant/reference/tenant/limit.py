"""Requests per minute and client, and who the client is."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tenant.settings import Network

WINDOW = 60.0  # seconds
MAX_CLIENTS = 10_000  # windows kept; beyond that those that are over are forgotten

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spent:
    """One request's place in its window.

    Attributes:
        allowed: Whether it may pass.
        limit: Requests per window.
        remaining: How many are left after this one.
        reset: Whole seconds until the window ends, at least one.
    """

    allowed: bool
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that every counted answer carries."""
        counted = [
            ("X-RateLimit-Limit", str(self.limit)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(self.reset)),
        ]
        return counted if self.allowed else [("Retry-After", str(self.reset)), *counted]


@dataclass
class RateLimit:
    """Fixed windows of a minute, one for each client.

    Attributes:
        limit: Requests per window.
        clock: Seconds that only grow.
    """

    limit: int
    clock: Clock
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def spend(self, client: str) -> Spent:
        """Count one request of this client."""
        now = self.clock()
        began, used = self._windows.get(client, (now, 0))
        if now - began >= WINDOW:
            began, used = now, 0
        allowed = used < self.limit
        used += allowed
        if client not in self._windows and len(self._windows) >= MAX_CLIENTS:
            self._windows = {name: window for name, window in self._windows.items() if now - window[0] < WINDOW}
        self._windows[client] = (began, used)
        return Spent(allowed, self.limit, self.limit - used, max(1, int(began + WINDOW - now)))


def client_of(peer: str, forwarded: str, proxies: Collection[Network]) -> str:
    """Say whom to count.

    Args:
        peer: Address of the connection's other end.
        forwarded: X-Forwarded-For as it came.
        proxies: Networks of our own proxies.

    Returns:
        The last hop when one of our proxies wrote it, the peer otherwise: whoever is not our proxy can write anything there.
    """
    last = forwarded.rpartition(",")[2].strip()
    try:
        trusted = any(ipaddress.ip_address(peer) in network for network in proxies)
        return str(ipaddress.ip_address(last)) if trusted and last else peer
    except ValueError:
        return peer
