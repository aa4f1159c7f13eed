"""Store and cache in memory, which the conformance tests stand on, keep the contract that the database is held to."""

from __future__ import annotations

import asyncio

import pytest
from tenant_contract import STORIES, Story, keys_are_kept_and_dropped
from tenant_memory import MemoryCache, MemoryStore


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_store(story: Story) -> None:
    asyncio.run(story(MemoryStore()))


def test_cache() -> None:
    asyncio.run(keys_are_kept_and_dropped(MemoryCache()))
