"""p2pool's command line, as far as the stack uses it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

PORTS = {"Main": 37889, "Mini": 37888, "Nano": 37890}


@dataclass(frozen=True)
class Options:
    """What the process was started with."""

    host: str
    rpc_port: int
    zmq_port: int
    wallet: str
    pool: str
    merge_host: str
    merge_wallet: str
    stratum_port: int
    stats_dir: str

    @property
    def p2p_port(self) -> int:
        """The sidechain's port, by which others tell which sidechain this is."""
        return PORTS[self.pool]


def parse(argv: list[str]) -> Options:
    """Read the command line; SystemExit(2) when it is wrong."""
    parser = argparse.ArgumentParser(prog="p2pool", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rpc-port", type=int, default=18081)
    parser.add_argument("--zmq-port", type=int, default=18083)
    parser.add_argument("--wallet", required=True)
    parser.add_argument("--stratum", default="0.0.0.0:3333")
    parser.add_argument("--data-api", default="/stats")
    parser.add_argument("--local-api", action="store_true")
    parser.add_argument("--merge-mine", nargs=2, metavar=("URI", "WALLET"), default=("", ""))
    parser.add_argument("--socks5", default="")
    parser.add_argument("--no-dns", action="store_true")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--mini", action="store_const", const="Mini", dest="pool", default="Main")
    side.add_argument("--nano", action="store_const", const="Nano", dest="pool")
    given = parser.parse_args(argv)
    return Options(
        host=given.host,
        rpc_port=given.rpc_port,
        zmq_port=given.zmq_port,
        wallet=given.wallet,
        pool=given.pool,
        merge_host=given.merge_mine[0].removeprefix("tari://"),
        merge_wallet=given.merge_mine[1],
        stratum_port=int(given.stratum.rpartition(":")[2]),
        stats_dir=given.data_api,
    )
