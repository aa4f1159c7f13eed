"""Work that looks like the network's: block blobs of the right shape, each with a previous block of its own. Pure."""

from __future__ import annotations

import hashlib

from common.stratum import Job

SEED = hashlib.sha256(b"seed of a chain that does not exist").hexdigest()


def varint(value: int) -> bytes:
    """Encode a number as block headers do."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def hashing_blob(height: int, extra: bytes, now: int) -> str:
    """Build a hashing blob (hex): versions 16 and 16, time, previous block, room for the nonce, root, one transaction."""
    previous = hashlib.sha256(f"block {height - 1}".encode()).digest()
    root = hashlib.sha256(b"transactions" + height.to_bytes(8, "big") + extra).digest()
    return (bytes([16, 16]) + varint(now) + previous + bytes(4) + root + varint(1)).hex()


def job(job_id: str, height: int, extra: bytes, now: int, difficulty: int) -> Job:
    """Build a job; `extra` keeps two miners from searching the same blobs."""
    return Job(job_id, hashing_blob(height, extra, now), difficulty, height, SEED)
