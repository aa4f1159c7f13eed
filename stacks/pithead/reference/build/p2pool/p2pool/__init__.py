"""Stand-in for p2pool: a pool of one node. Real block templates, real submits, a merge-mining roundtrip, p2pool's stats files."""
