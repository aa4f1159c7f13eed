"""Leases: who may change a resource, until when, and how that is kept so that no torn write can lie about it.

A lease file has two slots of fixed size that are written in turn; each carries a checksum and a serial number, and the
valid one with the higher serial counts. So a write that a crash tore leaves the older truth, never a mixture.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import zlib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

FORMAT = 1
SLOT_SIZE = 4096  # one page: what a kernel writes as a whole, on every filesystem we know
FILE_SIZE = 2 * SLOT_SIZE
_MAGIC = b"BKLEASE"
_HEAD = len(_MAGIC) + 2 + 9 + 7  # magic, format and blank, checksum and blank, length and line end
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_REASON_LIMIT = 1200

FREE = "free"
HELD = "held"
RESTORING = "restoring"
PROVING = "proving"
UNPROVEN = "unproven"
STATES = (FREE, HELD, RESTORING, PROVING, UNPROVEN)


class LeaseError(ValueError):
    """The file holds no valid lease, or one of a format we do not know."""


class UnknownFormatError(LeaseError):
    """The file was written by another version of the keeper."""


def check_name(kind: str, value: Any) -> str:
    """Return a resource, run or item name that is safe as a file and unit name.

    Raises:
        ValueError: When it is anything else.
    """
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(f"{kind} must be a name of letters, digits, '.', '_' and '-' (64 at most), not {value!r}")
    return value


@dataclass(frozen=True)
class Boot:
    """Identity of one boot: the kernel's boot id *and* the start time of PID 1.

    A machine in a container keeps its host's boot id across its own reboots; the start time of its PID 1 (clock ticks
    since the kernel booted) changes.
    """

    boot_id: str
    init_start: int


@dataclass(frozen=True)
class Deadline:
    """When a lease ends. ``boottime`` (seconds of CLOCK_BOOTTIME) counts within a boot, ``wall`` is for people."""

    wall: float
    boottime: float
    boot: Boot

    def passed(self, boottime: float, boot: Boot) -> bool:
        """Whether the lease is over: at the deadline, or in another boot than the one it was given in."""
        return boot != self.boot or boottime >= self.boottime


@dataclass(frozen=True)
class Lease:
    """One lease as it stands on disk.

    Attributes:
        resource: What is leased.
        state: One of ``STATES``.
        token: Grows with every acquisition and every restore, also across reinstallations.
        serial: Grows with every write.
        run_id: The run that holds it or left it.
        nonce_hash: SHA-256 of the run's nonce; the nonce itself is not kept on the machine.
        holder: ``{controller_id, host, user, pid, start_time}``.
        ttl: Seconds that a renewal gives.
        keep: The holder went away on purpose; its death does not end the lease.
        since: Wall clock of the acquisition.
        deadline: When it is over; None when free.
        reason: Why it is unproven, or what a restore waits for.
        attempts: Restores tried since the lease was last held.
        arming: What will restore without us: ``not armed`` until a dead-man proved that it lives.
        hold: Connection of the holder ``{generation, pid, started, lost_at}``; ``pid`` and ``started`` (clock ticks) are
            those of the keeper's end of it, ``lost_at`` (seconds of CLOCK_BOOTTIME) is when it was cut, None while it stands.
        expect_reboot: Planned reboot ``{until, boot, by}``: ``until`` is wall time, the only clock that outlives a boot.
        retry: When a restore or proof that failed is tried again ``{boottime, boot}``; None: only when somebody asks.
        lock: The product's own lock ``{path, holder}`` that is held as long as the lease is.
    """

    resource: str
    state: str = FREE
    token: int = 0
    serial: int = 0
    run_id: str = ""
    nonce_hash: str = ""
    holder: Mapping[str, Any] = field(default_factory=dict)
    ttl: float = 0.0
    keep: bool = False
    since: float = 0.0
    deadline: Optional[Deadline] = None
    reason: str = ""
    attempts: int = 0
    arming: str = "not armed"
    hold: Optional[Mapping[str, Any]] = None
    expect_reboot: Optional[Mapping[str, Any]] = None
    retry: Optional[Mapping[str, Any]] = None
    lock: Optional[Mapping[str, Any]] = None

    def over(self, boottime: float, boot: Boot) -> bool:
        """Whether a held lease has run out."""
        return self.deadline is None or self.deadline.passed(boottime, boot)

    def owned_by(self, nonce: str) -> bool:
        """Whether the nonce is that of the run in this lease."""
        return bool(self.nonce_hash) and hmac.compare_digest(self.nonce_hash, hash_nonce(nonce))

    def next(self, **changes: Any) -> Lease:
        """Return the lease as it is to be written next."""
        reason = str(changes.pop("reason", self.reason))[:_REASON_LIMIT]
        return replace(self, serial=self.serial + 1, reason=reason, **changes)


def hash_nonce(nonce: str) -> str:
    """Return what is kept of a nonce. It has 128 random bits, so a plain digest cannot be guessed back."""
    return hashlib.sha256(nonce.encode("utf-8", "surrogateescape")).hexdigest()


def _payload(lease: Lease) -> bytes:
    return json.dumps(asdict(lease), sort_keys=True, separators=(",", ":")).encode("ascii")


def encode_slot(lease: Lease) -> bytes:
    """Return one slot of ``SLOT_SIZE`` bytes.

    Raises:
        LeaseError: When the lease does not fit.
    """
    payload = _payload(lease)
    if len(payload) > SLOT_SIZE - _HEAD:
        raise LeaseError(f"a lease takes at most {SLOT_SIZE - _HEAD} bytes, not {len(payload)}")
    head = b"%s%d %08x %06d\n" % (_MAGIC, FORMAT, zlib.crc32(payload), len(payload))
    return (head + payload).ljust(SLOT_SIZE, b"\0")


def slot_offset(serial: int) -> int:
    """Return where in the file the lease with this serial is written."""
    return (serial % 2) * SLOT_SIZE


def encode_file(lease: Lease) -> bytes:
    """Return a new file that holds one lease."""
    return (b"" if slot_offset(lease.serial) == 0 else b"\0" * SLOT_SIZE) + encode_slot(lease).ljust(
        FILE_SIZE - slot_offset(lease.serial), b"\0"
    )


def _decode_slot(raw: bytes) -> Optional[Lease]:
    """Return the lease of a slot, None for a slot never written.

    Raises:
        LeaseError: When it is damaged or of another format.
    """
    if not raw.strip(b"\0"):
        return None
    head, _, rest = raw.partition(b"\n")
    match = re.match(rb"BKLEASE(\d) ([0-9a-f]{8}) (\d{6})\Z", head)
    if match is None:
        raise LeaseError("damaged head")
    payload = rest[: int(match[3])]
    if len(payload) != int(match[3]) or zlib.crc32(payload) != int(match[2], 16):
        raise LeaseError("checksum does not match")
    if int(match[1]) != FORMAT:
        raise UnknownFormatError(f"format {int(match[1])}, this keeper reads {FORMAT}")
    return _from_document(json.loads(payload))


def _from_document(document: Any) -> Lease:
    names = {one.name for one in fields(Lease)}
    if isinstance(document, dict):
        document.pop("queue", None)  # written, always empty, before there was a queue
    if not isinstance(document, dict) or not set(document) <= names or document.get("state") not in STATES:
        raise LeaseError("not a lease")
    if document.get("deadline") is not None:
        deadline: Dict[str, Any] = dict(document["deadline"])
        document["deadline"] = Deadline(deadline["wall"], deadline["boottime"], Boot(**deadline["boot"]))
    return Lease(**document)


def _try_slot(raw: bytes) -> Tuple[Optional[Lease], str]:
    """Return (lease, "") or (None, why it is damaged). Raises UnknownFormatError."""
    try:
        return _decode_slot(raw), ""
    except UnknownFormatError:
        raise
    except (LeaseError, TypeError, KeyError, ValueError) as error:
        return None, str(error)


def decode_file(raw: bytes) -> Lease:
    """Return the newest valid lease of a file.

    Raises:
        UnknownFormatError: When any slot was written by another version: it may be the newer one.
        LeaseError: When no slot is valid.
    """
    if len(raw) != FILE_SIZE:
        raise LeaseError(f"a lease file has {FILE_SIZE} bytes, not {len(raw)}")
    found: List[Lease] = []
    damage: List[str] = []
    for start in (0, SLOT_SIZE):
        lease, why = _try_slot(raw[start : start + SLOT_SIZE])
        if why:
            damage.append(f"slot {start // SLOT_SIZE}: {why}")
        elif lease is not None and slot_offset(lease.serial) == start:
            found.append(lease)
    if not found:
        raise LeaseError("; ".join(damage) or "no lease was ever written")
    return max(found, key=lambda one: one.serial)
