"""The stub's server: routes, catch-all, redirects, its own routes below `/__stub/`, and the journal of it all."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from stub.journal import Journal, document
from stub.masking import Mask
from stub.paths import cleaned, decoded, matches
from stub.routes import CURRENT, SEED, Asked, Route, World
from stub.script import Expected, Script, Scripted
from stub.settings import Profile, Settings

Model = TypeVar("Model", bound=BaseModel)

MAX_BODY = 1024 * 1024
MAX_DIGITS = 18  # of a cursor
# The recorded stub names its own source here; what a newer one says is ours.
HINTS = {
    Profile.SEED: "add a handler in tests/harness/cp-stub/main.go for the scenario you're testing",
    Profile.CURRENT: "add a route in stub/routes.py, or announce the call at /__stub/expect",
}
COUNTERS = {
    Profile.SEED: ("redeploy_fleet_calls",),
    Profile.CURRENT: ("redeploy_fleet_calls", "provision_calls", "tenants_config_calls"),
}


@dataclass(frozen=True)
class Seen:
    """One request as it came, for observers inside this process. Unmasked: never written anywhere."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Told:
    """An answer with what the journal notes of it."""

    answer: web.Response
    route: str
    unexpected: bool = False
    complaint: str = ""


@dataclass
class Stub:
    """One stub.

    Attributes:
        settings: What it was told.
        observe: Called with every request that is not for the stub itself.
        clock: Seconds since the epoch.
    """

    settings: Settings
    observe: Callable[[Seen], None] = lambda _seen: None
    clock: Callable[[], float] = time.time
    journal: Journal = field(default_factory=Journal)
    script: Script = field(default_factory=Script)
    world: World = field(init=False)
    mask: Mask = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing remembered."""
        self.world = World(self.settings)
        self.mask = Mask(self.settings.key)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the profile."""
        return SEED if self.settings.profile is Profile.SEED else CURRENT

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        raw_path, _, raw_query = request.raw_path.partition("?")
        body = await request.read()
        own = await self._own(request, raw_path, raw_query, body)
        if own is not None:
            return own
        self.observe(Seen(request.method, request.raw_path, list(request.headers.items()), body))
        parsed, broken = _parse(body)
        scripted = self.script.take(request.method, raw_path, request.headers)
        told = _scripted(request, scripted) if scripted else self._told(request.method, raw_path, raw_query, parsed, broken=broken)
        self.journal.write(
            at=self.clock(),
            method=request.method,
            path=decoded(raw_path),
            query=self.mask.query(raw_query),
            headers=self.mask.headers(request.headers.items()),
            body=len(body) if broken else self.mask.body(parsed),
            status=0 if scripted and scripted.fault else told.answer.status,
            route=told.route,
            unexpected=told.unexpected,
            complaint=told.complaint,
        )
        return told.answer

    def _told(self, method: str, raw_path: str, raw_query: str, body: Any, *, broken: bool) -> Told:
        place = cleaned("/cp/" if raw_path == "/cp" else raw_path)
        if place != raw_path:
            return Told(_redirect(method, f"{place}?{raw_query}" if raw_query else place, self.settings.redirect), "redirect")
        for route in self.routes:
            params = matches(route.path, raw_path)
            if params is not None:
                return self._route(route, method, Asked(params, dict(parse_qsl(raw_query)), body, broken))
        if not raw_path.startswith("/cp/"):
            answer = web.Response(status=404, body=b"404 page not found\n")
            answer.headers.update({"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"})
            return Told(answer, "none")
        # The path is echoed, query and headers are not: they can hold a credential.
        error = f"cp-stub: handler not implemented for {method} {decoded(raw_path)}"
        missing = {"error": error, "hint": HINTS[self.settings.profile]}
        return Told(_json(missing, 501), "catch-all", unexpected=not self.script.announced(method, raw_path))

    def _route(self, route: Route, method: str, asked: Asked) -> Told:
        if route.method not in ("*", method):
            answer = _json({"error": "method not allowed"}, 405)
            answer.headers["Allow"] = route.method
            return Told(answer, route.path)
        if route.counter:
            self.world.counters[route.counter] += 1
        status, given = route.answer(self.world, asked)
        answer = _json(given, status)
        return Told(
            answer, route.path, complaint=route.complaint(status, given, answer.body if isinstance(answer.body, bytes) else b"")
        )

    async def _own(self, request: web.Request, raw_path: str, raw_query: str, body: bytes) -> web.Response | None:
        query = dict(parse_qsl(raw_query))
        match request.method, raw_path:
            case _, "/__stub/state":
                return _json({name: self.world.counters[name] for name in COUNTERS[self.settings.profile]})
            case "GET", "/__stub/journal":
                return self._journal(query)
            case "POST", "/__stub/mark":
                return _json({"cursor": self.journal.mark(query.get("replay", ""))})
            case "POST", "/__stub/script":
                return _add(Scripted, body, self.script.add)
            case "POST", "/__stub/expect":
                return _add(Expected, body, self.script.expected.append)
            case "DELETE", "/__stub/script":
                self.script.clear()
                return _json({"ok": True})
        return None

    def _journal(self, query: dict[str, str]) -> web.Response:
        if "replay" in query:
            entries = self.journal.read(query["replay"])
        else:
            after = query.get("after", "0")
            if not (after.isascii() and after.isdigit() and len(after) <= MAX_DIGITS):
                return _json({"error": "after is no cursor"}, 400)
            entries = self.journal.after(int(after))
        return _json(document(entries, self.journal.cursor))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _parse(body: bytes) -> tuple[Any, bool]:
    try:
        return (json.loads(body), False) if body else (None, False)
    except (ValueError, RecursionError):
        return None, True


