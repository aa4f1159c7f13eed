"""The filter as an HTTP server: each request is judged, asked about where need be, and sent to the engine as a new one."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from socket_filter import rules
from socket_filter.rules import Needs, Policy, Refused, Wish

MAX_BODY = 1024 * 1024
PATIENCE = aiohttp.ClientTimeout(total=120)  # a stop waits for the container
_INSPECT = {"containers": "/containers/{}/json", "networks": "/networks/{}", "volumes": "/volumes/{}"}


class Unanswered(Exception):
    """The engine does not answer."""


def leads_through_a_link(path: str, root: str) -> bool:
    """Tell whether a path below a root is not there, is no directory, or has a link on the way.

    A container of ours may write below the root; through a link that it makes there the engine would mount any directory of the
    host.
    """
    place = root
    for part in ["", *[one for one in path[len(root) :].split("/") if one]]:
        place = f"{place}/{part}" if part else place
        try:
            mode = os.lstat(place).st_mode
        except OSError:
            return True
        if not stat.S_ISDIR(mode):
            return True
    return False


class Filter:
    """The filter in front of one engine; `session` speaks to the engine's socket."""

    def __init__(self, policy: Policy, session: aiohttp.ClientSession) -> None:
        self._policy = policy
        self._session = session

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            wish = rules.judge(request.method, request.rel_url.raw_path, request.rel_url.query.items())
            if wish.rule.action == rules.LOOK:
                return await self._send(wish, wish.path)
            if wish.rule.action == rules.CREATE:
                body, needs = self._body(wish, rules.parse(await request.read()))
                await self._check(needs)
                return await self._send(wish, wish.path, body)
            return await self._owned(wish)
        except Refused as error:
            print(f"refused: {str(error)!a}", flush=True)
            return _answer(403, f"socket filter: {error}")
        except Unanswered as error:
            return _answer(503, f"socket filter: {error}")

    def _body(self, wish: Wish, given: Mapping[str, Any]) -> tuple[dict[str, Any], Needs]:
        if wish.rule.kind == "containers":
            return rules.container(given, self._policy)
        make = rules.network if wish.rule.kind == "networks" else rules.volume
        needs = Needs()
        if wish.rule.kind == "volumes" and given.get("Name"):
            needs.volumes.append(str(given["Name"]))  # making one that is there hands it out
        return make(given, self._policy), needs

    async def _check(self, needs: Needs) -> None:
        for name in needs.networks:
            found = await self._inspect("networks", name)
            if found is None or not self._policy.owns(found.get("Labels")):
                raise Refused(f"the network {name[:80]} is not of this run")
        for name in needs.volumes:
            found = await self._inspect("volumes", name)
            if found is not None and not self._policy.owns(found.get("Labels")):
                raise Refused(f"the volume {name[:80]} is not of this run")
        for path in needs.paths:
            root = next(one for one in self._policy.roots if path == one or path.startswith(f"{one}/"))
            if await asyncio.to_thread(leads_through_a_link, path, root):
                raise Refused(f"{path[:80]} is no directory that can be seen from here, or a link leads to it")

    async def _owned(self, wish: Wish) -> web.Response:
        """Act on an object of ours. By its id: a name may be somebody else's a moment later."""
        found = await self._inspect(wish.rule.kind, wish.name)
        if found is None:
            return _answer(404, f"no such object: {wish.name}")
        labels = (found.get("Config") or {}).get("Labels") if wish.rule.kind == "containers" else found.get("Labels")
        if not self._policy.owns(labels):
            raise Refused(f"{wish.name[:80]} is not of this run")
        identity = str(found["Name"] if wish.rule.kind == "volumes" else found["Id"])
        return await self._send(wish, f"/{wish.rule.kind}/{identity}{wish.rule.rest}")

    async def _inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        if not name.isascii() or not all(one.isalnum() or one in "_.-" for one in name):
            raise Refused("that is no name")
        status, _type, raw = await self._ask("GET", _INSPECT[kind].format(name))
        if status == 404:
            return None
        try:
            found = json.loads(raw)
        except ValueError as error:
            raise Unanswered("the engine's answer cannot be read") from error
        if status != 200 or not isinstance(found, dict):
            raise Unanswered(f"the engine answers {status}")
        return found

    async def _send(self, wish: Wish, path: str, body: Any = None) -> web.Response:
        status, kind, raw = await self._ask(wish.rule.verb, path, wish.query, body)
        return web.Response(status=status, body=raw, content_type=kind)

    async def _ask(self, verb: str, path: str, query: tuple[tuple[str, str], ...] = (), body: Any = None) -> tuple[int, str, bytes]:
        url = URL("http://engine").with_path(path).with_query(list(query))
        try:
            async with self._session.request(verb, url, json=body, allow_redirects=False) as answer:
                return answer.status, answer.content_type, await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unanswered(f"the engine does not answer: {error or type(error).__name__}") from error


def _answer(status: int, text: str) -> web.Response:
    return web.json_response({"message": text}, status=status)


FILTER: web.AppKey[Filter] = web.AppKey("filter", Filter)


def application(policy: Policy, socket: str) -> web.Application:
    """Return the filter as an application in front of a socket."""
    app = web.Application(client_max_size=MAX_BODY)

    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=PATIENCE) as opened:
            app[FILTER] = Filter(policy, opened)
            yield

    async def handle(request: web.Request) -> web.Response:
        return await request.app[FILTER].handle(request)

    app.router.add_route("*", "/{path:.*}", handle)
    app.cleanup_ctx.append(session)
    return app
