"""The short-lived keys, in Redis."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import redis.asyncio
import redis.exceptions

from tenant.store import CacheDown

TIMEOUT = 5.0  # seconds, for connecting and for one command; contract 8


async def connect(url: str) -> Keys:
    """Open Redis and ping it; ConnectionRefusedError when nobody listens, CacheDown for any other trouble."""
    client = redis.asyncio.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, decode_responses=True)
    try:
        await client.ping()
    except redis.exceptions.ConnectionError as failure:
        await client.aclose()
        if isinstance(failure.__cause__ or failure.__context__, ConnectionRefusedError):
            raise ConnectionRefusedError from failure
        raise CacheDown(type(failure).__name__) from failure
    except (redis.exceptions.RedisError, OSError) as failure:
        await client.aclose()
        raise CacheDown(type(failure).__name__) from failure
    return Keys(client)


class Keys:
    """A `Cache`; its methods are described there."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def _do(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (redis.exceptions.RedisError, OSError) as failure:
            raise CacheDown(type(failure).__name__) from failure

    async def put(self, key: str, value: str, seconds: int) -> None:
        await self._do(self._client.set(key, value, ex=seconds))

    async def get(self, key: str) -> str | None:
        value = await self._do(self._client.get(key))
        return None if value is None else str(value)

    async def drop(self, *keys: str) -> None:
        if keys:
            await self._do(self._client.delete(*keys))

    async def close(self) -> None:
        await self._client.aclose()
