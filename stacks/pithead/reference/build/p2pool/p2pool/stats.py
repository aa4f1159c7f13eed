"""p2pool's stats files: pure documents, written in place as p2pool does (a reader may see half of one)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Counters:
    """What one session of the pool has counted. Hashes are difficulty units; times are unix seconds."""

    shares_found: int = 0
    shares_failed: int = 0
    stratum_shares: int = 0
    total_hashes: int = 0
    last_share: int = 0
    blocks_found: int = 0
    last_block_height: int = 0
    last_block_time: int = 0
    recent: list[tuple[float, int]] = field(default_factory=list)

    def share(self, now: float, difficulty: int) -> None:
        """Count an accepted share."""
        self.stratum_shares += 1
        self.total_hashes += difficulty
        self.last_share = int(now)
        self.recent.append((now, difficulty))
        self.recent = [entry for entry in self.recent if entry[0] > now - 86400][-4000:]

    def rate(self, now: float, window: float, started: float) -> int:
        """Give hashes per second over a window of seconds."""
        span = max(1.0, min(window, now - started))
        return round(sum(amount for at, amount in self.recent if at > now - window) / span)


@dataclass(frozen=True)
class View:
    """Everything the files tell, at one moment."""

    now: float
    started: float
    counters: Counters
    wallet: str
    connections: int
    peers: list[str]
    height: int
    difficulty: int
    reward: int
    prev_hash: str
    zmq_last: float
    merge_state: str
    merge_height: int
    merge_wallet: str


def documents(view: View) -> dict[str, dict[str, Any]]:
    """Build the files: relative path -> document."""
    counters, now = view.counters, view.now
    found = counters.shares_found
    return {
        "local/stratum": {
            "hashrate_15m": counters.rate(now, 900, view.started),
            "hashrate_1h": counters.rate(now, 3600, view.started),
            "hashrate_24h": counters.rate(now, 86400, view.started),
            "total_hashes": counters.total_hashes,
            "total_stratum_shares": counters.stratum_shares,
            "last_share_found_time": counters.last_share,
            "shares_found": found,
            "shares_failed": counters.shares_failed,
            "average_effort": 100.0 if found else 0.0,
            "current_effort": 0.0,
            "connections": view.connections,
            "incoming_connections": view.connections,
            "block_reward_share_percent": 100.0 if found else 0.0,
            "wallet": view.wallet,
        },
        "local/p2p": {
            "connections": len(view.peers),
            "incoming_connections": 0,
            "peer_list_size": len(view.peers),
            "peers": view.peers,
            "uptime": int(now - view.started),
            "zmq_last_active": max(0, int(now - view.zmq_last)) if view.zmq_last else int(now),
        },
        "local/merge_mining": {
            "chains": [
                {
                    "channel_state": view.merge_state,
                    "wallet": view.merge_wallet,
                    "height": view.merge_height,
                    "reward": 0,
                    "difficulty": 1,
                }
            ]
            if view.merge_wallet
            else []
        },
        "pool/stats": {
            "pool_list": ["pplns"],
            "pool_statistics": {
                "hashRate": counters.rate(now, 900, view.started),
                "miners": 1 if counters.stratum_shares else 0,
                "totalHashes": counters.total_hashes,
                "lastBlockFoundTime": counters.last_block_time,
                "lastBlockFound": counters.last_block_height,
                "totalBlocksFound": counters.blocks_found,
                "pplnsWeight": counters.total_hashes,
                "pplnsWindowSize": min(2160, found),
                "sidechainDifficulty": view.difficulty,
                "sidechainHeight": found,
            },
        },
        "network/stats": {
            "difficulty": view.difficulty,
            "hash": view.prev_hash,
            "height": view.height,
            "reward": view.reward,
            "timestamp": int(now),
        },
    }


def write(root: Path, files: dict[str, dict[str, Any]]) -> None:
    """Rewrite the files in place."""
    for name, document in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
