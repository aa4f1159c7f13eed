"""The state document: a pure function of the last readings and what the gate remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dashboard.gate import Gate
from dashboard.readings import ChainReading, Readings, RigReading, WorkerRow, online, pool_type

NODES = ("browser", "caddy", "dashboard", "docker", "internet", "monerod", "p2pool", "rigs", "tari", "tor", "xmrig-proxy")
POOL_PORTS = {"3333": "p2pool", "37889": "p2pool", "37888": "p2pool", "37890": "p2pool", "3344": "xvb", "4247": "xvb"}


@dataclass(frozen=True)
class Facts:
    """What does not change while the dashboard runs."""

    version: str
    host: str
    onion: str
    stratum_port: int
    monero_local: bool
    tari_mode: str
    tari_required: bool
    xvb_enabled: bool
    control_enabled: bool
    worker_window: float
    pool_url: str


@dataclass
class History:
    """What is kept between polls and, in part, over restarts."""

    readings: Readings | None = None
    monero_last: ChainReading | None = None
    tari_last: ChainReading | None = None
    workers_last: list[WorkerRow] = field(default_factory=list)
    db_healthy: bool = True
    share_stats: list[dict[str, Any]] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)


def sync_of(reading: ChainReading | None, *, local: bool, mode: str | None = None) -> dict[str, Any]:
    """Tell how far a chain is: done first, loading while nothing is known, syncing between."""
    if reading is None:
        document: dict[str, Any] = {"state": "loading", "percent": 0, "current": 0, "target": 0, "remaining": 0}
    else:
        percent = 100 if reading.synced else int(100 * reading.height / max(1, reading.target))
        if not reading.synced and reading.target == reading.height:
            percent = 0
        document = {
            "state": "done" if reading.synced else "syncing" if reading.target else "loading",
            "percent": percent,
            "current": reading.height,
            "target": reading.target,
            "remaining": 0 if reading.synced else max(0, reading.target - reading.height),
        }
    document["local"] = local
    if mode is not None:
        document |= {"mode": mode, "db_size": _size(reading.database_size if reading else 0)}
    return document


def badges(history: History, facts: Facts) -> list[dict[str, str]]:
    """List what deserves a badge, worst first."""
    seen = history.readings
    found = []
    if history.gate.rejected:
        found.append({"level": "bad", "text": "Workers rejected"})
    if history.gate.holding:
        found.append({"level": "warn", "text": "Miner held (sync)"})
    if seen is not None and seen.monero is None:
        found.append({"level": "bad", "text": "monerod DOWN"})
    if seen is not None and seen.tari is None and facts.tari_mode != "off":
        found.append({"level": "bad" if facts.tari_required else "warn", "text": "Tari DOWN"})
    if seen is not None and seen.monero is not None and not seen.monero.synced:
        found.append({"level": "warn", "text": "Syncing..."})
    found.append({"level": "info", "text": f"P2Pool {pool_type(_peers(seen))}"})
    return found


def state(history: History, facts: Facts, now: float) -> dict[str, Any]:
    """Build /api/state."""
    seen = history.readings or Readings(at=0.0)
    monero, tari = history.monero_last, history.tari_last
    mode = "Unknown" if monero is None or monero.pruned is None else "Pruned" if monero.pruned else "Full"
    rows = [_worker(row, seen.rigs.get(row.ip), facts, now) for row in history.workers_last]
    here = [row for row in rows if row["status"] == "online"]
    stratum, p2p = seen.stats.get("local/stratum", {}), seen.stats.get("local/p2p", {})
    pool, network = seen.stats.get("pool/stats", {}).get("pool_statistics", {}), seen.stats.get("network/stats", {})
    chains = seen.stats.get("local/merge_mining", {}).get("chains") or [{}]
    summary = {"level": "ok", "leaks": 0}
    tari_on = facts.tari_mode != "off"
    return {
        "syncing": monero is None or not monero.synced,
        "page_title": "Pithead",
        "host_ip": facts.host,
        "host_addr": facts.host,
        "dashboard_onion": facts.onion,
        "stratum_port": facts.stratum_port,
        "version": facts.version,
        "update": None,
        "control_enabled": facts.control_enabled,
        "os_update": None,
        "last_update": seen.at,
        "range": "24h",
        "window": 86400,
        "avg_window": 600,
        "avg_windows": [600, 3600],
        "badges": badges(history, facts),
        "db_healthy": history.db_healthy,
        "hashrate": {
            "mode_name": "P2POOL",
            "total": round(sum(row["h60"] for row in here), 2),
            "xvb_enabled": facts.xvb_enabled,
            "xvb_stale": False,
            "xvb_routed_1h": "0.00 H/s",
        },
        "system": {"containers": seen.containers or {}},
        "sync": {
            "monero": sync_of(monero, local=facts.monero_local, mode=mode),
            "tari": sync_of(tari, local=facts.tari_mode == "local"),
        },
        "stratum": {
            "conns": stratum.get("connections", 0),
            "total_hashes": stratum.get("total_hashes", 0),
            "shares": f"{stratum.get('shares_found', 0)} / {stratum.get('shares_failed', 0)}",
            "effort": stratum.get("current_effort", 0),
            "last_share": stratum.get("last_share_found_time", 0),
        },
        "pool": {
            "type": pool_type(_peers(history.readings)),
            "peers": f"{p2p.get('connections', 0)} / {p2p.get('incoming_connections', 0)}",
            "hashrate": pool.get("hashRate", 0),
            "miners": pool.get("miners", 0),
            "blocks_found": pool.get("totalBlocksFound", 0),
            "sidechain_height": pool.get("sidechainHeight", 0),
        },
        "network": {key: network.get(key, 0) for key in ("difficulty", "height", "reward", "timestamp")},
        "monero": {"mode": mode, "db_size": _size(monero.database_size if monero else 0)},
        "shares_window": {"count": pool.get("pplnsWindowSize", 0), "ok": pool.get("pplnsWindowSize", 0) > 0},
        "cadence": None,
        "raffle_eligible": False,
        "raffle_wins": [],
        "proxy_workers": len(here),
        "earnings": {"confirmed": {"enabled": False}, "tari_confirmed": {"enabled": False}},
        "earnings_summary": None,
        "xvb_calc": None,
        "xvb_standby": None,
        "tari": {
            "active": tari_on,
            "connected": tari_on and seen.tari is not None,
            "status": "OFF" if not tari_on else str(chains[0].get("channel_state", "IDLE")),
            "reward": chains[0].get("reward", 0),
            "height": chains[0].get("height", 0),
            "diff": chains[0].get("difficulty", 0),
            "wallet": str(chains[0].get("wallet", ""))[:8],
            "health": None,
        },
        "workers": rows,
        "energy": None,
        "proxy_summary": {
            "accepted": sum(row["accepted"] for row in rows),
            "rejected": sum(row["rejected"] for row in rows),
            "invalid": sum(row["invalid"] for row in rows),
        },
        "share_stats": history.share_stats,
        "reject_pct_24h": 0.0,
        "blocks": [],
        "payouts": [],
        "disk_growth": None,
        "xvb_history": [],
        "egress": {"summary": summary},
        "topology": {"summary": summary, "nodes": [{"id": name} for name in NODES if tari_on or name != "tari"]},
        "chart": [],
    }


def metrics(document: dict[str, Any]) -> str:
    """Render the numbers of a state document for Prometheus."""
    values = {
        "pithead_workers_online": document["proxy_workers"],
        "pithead_hashrate": document["hashrate"]["total"],
        "pithead_stratum_total_hashes": document["stratum"]["total_hashes"],
        "pithead_monero_height": document["sync"]["monero"]["current"],
        "pithead_monero_synced": int(document["sync"]["monero"]["state"] == "done"),
        "pithead_tari_height": document["sync"]["tari"]["current"],
        "pithead_tari_synced": int(document["sync"]["tari"]["state"] == "done"),
        "pithead_db_healthy": int(document["db_healthy"]),
    }
    return "".join(f"{name} {value}\n" for name, value in values.items())


def _worker(row: WorkerRow, rig: RigReading | None, facts: Facts, now: float) -> dict[str, Any]:
    here = online(row, now, facts.worker_window)
    h60, h15 = (rig.h60, rig.h15) if rig else (row.h60, row.h15)
    pool = next((name for part, name in POOL_PORTS.items() if part in facts.pool_url), "unknown")
    return {
        "name": row.name,
        "ip": row.ip,
        "ip_sort": "".join(f"{int(part):03d}" for part in row.ip.split(".") if part.isdigit()),
        "pool": pool,
        "status": "online" if here else "offline",
        "h60": h60 if here else 0,
        "h15": h15 if here else 0,
        "h60_str": f"{h60 if here else 0:.2f} H/s",
        "accepted": row.accepted,
        "rejected": row.rejected,
        "invalid": row.invalid,
        "reject_flag": row.rejected > row.accepted,
        "connections": row.connections,
        "uptime": rig.uptime if rig else 0,
        "api_ok": rig is not None,
        "adopted": False,
        "rigforge": None,
        "rigforge_update": None,
    }


def _peers(seen: Readings | None) -> list[str]:
    peers = (seen.stats if seen else {}).get("local/p2p", {}).get("peers", [])
    return [str(peer) for peer in peers]


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
