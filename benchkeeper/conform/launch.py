"""Run one of our own programs so that it knows loopback alone: `python -P launch.py MODULE`, with its folder on PYTHONPATH.

In a container a program has to listen on all addresses, and there is nothing that it could call. As a process of this computer it
would offer a known password to a network, and send messages to whoever has the address of a recorded agent.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import runpy
import sys
from typing import Any

_create_server = asyncio.base_events.BaseEventLoop.create_server
EVERYWHERE = (None, "", "0.0.0.0", "::")  # noqa: S104 - what is replaced


async def _on_loopback(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
    if options.get("sock") is None and host in EVERYWHERE:
        host = "127.0.0.1"
    return await _create_server(self, factory, host, port, **options)


def _nowhere(event: str, arguments: Any) -> None:
    """Let there be no route to anywhere else."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0]).partition("%")[0]
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))


if __name__ == "__main__":
    setattr(asyncio.base_events.BaseEventLoop, "create_server", _on_loopback)  # noqa: B010 - as an assignment it has no type
    sys.addaudithook(_nowhere)
    name = sys.argv[1]
    sys.argv[1:] = []
    runpy.run_module(name, run_name="__main__", alter_sys=True)
