"""Start of the p2pool stand-in."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from common import life
from common.monerod import Node
from p2pool import stats
from p2pool.chain import Chain, watch
from p2pool.merge import MergeMining
from p2pool.options import parse
from p2pool.peers import Lag, PeerMemory, peer_list
from p2pool.pool import Pool


async def main() -> None:
    """Run the pool until told to stop."""
    options = parse(sys.argv[1:])
    node = Node(options.host, options.rpc_port, life.setting("MONERO_NODE_USERNAME"), life.setting("MONERO_NODE_PASSWORD"))
    pool = Pool(Chain(node, options.wallet))
    merge = MergeMining(options.merge_host, life.seconds("MERGE_POLL_SEC", 10))
    root = Path(options.stats_dir)
    memory = PeerMemory(root / "peers.json")
    remembered = memory.read(options.pool)
    lag = Lag(life.seconds("POOL_PEERS_COLD_SEC", 60), life.seconds("POOL_PEERS_STALE_SEC", 120))
    started = time.time()
    life.log(f"P2Pool stand-in, sidechain {options.pool}, p2p port {options.p2p_port}, node {options.host}")
    server = await pool.server.start("0.0.0.0", options.stratum_port)  # noqa: S104 - reachable inside the stack's network only

    async def write_stats() -> None:
        every = life.seconds("STATS_INTERVAL_SEC", 10)
        known = remembered
        while True:
            now = time.time()
            peers = peer_list(options.pool, remembered, now - started, lag)
            if known != options.pool and now - started >= lag.cold + lag.stale:
                known = options.pool
                memory.write(known)
            tip = pool.tip
            view = stats.View(
                now=now,
                started=started,
                counters=pool.counters,
                wallet=options.wallet,
                connections=sum(each.logged_in for each in pool.server.sessions),
                peers=peers,
                height=tip.height if tip else 0,
                difficulty=tip.difficulty if tip else 0,
                reward=tip.reward if tip else 0,
                prev_hash=tip.prev_hash if tip else "",
                zmq_last=pool.tip_seen,
                merge_state=merge.state,
                merge_height=merge.height,
                merge_wallet=options.merge_wallet,
            )
            stats.write(root, stats.documents(view))
            await asyncio.sleep(every)

    if not (root / "peers.json").exists():
        memory.write(options.pool)
    async with server, asyncio.TaskGroup() as group:
        group.create_task(watch(options.host, options.zmq_port, pool.refresh, life.seconds("TEMPLATE_REFRESH_SEC", 10)))
        group.create_task(write_stats())
        if options.merge_host:
            group.create_task(merge.run())


if __name__ == "__main__":
    life.run(main)
