"""The miners' side of the proxy and its settings."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any

from common.life import log
from common.stratum import MAX_64, Job, Refused, Server, Session
from xmrig_proxy.accounts import Accounts
from xmrig_proxy.upstream import Upstream

FIRST_JOB_WAIT = 20.0


class Proxy:
    """The desk behind the stratum server: each miner gets an upstream of its own."""

    def __init__(self, config: dict[str, Any], password: str) -> None:
        self.config = config
        self.password = password
        self.accounts = Accounts(time.time())
        self.server = Server(self)

    def pool(self) -> dict[str, Any]:
        """Give the pool in use: the first that is enabled."""
        enabled = [pool for pool in self.config["pools"] if pool.get("enabled", True)]
        return dict(enabled[0]) if enabled else {}

    def configure(self, config: dict[str, Any]) -> None:
        """Take new settings; a change of the pool in use moves every miner."""
        pools = config.get("pools")
        if not isinstance(pools, list) or not all(isinstance(each, dict) and each.get("url") for each in pools) or not pools:
            message = "pools must be a list of objects with url"
            raise ValueError(message)
        before = self.pool()
        self.config = {**self.config, **config}
        if self.pool() != before:
            log(f"config  pool is now {self.pool().get('url')}")
            for upstream in self.upstreams:
                upstream.reconnect()

    @property
    def upstreams(self) -> list[Upstream]:
        """Every miner's upstream."""
        return [each.tag for each in self.server.sessions if isinstance(each.tag, Upstream)]

    async def login(self, session: Session) -> Job:
        """Admit a miner once the pool has work for it."""
        if self.password and not hmac.compare_digest(session.password.encode(), self.password.encode()):
            message = "Unauthenticated"
            raise Refused(message, close=True)
        session.login = session.login or session.rig_id or session.ip
        upstream = Upstream(self.pool, session.push)
        try:
            async with asyncio.timeout(FIRST_JOB_WAIT):
                job = await asyncio.shield(upstream.first)
        except TimeoutError:
            await upstream.close()
            message = "Bad gateway"
            raise Refused(message, close=True) from None
        except asyncio.CancelledError:
            await upstream.close()
            raise
        session.tag = upstream
        self.accounts.joined(session.login, session.ip, time.time())
        log(f"miner   {session.login} connected from {session.ip}, {self.accounts.miners} miners")
        return job

    async def submit(self, session: Session, job: Job, nonce: str, result: str) -> None:
        """Hand a share on."""
        try:
            await session.tag.submit(job.job_id, nonce, result)
        except Refused:
            self.accounts.rejected(session.login)
            raise
        tail = int.from_bytes(bytes.fromhex(result)[24:32], "little")
        self.accounts.accepted(session.login, job.difficulty, MAX_64 // max(1, tail), time.time())

    async def gone(self, session: Session) -> None:
        """End a miner's upstream with it."""
        self.accounts.left(session.login)
        log(f"miner   {session.login} disconnected, {self.accounts.miners} miners")
        await session.tag.close()
