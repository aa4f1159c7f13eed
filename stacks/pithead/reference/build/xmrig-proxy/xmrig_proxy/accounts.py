"""What the proxy counts: per worker and in total, in the units of xmrig-proxy's API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WINDOWS = (60, 600, 3600, 12 * 3600, 24 * 3600)


@dataclass
class Worker:
    """One worker by name. Hashes are difficulty units; `last_share` is unix milliseconds."""

    name: str
    ip: str
    connections: int = 0
    accepted: int = 0
    rejected: int = 0
    invalid: int = 0
    hashes: int = 0
    last_share: int = 0
    first_seen: float = 0.0
    recent: list[tuple[float, int]] = field(default_factory=list)

    def rates(self, now: float) -> list[float]:
        """Give the rates over the API's windows in kH/s."""
        spans = [max(1.0, min(window, now - self.first_seen)) for window in WINDOWS]
        sums = [sum(amount for at, amount in self.recent if at > now - window) for window in WINDOWS]
        return [round(total / span / 1000, 5) for total, span in zip(sums, spans, strict=True)]

    def row(self, now: float) -> list[Any]:
        """Give the row of /1/workers: thirteen fields, readers drop shorter ones."""
        counts = [self.connections, self.accepted, self.rejected, self.invalid, self.hashes, self.last_share]
        return [self.name, self.ip, *counts, *self.rates(now)]


@dataclass
class Accounts:
    """All workers since the proxy started."""

    started: float
    workers: dict[str, Worker] = field(default_factory=dict)
    best: list[int] = field(default_factory=list)
    most_miners: int = 0

    def joined(self, name: str, ip: str, now: float) -> None:
        """Note that a miner logged in."""
        worker = self.workers.setdefault(name, Worker(name, ip, first_seen=now))
        worker.ip = ip
        worker.connections += 1
        self.most_miners = max(self.most_miners, self.miners)

    def left(self, name: str) -> None:
        """Note that a miner's connection ended."""
        self.workers[name].connections -= 1

    def accepted(self, name: str, difficulty: int, actual: int, now: float) -> None:
        """Count a share that was taken upstream; `actual` is the difficulty its hash had."""
        worker = self.workers[name]
        worker.accepted += 1
        worker.hashes += difficulty
        worker.last_share = int(now * 1000)
        worker.recent.append((now, difficulty))
        worker.recent = [entry for entry in worker.recent if entry[0] > now - WINDOWS[-1]][-4000:]
        self.best = sorted([*self.best, actual], reverse=True)[:10]

    def rejected(self, name: str) -> None:
        """Count a share that was refused upstream."""
        self.workers[name].rejected += 1

    def invalid(self, name: str) -> None:
        """Count a share that never went upstream."""
        self.workers[name].invalid += 1

    @property
    def miners(self) -> int:
        """How many miners are connected."""
        return sum(worker.connections for worker in self.workers.values())

    def summary(self, now: float, donate_level: int, upstreams: int) -> dict[str, Any]:
        """Give the document of /1/summary."""
        workers = self.workers.values()
        totals = [round(sum(column), 5) for column in zip(*(each.rates(now) for each in workers), strict=True)]
        return {
            "id": "standin",
            "worker_id": "xmrig-proxy",
            "version": "6.22.0",
            "kind": "proxy",
            "mode": "simple",
            "uptime": int(now - self.started),
            "donate_level": donate_level,
            "donated": 0.0,
            "hashrate": {"total": [*(totals or [0.0] * len(WINDOWS)), 0.0]},
            "miners": {"now": self.miners, "max": self.most_miners},
            "workers": len(self.workers),
            "upstreams": {"active": upstreams, "sleep": 0, "error": 0, "total": upstreams, "ratio": 1.0},
            "results": {
                "accepted": sum(each.accepted for each in workers),
                "rejected": sum(each.rejected for each in workers),
                "invalid": sum(each.invalid for each in workers),
                "expired": 0,
                "avg_time": 0,
                "latency": 0,
                "hashes_total": sum(each.hashes for each in workers),
                "best": self.best,
            },
        }
