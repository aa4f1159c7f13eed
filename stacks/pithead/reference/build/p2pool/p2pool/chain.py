"""The node's side of the pool: templates, submits, and word of new blocks."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import zmq
import zmq.asyncio

from common.life import log
from common.monerod import Node, NodeError

TOPIC = b"json-minimal-chain_main"


@dataclass(frozen=True)
class Template:
    """What get_block_template gave. Blobs are hex, `reward` in piconero."""

    blob: str
    hashing_blob: str
    difficulty: int
    height: int
    prev_hash: str
    seed_hash: str
    reward: int


class Chain:
    """Asks the node, one call at a time, without blocking the event loop."""

    def __init__(self, node: Node, wallet: str) -> None:
        self.node = node
        self.wallet = wallet

    async def template(self, extra_nonce: str) -> Template | None:
        """Ask for work of one's own: the extra nonce keeps two miners from searching the same blobs. None: cannot ask."""
        try:
            answer = await asyncio.to_thread(
                self.node.call, "get_block_template", {"wallet_address": self.wallet, "extra_nonce": extra_nonce}
            )
        except NodeError as error:
            log(f"ERROR   node refused a template: {error}")
            return None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        return Template(
            blob=answer["blocktemplate_blob"],
            hashing_blob=answer["blockhashing_blob"],
            difficulty=answer["difficulty"],
            height=answer["height"],
            prev_hash=answer["prev_hash"],
            seed_hash=answer["seed_hash"],
            reward=answer["expected_reward"],
        )

    async def is_hash_of(self, template: Template, blob: str, result: str) -> bool:
        """Let the node compute the hash of a hashing blob and compare it with a claim; False also when it cannot be asked."""
        params = {
            "major_version": int(template.blob[:2], 16),
            "height": template.height,
            "block_blob": blob,
            "seed_hash": template.seed_hash,
        }
        try:
            return bool(await asyncio.to_thread(self.node.call_plain, "calc_pow", params) == result)
        except (NodeError, OSError, http.client.HTTPException, ValueError):
            return False

    async def submit(self, blob: str) -> str:
        """Hand in a block; '' when it was taken, else the reason."""
        try:
            await asyncio.to_thread(self.node.call, "submit_block", [blob])
        except NodeError as error:
            return str(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"node does not answer: {error}"
        return ""


async def watch(host: str, port: int, heard: Callable[[], Awaitable[None]], every: float) -> None:
    """Call `heard` for each block the node announces, and every so often without one, in case an announcement was lost."""
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 200)
    socket.subscribe(TOPIC)
    socket.connect(f"tcp://{host}:{port}")
    log(f"ZMQReader subscribed to {TOPIC.decode()} at {host}:{port}")
    while True:
        await heard()
        if await socket.poll(int(every * 1000)):
            await socket.recv()
            while await socket.poll(0):  # several blocks at once are one change of tip
                await socket.recv()
