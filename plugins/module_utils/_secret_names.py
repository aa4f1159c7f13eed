"""Which names mark a value as a secret: one suffix list for environment keys, JSON keys and flags."""

from __future__ import annotations

import re
from typing import Iterable, List, Mapping, Optional, Set

from ansible_collections.benchkeeper.core.plugins.module_utils._dotenv import parse
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import UnreadableError, read_regular

# Always a secret.
STRONG = (
    "password",
    "passwd",
    "pass",
    "passphrase",
    "secret",
    "token",
    "tokens",
    "key",
    "privkey",
    "private",
    "cookie",
    "credential",
    "credentials",
    "hash_b64",
    "pw_fp",
)
# Identifying: a name, an address, a capability URL. Their values may be plain words (``admin``), see ``collect``.
IDENTIFYING = (
    "login",
    "username",
    "user",
    "wallet",
    "wallet_address",
    "onion_address",
    "ping_url",
    "ntfy_url",
    "webhook_urls",
    "donor_id",
    "source",
)
SUFFIXES = STRONG + IDENTIFYING
SHORTEST = 6  # characters; anything shorter would blot out ordinary words
_ALTERNATIVES = "|".join(sorted(map(re.escape, SUFFIXES), key=len, reverse=True))
_SECRET = re.compile(rf"(?:.*[^a-z])?(?:{_ALTERNATIVES})\Z")
_STRONG = re.compile(rf"(?:.*[^a-z])?(?:{'|'.join(sorted(map(re.escape, STRONG), key=len, reverse=True))})\Z")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ORDINARY = re.compile(r"(?:[a-z]{1,16}|true|false|[0-9]{1,9}|/[\w./-]*)\Z", re.IGNORECASE)


def _snake(name: str) -> str:
    return _CAMEL.sub("_", name).lower()


def is_secret(name: str) -> bool:
    """Say whether a key's value must not be shown (``PROXY_AUTH_TOKEN``, ``accessToken``, ``view-key``)."""
    return _SECRET.match(_snake(name)) is not None


def is_strong(name: str) -> bool:
    """Say whether a key's value is a secret in any spelling, not only identifying."""
    return _STRONG.match(_snake(name)) is not None


def collect(values: Mapping[str, str], keys: Optional[Iterable[str]] = None) -> Set[str]:
    """Return the values worth searching for in every output.

    Args:
        values: Keys and values of a settings file.
        keys: Exactly these keys; by default those whose name says that they are secret. Identifying values that are an
            ordinary word, number or path are left out then, or evidence would lose every ``admin``.
    """
    if keys is not None:
        return {values[key] for key in keys if len(values.get(key, "")) >= SHORTEST}
    found: Set[str] = set()
    for key, value in values.items():
        if len(value) < SHORTEST or not is_secret(key):
            continue
        if is_strong(key) or not _ORDINARY.match(value):
            found.add(value)
    return found


def collect_secrets(dotenv_path: str, keys: Optional[Iterable[str]] = None) -> List[str]:
    """Return the secrets of a settings file, longest first; none when it cannot be read."""
    try:
        text = read_regular(dotenv_path).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, UnreadableError):
        return []
    return sorted(collect(parse(text).values, keys), key=lambda secret: (-len(secret), secret))
