"""One miner's connection to the pool: logs in, hands on jobs and shares, comes back when the pool was away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any

from common import stratum
from common.stratum import Job, Refused

PauseOf = Callable[[], float]


def pause() -> float:
    """Give a jittered pause between two tries, in seconds."""
    return random.uniform(0.3, 0.8)


class Upstream:
    """A connection that is kept up as long as its miner is there."""

    def __init__(self, pool: Callable[[], dict[str, Any]], heard: Callable[[Job], None]) -> None:
        self._pool = pool
        self._heard = heard
        self._ids = itertools.count(2)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._session = ""
        self._task = asyncio.ensure_future(self._run())
        self.first: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

    @property
    def connected(self) -> bool:
        """Whether the pool has logged us in."""
        return bool(self._session)

    async def submit(self, job_id: str, nonce: str, result: str) -> None:
        """Send a share and wait for the pool's word; Refused carries it."""
        if self._writer is None or not self._session:
            message = "Bad gateway"
            raise Refused(message)
        number = next(self._ids)
        params = {"id": self._session, "job_id": job_id, "nonce": nonce, "result": result, "algo": "rx/0"}
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(stratum.request(number, "submit", params))
        try:
            async with asyncio.timeout(20):
                answer = await future
        except TimeoutError:
            message = "Bad gateway"
            raise Refused(message) from None
        finally:
            self._waiting.pop(number, None)
        if answer.get("error"):
            failure = answer["error"]
            raise Refused(str(failure.get("message", "refused")), code=int(failure.get("code", -1)))

    def reconnect(self) -> None:
        """Drop the connection; the next one goes to the pool that is then first."""
        if self._writer is not None:
            self._writer.close()

    async def close(self) -> None:
        """End for good."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError, KeyError, asyncio.LimitOverrunError):
                await self._connection()
            self._drop()
            await asyncio.sleep(pause())

    async def _connection(self) -> None:
        pool = self._pool()
        host, _, port = str(pool["url"]).rpartition(":")
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, int(port), limit=stratum.MAX_LINE)
        self._writer = writer
        login = {
            "login": pool.get("user") or "x",
            "pass": pool.get("pass") or "x",
            "agent": "xmrig-proxy/standin",
            "algo": ["rx/0"],
        }
        writer.write(stratum.request(1, "login", login))
        while line := await reader.readline():
            self._take(stratum.parse(line))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "job":
            self._hand_on(stratum.job_from_wire(message["params"]))
        elif message.get("id") == 1:
            result = message.get("result")
            if not isinstance(result, dict):
                raise ConnectionError(str(message.get("error")))
            self._session = str(result["id"])
            self._hand_on(stratum.job_from_wire(result["job"]))
        elif (future := self._waiting.get(int(message.get("id") or 0))) and not future.done():
            future.set_result(message)

    def _hand_on(self, job: Job) -> None:
        if not self.first.done():
            self.first.set_result(job)
        self._heard(job)

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._session = None, ""
        for future in self._waiting.values():
            if not future.done():
                future.set_result({"error": {"code": -1, "message": "Bad gateway"}})
