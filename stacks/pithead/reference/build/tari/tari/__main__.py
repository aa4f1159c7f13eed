"""Start of the Tari stand-in: gRPC on 18142 with messages encoded by hand, so that no generated code is needed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio

from common import life
from common.protobuf import blob, number

SERVICE = "tari.rpc.BaseNode"
READY = 2
STARTING_UP = 1
GENESIS_HEIGHT = 2000
Call = Callable[[bytes, object], Awaitable[bytes]]


class Chain:
    """A tip that rises by one every block time and is remembered over restarts."""

    def __init__(self, path: Path, block_time: float, sync_time: float) -> None:
        self.path, self.block_time = path, block_time
        self.ready_at = time.monotonic() + sync_time
        try:
            self._from = int(json.loads(path.read_text())["height"])
        except (OSError, ValueError, KeyError, TypeError):
            self._from = GENESIS_HEIGHT
        self._since = time.monotonic()

    @property
    def synced(self) -> bool:
        """Whether the initial synchronisation is over."""
        return time.monotonic() >= self.ready_at

    @property
    def height(self) -> int:
        """The tip's height."""
        return self._from + int((time.monotonic() - self._since) / self.block_time)

    def save(self) -> None:
        """Remember the tip."""
        self.path.write_text(json.dumps({"height": self.height}))


def tip_info(chain: Chain) -> bytes:
    """Encode TipInfoResponse{metadata{best_block_height}, initial_sync_achieved, base_node_state}."""
    metadata = number(1, chain.height) + blob(2, chain.height.to_bytes(32, "big"))
    return blob(1, metadata) + number(2, int(chain.synced)) + number(3, 4 if chain.synced else 1)


def sync_progress(chain: Chain) -> bytes:
    """Encode SyncProgressResponse{tip_height, local_height, state}."""
    return number(1, chain.height) + number(2, chain.height if chain.synced else 0) + number(3, 4 if chain.synced else 2)


def network_state(chain: Chain) -> bytes:
    """Encode GetNetworkStateResponse{metadata, initial_sync_achieved, readiness_status}."""
    return blob(1, number(1, chain.height)) + number(2, int(chain.synced)) + number(3, READY if chain.synced else STARTING_UP)


def version(_chain: Chain) -> bytes:
    """Encode StringValue."""
    return blob(1, b"standin-1.0.0")


def handlers(chain: Chain) -> grpc.GenericRpcHandler:
    """Build the service from the encoders."""

    def method(encode: Callable[[Chain], bytes]) -> grpc.RpcMethodHandler:
        async def call(_request: bytes, _context: object) -> bytes:
            return encode(chain)

        return grpc.unary_unary_rpc_method_handler(call)

    calls = {
        "GetTipInfo": tip_info,
        "GetSyncProgress": sync_progress,
        "GetNetworkState": network_state,
        "GetVersion": version,
    }
    return grpc.method_handlers_generic_handler(SERVICE, {name: method(encode) for name, encode in calls.items()})


async def main() -> None:
    """Serve until told to stop."""
    chain = Chain(
        Path(life.setting("TARI_STATE", "/var/tari/node/tip.json")),
        life.seconds("TARI_BLOCK_TIME_SEC", 120),
        life.seconds("TARI_SYNC_SEC", 30),
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(chain),))
    server.add_insecure_port("0.0.0.0:18142")
    await server.start()
    life.log(f"Tari base node stand-in serves gRPC on 18142 at height {chain.height}")
    try:
        while True:
            await asyncio.sleep(chain.block_time)
            chain.save()
    finally:
        chain.save()
        await server.stop(0)


if __name__ == "__main__":
    life.run(main)
