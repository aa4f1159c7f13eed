"""Start of the filter.

Environment: the ownership triple, FILTER_LISTEN (`unix:/path` or `host:port`), FILTER_ROOTS (`:` between paths), DOCKER_SOCKET.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

from aiohttp import web

from socket_filter.proxy import application
from socket_filter.rules import TRIPLE, Policy

NAMES = ("BENCHKEEPER_OWNER", "BENCHKEEPER_STACK", "BENCHKEEPER_RUN")


def policy(env: Mapping[str, str]) -> Policy:
    """Return what is forced on everything. Raises ValueError when a part of the triple is missing."""
    missing = [name for name in NAMES if not env.get(name)]
    if missing:
        raise ValueError(f"not set: {', '.join(missing)}; without all three, what passes would be nobody's")
    roots = tuple(root.rstrip("/") for root in env.get("FILTER_ROOTS", "").split(":") if root)
    if any(not root.startswith("/") or root.count("/") < 2 for root in roots):
        raise ValueError("FILTER_ROOTS must name absolute directories, at least two levels deep")
    return Policy(dict(zip(TRIPLE, (env[name] for name in NAMES), strict=True)), roots)


async def serve(rules: Policy, listen: str, socket: str) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(application(rules, socket), access_log=None)
    await runner.setup()
    host, _colon, port = listen.rpartition(":")
    site = web.UnixSite(runner, listen[5:]) if listen.startswith("unix:") else web.TCPSite(runner, host or "127.0.0.1", int(port))
    await site.start()
    print(f"socket filter: {listen}, for {rules.triple}", flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> int:
    """Run the filter; return its exit code."""
    try:
        rules = policy(os.environ)
    except ValueError as error:
        print(f"socket filter: {error}", file=sys.stderr)
        return 2
    asyncio.run(
        serve(rules, os.environ.get("FILTER_LISTEN", "127.0.0.1:2375"), os.environ.get("DOCKER_SOCKET", "/var/run/docker.sock"))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
