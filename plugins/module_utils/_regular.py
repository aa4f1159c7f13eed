"""Reading files that others wrote: regular ones only, up to a limit, never waiting, never following a last link."""

from __future__ import annotations

import os
import stat

SETTINGS_LIMIT = 1024 * 1024  # bytes: a settings file larger than this is not one


class UnreadableError(Exception):
    """There is something, but it cannot be read. The message is short and holds no content."""


def why(error: OSError) -> str:
    """Return the system's words for an error, without the path."""
    return (error.strerror or type(error).__name__).lower()


def open_regular(path: str) -> int:
    """Return a descriptor for reading a regular file.

    Raises:
        FileNotFoundError: There is nothing.
        UnreadableError: It is something else, or we may not.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"unreadable: {why(error)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableError("unreadable: not a regular file")
    return descriptor


def read_regular(path: str, limit: int = SETTINGS_LIMIT) -> bytes:
    """Return a regular file's bytes.

    Raises:
        FileNotFoundError: There is nothing.
        UnreadableError: It is something else, too large, or cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        try:
            raw = stream.read(limit + 1)
        except OSError as error:
            raise UnreadableError(f"unreadable: {why(error)}") from error
    if len(raw) > limit:
        raise UnreadableError(f"huge: more than {limit} bytes")
    return raw
