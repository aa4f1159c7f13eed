"""As much of protobuf's wire format as the base node's four calls need: varints, strings and nested messages."""

from __future__ import annotations

VARINT, LENGTH = 0, 2
FIXED64, FIXED32 = 1, 5


def varint(value: int) -> bytes:
    """Encode a non-negative number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Encode a numeric, bool or enum field; zero is left out as protobuf does."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def blob(field: int, value: bytes) -> bytes:
    """Encode a bytes, string or message field; empty is left out."""
    return varint(field << 3 | LENGTH) + varint(len(value)) + value if value else b""


def decode(data: bytes) -> dict[int, int | bytes]:
    """Read a message into field number -> last value; ValueError when it is cut off."""
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        key, at = _read(data, at)
        kind = key & 7
        if kind == VARINT:
            fields[key >> 3], at = _read(data, at)
            continue
        if kind == LENGTH:
            size, at = _read(data, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind, -1)
        if size < 0 or at + size > len(data):
            message = "cut off or unknown field"
            raise ValueError(message)
        fields[key >> 3] = data[at : at + size]
        at += size
    return fields


def as_int(fields: dict[int, int | bytes], field: int) -> int:
    """Give a numeric field, 0 when absent."""
    value = fields.get(field, 0)
    return value if isinstance(value, int) else 0


def as_bytes(fields: dict[int, int | bytes], field: int) -> bytes:
    """Give a bytes field, empty when absent."""
    value = fields.get(field, b"")
    return value if isinstance(value, bytes) else b""


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            message = "cut off number"
            raise ValueError(message)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
