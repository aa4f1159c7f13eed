"""Security headers, and which headers of a request go on to an upstream."""

from __future__ import annotations

from collections.abc import Iterable

from tenant.target import segments

# First segments of paths that belong to the API: they get the strict policy, everything else the UI's.
API = frozenset(
    {
        "health",
        "metrics",
        "workspaces",
        "registry",
        "settings",
        "events",
        "templates",
        "approvals",
        "org",
        "admin",
        "plugins",
        "ws",
        "bundles",
        "orgs",
        "webhooks",
        "channels",
    },
)
STRICT = "default-src 'self'"
UI = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' ws: wss:; font-src 'self' data:"
)
FIXED = (
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    },
)

Headers = list[tuple[str, str]]


def security(path: str) -> Headers:
    """Give the security headers of an answer for this decoded path."""
    first = segments(path)[0] if path.startswith("/") else ""
    return [("Content-Security-Policy", STRICT if first in API else UI), *FIXED]


def named_hops(values: Iterable[str]) -> set[str]:
    """Give the names, in lower case, that Connection headers declare to be for this hop only."""
    return {name.strip().lower() for value in values for name in value.split(",") if name.strip()}


def forwarded(items: Iterable[tuple[str, str]], peer: str, *, drop: Iterable[str] = ()) -> Headers:
    """Give the headers that go on to an upstream.

    Args:
        items: The request's headers in order, repeated ones included.
        peer: Address of the client, appended to X-Forwarded-For.
        drop: More names that stay here, in lower case.

    Returns:
        Headers without Host, Content-Length and whatever was meant for this hop; `TE: trailers` may go on.
    """
    given = list(items)
    hops = named_hops(value for name, value in given if name.lower() == "connection")
    stay = HOP_BY_HOP | hops | {"host", "content-length", "x-forwarded-for", *drop}
    kept = [(name, value) for name, value in given if name.lower() not in stay]
    if any(name.lower() == "te" and "trailers" in value.lower() for name, value in given):
        kept.append(("Te", "trailers"))
    chain = [value for name, value in given if name.lower() == "x-forwarded-for"]
    kept.append(("X-Forwarded-For", ", ".join([*chain, peer])))
    return kept


def returned(items: Iterable[tuple[str, str]]) -> Headers:
    """Give the headers of an upstream's answer that go back to the client."""
    given = list(items)
    hops = named_hops(value for name, value in given if name.lower() == "connection")
    stay = HOP_BY_HOP | hops | {"date", "server"}
    return [(name, value) for name, value in given if name.lower() not in stay]
