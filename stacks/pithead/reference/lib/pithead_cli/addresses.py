"""Checks of payout addresses: a typo here sends a miner's earnings to nobody."""

from __future__ import annotations

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BLOCK_SIZES = {0: 0, 2: 1, 3: 2, 5: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8}  # base58 digits -> bytes, as Monero groups them
MONERO_PREFIXES = {18: "standard", 42: "subaddress", 19: "integrated"}
MONERO_SIZES = {18: 69, 42: 69, 19: 77}
TARI_DUAL, TARI_SINGLE, TARI_MAX_MEMO = 67, 35, 256
DAMM_MASK = 0x1B  # x^8 + x^4 + x^3 + x + 1 without its leading term
LANES = tuple((x, y) for y in range(5) for x in range(5))
BITS_64 = (1 << 64) - 1


def keccak256(data: bytes) -> bytes:
    """Give the original Keccak-256 (not SHA3: the padding differs), which Python's library does not have."""
    rate = 136
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % rate)
    padded[-1] |= 0x80
    state = [0] * 25
    for start in range(0, len(padded), rate):
        for lane in range(rate // 8):
            state[lane] ^= int.from_bytes(padded[start + lane * 8 : start + lane * 8 + 8], "little")
        state = _permuted(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permuted(a: list[int]) -> list[int]:
    shift_register = 1
    for _round in range(24):
        columns = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        mixed = [columns[(x - 1) % 5] ^ _rolled(columns[(x + 1) % 5], 1) for x in range(5)]
        a = [lane ^ mixed[at % 5] for at, lane in enumerate(a)]
        x, y, current = 1, 0, a[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, a[x + 5 * y] = a[x + 5 * y], _rolled(current, (step + 1) * (step + 2) // 2 % 64)
        a = [a[x + 5 * y] ^ (~a[(x + 1) % 5 + 5 * y] & BITS_64 & a[(x + 2) % 5 + 5 * y]) for x, y in LANES]
        for power in range(7):
            shift_register = (shift_register << 1 ^ (shift_register >> 7) * 0x71) % 256
            if shift_register & 2:
                a[0] ^= 1 << (1 << power) - 1
    return a


def _rolled(lane: int, by: int) -> int:
    return (lane << by | lane >> (64 - by)) & BITS_64


def monero_problem(address: str) -> str:
    """Give what is wrong with a Monero address of the main network, '' when nothing is."""
    raw = _monero_base58(address)
    if raw is None:
        return "it is not base58 of the right length"
    kind = raw[0]
    if kind not in MONERO_PREFIXES or len(raw) != MONERO_SIZES[kind]:
        return "it is not an address of the main network"
    if keccak256(raw[:-4])[:4] != raw[-4:]:
        return "its checksum is wrong"
    return "" if kind == 18 else f"it is a {MONERO_PREFIXES[kind]} address, p2pool needs a standard one"


def tari_problem(address: str) -> str:
    """Give what is wrong with a Tari address in base58, '' when nothing is.

    Network and features are one base58 digit group each, the rest another; the last byte is a Damm checksum over all.
    """
    raw = None
    if len(address) > 2:
        parts = [_base58(address[0]), _base58(address[1]), _base58(address[2:])]
        if None not in parts:
            raw = b"".join((part or b"\0")[-1:] if at < 2 else part or b"" for at, part in enumerate(parts))
    if raw is None:
        return "it is not base58"
    if len(raw) != TARI_SINGLE and not TARI_DUAL <= len(raw) <= TARI_DUAL + TARI_MAX_MEMO:
        return "it has the wrong length"
    return "" if damm(raw) == 0 else "its checksum is wrong"


def damm(data: bytes) -> int:
    """Give the 8-bit Damm checksum; over data with its own checksum at the end it is 0."""
    result = 0
    for byte in data:
        result ^= byte
        result = (result << 1 ^ DAMM_MASK) & 0xFF if result & 0x80 else result << 1
    return result


def _base58(text: str) -> bytes | None:
    value = 0
    for digit in text:
        position = ALPHABET.find(digit)
        if position < 0:
            return None
        value = value * 58 + position
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")


def _monero_base58(text: str) -> bytes | None:
    out = bytearray()
    for start in range(0, len(text), 11):
        block = text[start : start + 11]
        size = BLOCK_SIZES.get(len(block))
        value = 0
        for digit in block:
            position = ALPHABET.find(digit)
            if position < 0:
                return None
            value = value * 58 + position
        if size is None or value >= 1 << 8 * size:
            return None
        out += value.to_bytes(size, "big")
    return bytes(out) if len(out) > 4 else None
