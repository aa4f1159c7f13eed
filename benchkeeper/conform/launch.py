"""Run one of our own programs so that it listens on loopback alone: `python -P launch.py MODULE`, with its folder on PYTHONPATH.

In a container a program has to listen on all addresses; as a process of this computer it would offer a known password to a network.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from typing import Any

_create_server = asyncio.base_events.BaseEventLoop.create_server
EVERYWHERE = (None, "", "0.0.0.0", "::")  # noqa: S104 - what is replaced


async def _on_loopback(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
    if options.get("sock") is None and host in EVERYWHERE:
        host = "127.0.0.1"
    return await _create_server(self, factory, host, port, **options)


if __name__ == "__main__":
    asyncio.base_events.BaseEventLoop.create_server = _on_loopback  # type: ignore[method-assign]
    name = sys.argv[1]
    sys.argv[1:] = []
    runpy.run_module(name, run_name="__main__", alter_sys=True)
