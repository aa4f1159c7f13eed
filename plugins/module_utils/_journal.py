"""The journal: what a run changed on a resource and how each change is undone, written before the change.

One JSON object per line, numbered from 1, each with a CRC-32 over its own canonical spelling. A last line without line
end is a write that a crash tore, and is cut. Anything else that does not read back exactly is corruption: nothing of
such a journal may be executed.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

FORMAT = 1
OPEN = "OPEN"
STAGE = "STAGE"
INTENT = "INTENT"
DONE = "DONE"
TRY = "TRY"
UNDONE = "UNDONE"
CONFLICT = "CONFLICT"
SETTLED = "SETTLED"
COMMIT = "COMMIT"
WAIVED = "WAIVED"
TYPES = (OPEN, STAGE, INTENT, DONE, TRY, UNDONE, CONFLICT, SETTLED, COMMIT, WAIVED)
_REFERRING = (DONE, TRY, UNDONE, CONFLICT, SETTLED)
LINE_LIMIT = 64 * 1024

Record = Mapping[str, Any]


class JournalError(ValueError):
    """The journal is damaged or of another format; it must not be acted upon."""


def _dump(record: Record) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def encode(record: Record) -> bytes:
    """Return one record as a line with its checksum.

    Raises:
        JournalError: When the record is too long: what is long belongs into a file of its own.
    """
    body = {key: value for key, value in record.items() if key != "crc"}
    line = _dump({**body, "crc": f"{zlib.crc32(_dump(body).encode('ascii')):08x}"}).encode("ascii") + b"\n"
    if len(line) > LINE_LIMIT:
        raise JournalError(f"a record takes at most {LINE_LIMIT} bytes, not {len(line)}")
    return line


def _decode(line: bytes, number: int) -> Dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"record {number} is not JSON") from error
    if not isinstance(record, dict) or encode(record) != line + b"\n":
        raise JournalError(f"record {number} does not match its checksum")
    if record.get("v") != FORMAT:
        raise JournalError(f"record {number} has format {record.get('v')!r}, this keeper reads {FORMAT}")
    if record.get("seq") != number:
        raise JournalError(f"record {number} carries the number {record.get('seq')!r}")
    if record.get("type") not in TYPES or (number == 1) != (record["type"] == OPEN):
        raise JournalError(f"record {number} is of unexpected type {record.get('type')!r}")
    return record


@dataclass(frozen=True)
class Parsed:
    """A journal that could be read: its records, and how many bytes of the file are whole lines."""

    records: Tuple[Record, ...]
    length: int


def parse(raw: bytes) -> Parsed:
    """Read a journal.

    Raises:
        JournalError: When anything but a torn last line is wrong.
    """
    length = raw.rfind(b"\n") + 1
    records: List[Record] = []
    intents = set()
    for number, line in enumerate(raw[:length].split(b"\n")[:-1], start=1):
        record = _decode(line, number)
        if record["type"] == INTENT:
            intents.add(number)
        if record["type"] in _REFERRING and record.get("ref") not in intents:
            raise JournalError(f"record {number} refers to {record.get('ref')!r}, which is no INTENT")
        records.append(record)
    if not records:
        raise JournalError("the journal is empty")
    return Parsed(tuple(records), length)


def salvage(raw: bytes) -> Tuple[List[Record], int]:
    """Return of a journal that cannot be trusted the records whose own checksum is right, of any version, and how many are not.

    They are for the eyes of a person only: nothing of them may be acted upon, and a key may hold anything.
    """
    lines = raw.split(b"\n")[:-1]
    records = [record for record in map(_whole, lines) if record is not None]
    return records, len(lines) - len(records)


def _whole(line: bytes) -> Optional[Record]:
    try:
        record = json.loads(line)
        return record if isinstance(record, dict) and encode(record) == line + b"\n" else None
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Item:
    """One journaled change with everything that was recorded about it.

    Attributes:
        seq: Number of its INTENT.
        name: What the run calls it.
        group: Group it is undone in.
        kind: file, command, engine, service, tree, created.
        intent: The INTENT record.
        done: The DONE record, None when the client was lost.
        tries: How often its undo was started.
        undone: The UNDONE or SETTLED record.
        conflict: The last CONFLICT record.
    """

    seq: int
    name: str
    group: str
    kind: str
    intent: Record
    done: Optional[Record] = None
    tries: int = 0
    undone: Optional[Record] = None
    conflict: Optional[Record] = None

    @property
    def open(self) -> bool:
        """Whether it still has to be undone."""
        return self.undone is None

    @property
    def guards(self) -> Tuple[str, ...]:
        """What the item guards against other leases (``file:/path``, ``unit:name``, ``engine:project``)."""
        return tuple(self.intent.get("guards", ()))


def items(records: Tuple[Record, ...]) -> List[Item]:
    """Return the items of a journal in the order of their INTENTs."""
    found: Dict[int, Dict[str, Any]] = {}
    for record in records:
        kind = record["type"]
        if kind == INTENT:
            found[record["seq"]] = {"intent": record}
        elif kind == DONE:
            found[record["ref"]]["done"] = record
        elif kind == TRY:
            found[record["ref"]]["tries"] = found[record["ref"]].get("tries", 0) + 1
        elif kind in (UNDONE, SETTLED):
            found[record["ref"]]["undone"] = record
        elif kind == CONFLICT:
            found[record["ref"]]["conflict"] = record
    return [
        Item(
            seq=seq,
            name=one["intent"]["item"],
            group=one["intent"]["group"],
            kind=one["intent"]["kind"],
            **one,
        )
        for seq, one in found.items()
    ]


def committed(records: Tuple[Record, ...]) -> bool:
    """Whether the changes were confirmed and must not be undone."""
    return any(record["type"] == COMMIT for record in records)


def undo_order(all_items: List[Item]) -> List[Tuple[str, List[Item]]]:
    """Return what is still to be undone: groups, the last changed first, and in each its items, newest first."""
    groups: Dict[str, List[Item]] = {}
    for item in sorted(all_items, key=lambda one: one.seq, reverse=True):
        if item.open:
            groups.setdefault(item.group, []).append(item)
    return list(groups.items())
