"""Tokens: how they are made, written down and read from a request."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

PREFIX = 8  # characters of a token that people may see
SCHEME = "Bearer "  # exactly so: other spellings are no credential (recorded)


@dataclass(frozen=True)
class Minted:
    """A fresh token: the secret itself is shown once and not kept."""

    secret: str

    @property
    def digest(self) -> str:
        """What is kept."""
        return digest(self.secret)

    @property
    def prefix(self) -> str:
        """What people may see of it."""
        return self.secret[:PREFIX]

    def __repr__(self) -> str:
        """Say nothing of the secret."""
        return "Minted()"


def mint() -> Minted:
    """Make a token: 32 random bytes as text."""
    return Minted(secrets.token_urlsafe(32))


def digest(secret: str) -> str:
    """Give the form in which a token is kept: SHA-256, since a random token needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def bearer(header: str | None) -> str:
    """Give the token of an Authorization header, empty when it is none of ours."""
    return header.removeprefix(SCHEME).strip() if header and header.startswith(SCHEME) else ""


def same(given: str, wanted: str) -> bool:
    """Compare secrets in constant time; nothing equals an empty one."""
    return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode("utf-8", "surrogateescape"))
