"""How the engine's API spells things on the wire: log frames, archives, image names."""

from __future__ import annotations

import base64
import io
import json
import struct
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

# os.ModeSymlink and os.ModeDir of Go, in which the archive header spells modes.
GO_SYMLINK = 1 << 27
GO_DIRECTORY = 1 << 31


class EngineError(Exception):
    """The engine answered with an error.

    Attributes:
        status: HTTP status; 0 when the engine could not be reached.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"engine: {message}" if status == 0 else f"engine: {status}: {message}")
        self.status = status


class EngineUnreachableError(EngineError):
    """There is no answer at all: no socket, no permission, refused, timed out."""

    def __init__(self, message: str) -> None:
        super().__init__(0, message)


class NotAFileError(Exception):
    """What was asked for is no regular file."""


@dataclass(frozen=True)
class ContainerFile:
    """One regular file read out of a container: bytes, permission bits, owner ids."""

    content: bytes
    mode: int
    uid: int
    gid: int


def split_reference(reference: str) -> Tuple[str, str]:
    """Return (repository, tag) of an image's name; a port of a registry is no tag."""
    head, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, "latest"
    return head, tag


def demultiplex(raw: bytes) -> bytes:
    """Return a log without the 8-byte frame headers; a log of a terminal has none and is returned as it is."""
    out: List[bytes] = []
    position = 0
    while position + 8 <= len(raw):
        stream, size = struct.unpack_from(">BxxxI", raw, position)
        if stream > 2 or raw[position + 1 : position + 4] != b"\0\0\0":
            return raw if position == 0 else b"".join(out)
        out.append(raw[position + 8 : position + 8 + size])
        position += 8 + size
    return b"".join(out) if out else raw


def path_stat(header: Optional[str]) -> Dict[str, Any]:
    """Return name, size, mode (Go's spelling) and linkTarget of an archived path; empty when unreadable."""
    try:
        decoded = json.loads(base64.b64decode(header or ""))
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def only_member(raw: bytes, path: str, limit: int) -> ContainerFile:
    """Return the one file of an archive.

    Raises:
        NotAFileError: When the archive holds anything else.
    """
    import tarfile  # noqa: PLC0415 - large, and most programs that know the engine read no file of a container

    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            member = archive.next()
            stream = archive.extractfile(member) if member is not None and member.isreg() else None
            if member is None or stream is None:
                raise NotAFileError(f"{path} is no regular file")
            return ContainerFile(stream.read(limit), member.mode & 0o7777, member.uid, member.gid)
    except tarfile.TarError as error:
        raise NotAFileError(f"{path}: unreadable archive") from error
