"""Stand-in for xmrig-proxy in simple mode: one upstream connection per miner, its API on a port of its own."""
