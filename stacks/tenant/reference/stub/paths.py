"""Paths as the real stub's server sees them: cleaned as they were sent, compared segment by segment after decoding."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote


def decoded(raw_path: str) -> str:
    """Give the decoded path."""
    return unquote(raw_path, errors="surrogateescape")


def cleaned(raw_path: str) -> str:
    """Resolve dot segments and repeated slashes that were sent as such; encoded ones are text (recorded)."""
    clean = posixpath.normpath("/" + raw_path.lstrip("/"))
    return f"{clean}/" if raw_path.endswith(("/", "/.", "/..")) and clean != "/" else clean


def matches(pattern: str, raw_path: str) -> dict[str, str] | None:
    """Compare a path with a pattern: `:name` takes one segment, whatever is encoded in it. None when it does not fit."""
    wanted, given = pattern.split("/"), [decoded(part) for part in raw_path.split("/")]
    if len(wanted) != len(given):
        return None
    params: dict[str, str] = {}
    for part, text in zip(wanted, given, strict=True):
        if part.startswith(":") and text:
            params[part[1:]] = text
        elif part != text:
            return None
    return params
