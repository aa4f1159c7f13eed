"""What one poll saw. A source that could not be asked is None, which is never the same as a source that said no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChainReading:
    """One chain's node. `synced` is its own word; heights are block numbers; `pruned` None when it cannot be told."""

    height: int
    target: int
    synced: bool
    database_size: int = 0
    pruned: bool | None = None
    difficulty: int = 0


@dataclass(frozen=True)
class WorkerRow:
    """One row of the proxy's /1/workers. Rates in H/s, `last_share` in unix seconds."""

    name: str
    ip: str
    connections: int
    accepted: int
    rejected: int
    invalid: int
    hashes: int
    last_share: float
    h60: float
    h15: float


@dataclass(frozen=True)
class RigReading:
    """A rig's own answer on its API port: rates in H/s, uptime in seconds."""

    h60: float
    h15: float
    uptime: int
    version: str


@dataclass(frozen=True)
class Readings:
    """Everything one poll saw; `at` is unix seconds."""

    at: float
    monero: ChainReading | None = None
    tari: ChainReading | None = None
    workers: list[WorkerRow] | None = None
    rigs: dict[str, RigReading] = field(default_factory=dict)
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)
    containers: dict[str, str] | None = None


def worker_rows(document: dict[str, Any]) -> list[WorkerRow]:
    """Read the proxy's rows; rates are kH/s there, and rows shorter than thirteen fields are dropped."""
    rows = []
    for row in document.get("workers", []):
        if not isinstance(row, list) or len(row) < 13:
            continue
        rows.append(
            WorkerRow(
                name=str(row[0]),
                ip=str(row[1]),
                connections=int(row[2]),
                accepted=int(row[3]),
                rejected=int(row[4]),
                invalid=int(row[5]),
                hashes=int(row[6]),
                last_share=row[7] / 1000,
                h60=row[8] * 1000,
                h15=row[9] * 1000,
            )
        )
    return rows


def pool_type(peers: list[str]) -> str:
    """Infer the sidechain from the ports most peers have; Unknown without peers."""
    kinds = {"37889": "Main", "37888": "Mini", "37890": "Nano"}
    counts: dict[str, int] = {}
    for peer in peers:
        kind = kinds.get(peer.rpartition(":")[2])
        if kind:
            counts[kind] = counts.get(kind, 0) + 1
    return max(counts, key=lambda kind: counts[kind]) if counts else "Unknown"


def online(row: WorkerRow, now: float, window: float) -> bool:
    """Tell whether a worker counts as online: a connection, or a share within the window."""
    return row.connections > 0 or now - row.last_share < window
