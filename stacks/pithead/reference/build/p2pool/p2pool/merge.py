"""The merge-mined chain: asks the base node for its tip by gRPC, as p2pool does before it mines both."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import grpc.aio

from common import protobuf
from common.life import log

TIP = "/tari.rpc.BaseNode/GetTipInfo"


class MergeMining:
    """Keeps a channel to the base node. `state` is spelled as gRPC spells channel states."""

    def __init__(self, target: str, every: float) -> None:
        self.target = target
        self.every = every
        self.state = "TRANSIENT_FAILURE"
        self.height = 0

    async def run(self) -> None:
        """Poll for ever; says once, after the first roundtrip, which chain it mines."""
        said = False
        async with grpc.aio.insecure_channel(self.target) as channel:
            tip = channel.unary_unary(TIP)
            while True:
                try:
                    metadata = protobuf.as_bytes(protobuf.decode(await tip(b"", timeout=3)), 1)
                except (grpc.aio.AioRpcError, ValueError):
                    self.state = "TRANSIENT_FAILURE"
                else:
                    fields = protobuf.decode(metadata)
                    self.state, self.height = "READY", protobuf.as_int(fields, 1)
                    if not said:
                        chain = hashlib.sha256(b"genesis of " + self.target.encode()).hexdigest()
                        log(f"MergeMiningClientTari tari://{self.target} uses chain_id {chain}")
                        said = True
                await asyncio.sleep(self.every)
