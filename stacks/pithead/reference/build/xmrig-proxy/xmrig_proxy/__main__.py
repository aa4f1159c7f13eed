"""Start of the xmrig-proxy stand-in."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from common import http, life
from xmrig_proxy.proxy import Proxy


def settings(argv: list[str]) -> argparse.Namespace:
    """Read the command line; secrets come by environment."""
    parser = argparse.ArgumentParser(prog="xmrig-proxy", allow_abbrev=False)
    parser.add_argument("--bind", default="0.0.0.0:3333")
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", default="pithead")
    parser.add_argument("--http-port", type=int, default=3344)
    parser.add_argument("--donate-level", type=int, default=0)
    return parser.parse_args(argv)


async def main() -> None:
    """Serve miners and the API until told to stop."""
    given = settings(sys.argv[1:])
    token = life.setting("PROXY_AUTH_TOKEN")
    pools = [{"url": given.url, "user": given.user, "pass": "x", "enabled": True, "socks5": None, "keepalive": True, "tls": False}]
    config = {"mode": "simple", "donate-level": given.donate_level, "pools": pools, "workers": "user", "bind": [given.bind]}
    proxy = Proxy(config, life.setting("PROXY_STRATUM_PASSWORD", ""))

    async def api(request: http.Request) -> http.Response:
        refused = http.bearer_refusal(request, token)
        if refused is not None:
            return refused
        now = time.time()
        if request.path == "/1/config" and request.method == "PUT":
            try:
                proxy.configure(json.loads(request.body))
            except (ValueError, AttributeError) as error:
                return http.error(400, str(error))
            return http.Response(204)
        if request.method not in {"GET", "HEAD"}:
            return http.error(405)
        if request.path == "/1/config":
            return http.as_json(proxy.config)
        if request.path in {"/1/summary", "/2/summary"}:
            return http.as_json(proxy.accounts.summary(now, given.donate_level, sum(each.connected for each in proxy.upstreams)))
        if request.path == "/1/workers":
            rows = [worker.row(now) for worker in proxy.accounts.workers.values()]
            return http.as_json({"mode": "user", "workers": rows})
        return http.error(404)

    host, _, port = given.bind.rpartition(":")
    stratum = await proxy.server.start(host, int(port))
    interface = await http.serve(api, "0.0.0.0", given.http_port)  # noqa: S104 - inside the stack's network only
    life.log(f"proxy stand-in serves miners on {given.bind}, pool {given.url}, API {given.http_port}")
    async with stratum, interface:
        await asyncio.Event().wait()


if __name__ == "__main__":
    life.run(main)