def _add(model: type[Model], body: bytes, add: Callable[[Model], None]) -> web.Response:
    try:
        add(model.model_validate_json(body))
    except ValidationError as failure:
        places = sorted({".".join(str(part) for part in error["loc"]) or "the document" for error in failure.errors()})
        return _json({"error": f"not usable: {', '.join(places)}"}, 400)
    return _json({"ok": True})


def _redirect(method: str, place: str, status: int) -> web.Response:
    answer = web.Response(status=status)
    if method in ("GET", "HEAD"):
        answer = web.Response(status=status, body=f'<a href="{html.escape(place)}">{HTTPStatus(status).phrase}</a>.\n\n'.encode())
        answer.headers["Content-Type"] = "text/html; charset=utf-8"
    answer.headers["Location"] = place
    return answer


def _scripted(request: web.Request, scripted: Scripted) -> Told:
    if scripted.fault and request.transport:
        if scripted.fault == "garbage":
            request.transport.write(b"this is not HTTP\r\n\r\n")
        request.transport.close()
    text = isinstance(scripted.body, str)
    body = b"" if scripted.body is None else scripted.body.encode() if text else json.dumps(scripted.body).encode()
    answer = web.Response(status=scripted.status, body=body)
    if body:
        answer.headers["Content-Type"] = "text/html" if text else "application/json"
    answer.headers.update(scripted.headers)
    return Told(answer, "script")


async def _finish(_request: web.Request, answer: web.StreamResponse) -> None:
    """Take away what aiohttp adds by itself."""
    answer.headers.pop("Server", None)
    if answer.headers.get("Content-Type") == "application/octet-stream":
        del answer.headers["Content-Type"]


def build(stub: Stub) -> web.Application:
    """Make the application. As in the tenant, aiohttp's own router has nothing to do."""

    @web.middleware
    async def everything(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - passed by this name
        return await stub.serve(request)

    app = web.Application(middlewares=[everything], client_max_size=MAX_BODY)
    app.on_response_prepare.append(_finish)
    return app
