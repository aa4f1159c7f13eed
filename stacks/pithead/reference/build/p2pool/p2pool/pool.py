"""The desk behind the stratum server: who mines what, and what becomes of a share."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import NoReturn

from common.life import log
from common.stratum import Job, Refused, Server, Session, meets_difficulty, with_nonce
from p2pool.chain import Chain, Template
from p2pool.stats import Counters

FIRST_JOB_WAIT = 15.0


class Pool:
    """Gives each connection templates of its own and turns good shares into blocks."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.counters = Counters()
        self.server = Server(self)
        self.tip: Template | None = None
        self.tip_seen = 0.0
        self._ready = asyncio.Event()
        self._templates: dict[str, Template] = {}
        self._previous = ""

    async def login(self, session: Session) -> Job:
        """Admit a miner as soon as there is work."""
        session.tag = secrets.token_hex(8)
        try:
            async with asyncio.timeout(FIRST_JOB_WAIT):
                await self._ready.wait()
        except TimeoutError:
            message = "No block template yet"
            raise Refused(message, close=True) from None
        job = await self._job(session)
        if job is None:
            message = "No block template yet"
            raise Refused(message, close=True)
        log(f"StratumServer client {session.ip} logged in as {session.login}")
        return job

    async def submit(self, session: Session, job: Job, nonce: str, result: str) -> None:
        """Take a share: it is a block when it is good enough for one, and then the node has the last word."""
        template = self._templates.get(job.job_id)
        now = time.time()
        if template is None or self.tip is None:
            self._failed("Stale share")
        if template.prev_hash != self.tip.prev_hash or not meets_difficulty(result, template.difficulty):
            # No block, but work all the same: the miner may not have heard of the new tip yet. The node checks the claim.
            if not await self.chain.is_hash_of(template, with_nonce(template.hashing_blob, nonce), result):
                self._failed("Invalid share")
            self.counters.share(now, job.difficulty)
            return
        why = await self.chain.submit(with_nonce(template.blob, nonce))
        if why and template.prev_hash == self.tip.prev_hash:
            # The tip is still the one of the job, so the node refuses the hash itself: the claim was wrong.
            log(f"StratumServer share of {session.login} refused: {why}")
            self._failed(why)
        self.counters.share(now, job.difficulty)
        if not why:
            self.counters.shares_found += 1
            self.counters.blocks_found += 1
            self.counters.last_block_height = template.height
            self.counters.last_block_time = int(now)
            log(f"P2Pool BLOCK FOUND: main chain block at height {template.height} was mined by {session.login}")

    def _failed(self, why: str) -> NoReturn:
        self.counters.shares_failed += 1
        raise Refused(why)

    async def gone(self, session: Session) -> None:
        """Forget a miner."""
        log(f"StratumServer client {session.ip} disconnected")

    async def refresh(self) -> None:
        """Look at the node's tip; when it moved, everybody gets new work."""
        template = await self.chain.template("00" * 8)
        if template is None:
            return
        moved = self.tip is None or template.prev_hash != self.tip.prev_hash
        if moved and self.tip is None:
            log(f"P2Pool node is up at height {template.height}, difficulty {template.difficulty}")
        self.tip = template
        self.tip_seen = time.time()
        self._ready.set()
        if moved:
            previous = self._previous
            self._templates = {job: old for job, old in self._templates.items() if old.prev_hash == previous}
            self._previous = template.prev_hash
            for session in [each for each in self.server.sessions if each.logged_in]:
                job = await self._job(session)
                if job is not None:
                    session.push(job)

    async def _job(self, session: Session) -> Job | None:
        template = await self.chain.template(session.tag)
        if template is None:
            return None
        job_id = secrets.token_hex(4)
        self._templates[job_id] = template
        return Job(job_id, template.hashing_blob, template.difficulty, template.height, template.seed_hash)
