"""Start of the dashboard stand-in: one poll loop, one HTTP server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import time
from dataclasses import replace
from pathlib import Path

from common import http, life
from common.monerod import Node
from dashboard import gate, sources, view
from dashboard.readings import Readings
from dashboard.store import Store

LOOK_PORT, ACT_PORT = 12375, 12376
LOCK = Path("/pithead-lock")
PAGE = b"<!doctype html><title>Pithead</title><h1>Pithead</h1><p>The numbers are at <a href='/api/state'>/api/state</a>.</p>"


def facts() -> view.Facts:
    """Read what does not change from the environment."""
    return view.Facts(
        version=life.setting("PITHEAD_VERSION", "dev"),
        host=life.setting("HOST_IP", "localhost"),
        onion=life.setting("DASHBOARD_ONION_ADDRESS", ""),
        stratum_port=int(life.setting("STRATUM_PORT", "3333")),
        monero_local=life.setting("MONERO_MODE", "local") == "local",
        tari_mode=life.setting("TARI_MODE", "local"),
        tari_required=life.setting("TARI_REQUIRED", "true") == "true",
        xvb_enabled=life.setting("XVB_ENABLED", "true") == "true",
        control_enabled=life.setting("DASHBOARD_CONTROL_ENABLED", "false") == "true",
        worker_window=life.seconds("WORKER_ONLINE_SEC", 300),
        pool_url="p2pool:3333",
    )


class Dashboard:
    """Polls, remembers, acts."""

    def __init__(self) -> None:
        self.facts = facts()
        self.store = Store(Path("/data/mining_data.db"))
        self.history = view.History(gate=gate.Gate(released=self.store.setting("released") == "yes"))
        self.rules = gate.Rules(
            life.seconds("NODE_DOWN_AFTER_SEC", 90), life.seconds("NODE_RECOVERY_AFTER_SEC", 60), self.facts.tari_required
        )
        user, password = life.setting("MONERO_NODE_USERNAME"), life.setting("MONERO_NODE_PASSWORD")
        host, port = life.setting("MONERO_NODE_HOST", "127.0.0.1"), int(life.setting("MONERO_RPC_PORT", "18081"))
        self.node = Node(host, port, user, password, timeout=3.0)
        target = life.setting("TARI_GRPC_ADDRESS", "")
        self.tari = sources.Tari(target) if target else None
        self.proxy, self.token = life.setting("PROXY_API"), life.setting("PROXY_AUTH_TOKEN")
        self.rig_port = int(life.setting("XMRIG_API_PORT", "8080"))
        self.inside = life.setting("NETWORK_PREFIX", "172.28.0") + ".0/24"

    async def poll(self) -> None:
        """Look at everything once, then do what the gate wants."""
        history = self.history
        monero, tari, workers, containers = await asyncio.gather(
            asyncio.to_thread(sources.monero, self.node),
            asyncio.to_thread(self.tari.read) if self.tari else asyncio.sleep(0, None),
            asyncio.to_thread(sources.workers, self.proxy, self.token),
            asyncio.to_thread(sources.containers, LOOK_PORT),
        )
        connected = sorted({row.ip for row in workers or [] if row.connections > 0})
        rigs = await asyncio.gather(*(asyncio.to_thread(sources.rig, ip, self.rig_port, self.inside) for ip in connected))
        now = time.time()
        stats = sources.stats(Path("/app/stats"), history.readings.stats if history.readings else {})
        known = {ip: rig for ip, rig in zip(connected, rigs, strict=True) if rig is not None}
        seen = Readings(now, monero, tari, workers, known, stats, containers)
        history.monero_last = monero or history.monero_last
        history.tari_last = tari or history.tari_last
        if workers is not None:
            history.workers_last = workers
        else:  # the proxy is away: nobody is connected to it
            history.workers_last = [replace(row, connections=0) for row in history.workers_last]
        was = history.gate
        history.gate, actions = gate.step(was, seen, self.rules)
        if history.gate.released and not was.released:
            self.store.set("released", "yes")
        for action in actions:
            await asyncio.to_thread(self._act, action)
        self.store.record(now, monero.height if monero else 0, monero.difficulty if monero else 0, self._rates())
        history.share_stats, history.db_healthy = self.store.share_stats(), self.store.healthy
        history.readings = seen

    def _rates(self) -> list[tuple[str, float, int]]:
        return [(row.name, row.h60, row.accepted) for row in self.history.workers_last]

    def _act(self, action: gate.Action) -> None:
        """Start or stop a container under the stack's lock; while somebody else changes the stack the next poll tries again."""
        try:
            handle = os.open(LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            handle = -1
        try:
            if handle >= 0:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            done = sources.act(ACT_PORT, action.verb, action.container)
            life.log(f"{action.verb} {action.container}: {'done' if done else 'failed'}")
        except BlockingIOError:
            life.log(f"{action.verb} {action.container}: the stack is being changed, later")
        finally:
            if handle >= 0:
                os.close(handle)

    async def answer(self, request: http.Request) -> http.Response:
        """Answer the routes."""
        if request.method not in {"GET", "HEAD"}:
            return http.error(405)
        if request.path == "/":
            return http.Response(200, PAGE, "text/html; charset=utf-8")
        if request.path == "/api/state":
            return http.as_json(view.state(self.history, self.facts, time.time()))
        if request.path == "/metrics":
            body = view.metrics(view.state(self.history, self.facts, time.time()))
            return http.Response(200, body.encode(), "text/plain; version=0.0.4")
        return http.error(404)


async def main() -> None:
    """Poll and serve until told to stop."""
    dashboard = Dashboard()
    every = life.seconds("UPDATE_INTERVAL", 30)
    server = await http.serve(dashboard.answer, "127.0.0.1", 8000)
    life.log("dashboard stand-in serves 127.0.0.1:8000")
    async with server:
        while True:
            try:
                await dashboard.poll()
            except Exception as error:  # noqa: BLE001 - one bad poll must not end the dashboard
                life.log(f"poll failed: {type(error).__name__}: {error}")
            await asyncio.sleep(every * random.uniform(0.9, 1.1))


if __name__ == "__main__":
    life.run(main)
