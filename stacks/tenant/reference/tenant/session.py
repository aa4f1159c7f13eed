"""The session tier: does the control plane know this browser as a member of the tenant?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tenant.limit import Clock
from wire import consumer

GOOD_FOR = 30.0  # seconds that a yes is remembered; contract 3.4
BAD_FOR = 5.0  # seconds that a no is remembered; contract 3.4
MAX_VERDICTS = 1000  # cookies remembered; beyond that the memory starts anew

# Ask the control plane about a Cookie header: status and body. Raises Unreachable.
Ask = Callable[[str], Awaitable[tuple[int, bytes]]]


class Unreachable(Exception):
    """The control plane did not answer."""


@dataclass
class Sessions:
    """Verdicts by the whole Cookie header, so that another cookie beside the session asks again (recorded)."""

    ask: Ask
    clock: Clock
    _verdicts: dict[str, tuple[bool, float]] = field(default_factory=dict)

    async def member(self, cookie: str) -> bool:
        """Say whether the cookie is a member's. A failed transport is no verdict and is not remembered."""
        known = self._verdicts.get(cookie)
        if known and self.clock() < known[1]:
            return known[0]
        try:
            status, body = await self.ask(cookie)
        except Unreachable:
            return False
        try:
            member = consumer.membership(status, body).member
        except consumer.Undecodable:
            member = False
        if len(self._verdicts) >= MAX_VERDICTS:
            self._verdicts.clear()
        self._verdicts[cookie] = (member, self.clock() + (GOOD_FOR if member else BAD_FOR))
        return member
