"""The dashboard's database. A failed write is remembered for the life of the process, as the product does."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

TABLES = (
    "CREATE TABLE IF NOT EXISTS blocks (ts REAL, height INTEGER)",
    "CREATE TABLE IF NOT EXISTS xvb_history (ts REAL, rate REAL)",
    "CREATE TABLE IF NOT EXISTS network_history (ts REAL, height INTEGER, difficulty INTEGER)",
    "CREATE TABLE IF NOT EXISTS disk_growth (ts REAL, bytes INTEGER)",
    "CREATE TABLE IF NOT EXISTS worker_history (ts REAL, name TEXT, rate REAL, accepted INTEGER)",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT)",
)
KEEP = 24 * 3600


class Store:
    """History and the few settings that outlive a restart."""

    def __init__(self, path: Path) -> None:
        self.healthy = True
        self._db: sqlite3.Connection | None = None
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA synchronous=NORMAL")
            for table in TABLES:
                self._db.execute(table)
        except sqlite3.Error:
            self.healthy = False

    def setting(self, name: str) -> str:
        """Read a setting, '' when there is none."""
        rows = self._run("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def set(self, name: str, value: str) -> None:
        """Write a setting."""
        self._run("INSERT INTO settings VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value", (name, value))

    def record(self, now: float, height: int, difficulty: int, workers: list[tuple[str, float, int]]) -> None:
        """Add a point of history."""
        self._run("INSERT INTO network_history VALUES (?, ?, ?)", (now, height, difficulty))
        for name, rate, accepted in workers:
            self._run("INSERT INTO worker_history VALUES (?, ?, ?, ?)", (now, name, rate, accepted))
        for table in ("network_history", "worker_history"):
            self._run(f"DELETE FROM {table} WHERE ts < ?", (now - KEEP,))  # noqa: S608 - names of our own

    def share_stats(self) -> list[dict[str, Any]]:
        """Give accepted shares over time."""
        query = "SELECT ts, SUM(accepted) FROM worker_history GROUP BY ts ORDER BY ts DESC LIMIT 60"
        return [{"ts": int(ts), "accepted": accepted} for ts, accepted in self._run(query, ())]

    def _run(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        if self._db is None:
            return []
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error:
            self.healthy = False
            return []
