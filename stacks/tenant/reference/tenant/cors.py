"""Cross-origin requests: asked before anything else, and refused without a word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

METHODS = "GET,POST,PUT,PATCH,DELETE,OPTIONS"
HEADERS = "Origin,Content-Type,X-Workspace-Id,Authorization"  # without the organisation's header, as recorded

Headers = list[tuple[str, str]]


class Kind(Enum):
    """What a request is to CORS."""

    PLAIN = "plain"
    REFUSED = "refused"
    PREFLIGHT = "preflight"
    ALLOWED = "allowed"


@dataclass(frozen=True)
class Judgement:
    """What CORS says, and the headers that it wants on the answer."""

    kind: Kind
    headers: tuple[tuple[str, str], ...] = ()


def judge(method: str, origin: str | None, host: str, allowed: Collection[str]) -> Judgement:
    """Judge by Origin: none or the own host is plain, an allowed one gets headers, any other is refused."""
    if not origin or origin in (f"http://{host}", f"https://{host}"):
        return Judgement(Kind.PLAIN)
    if origin not in allowed:
        return Judgement(Kind.REFUSED)
    common = (("Access-Control-Allow-Credentials", "true"), ("Access-Control-Allow-Origin", origin))
    if method != "OPTIONS":
        return Judgement(Kind.ALLOWED, (*common, ("Vary", "Origin")))
    vary = tuple(("Vary", name) for name in ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"))
    answer = (("Access-Control-Allow-Headers", HEADERS), ("Access-Control-Allow-Methods", METHODS))
    return Judgement(Kind.PREFLIGHT, (*common, *answer, *vary))
