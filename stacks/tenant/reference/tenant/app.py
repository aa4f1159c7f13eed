"""The pipeline that every request passes, in the product's order: CORS, rate limit, guard, security headers, route."""

from __future__ import annotations

import html
import logging
from contextvars import ContextVar
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from tenant import access, control_paths, cors
from tenant.behaviour import Defect, Profile
from tenant.core import Call, Tenant
from tenant.guard import MISSING, Guard, Verdict
from tenant.headers import security
from tenant.limit import client_of
from tenant.proxy import Passed
from tenant.replies import Refusal, as_json, as_text, bare
from tenant.routes import CURRENT_ROUTES, ROUTES, Route, Table, Who
from tenant.target import Target

log = logging.getLogger("tenant.http")

MAX_BODY = 100 * 1024 * 1024  # bytes; the edge has its own cap
# The call that is being answered; not kept on the request, whose storage differs between the versions of aiohttp.
CALL: ContextVar[Call | None] = ContextVar("call", default=None)
UNTYPED = "application/octet-stream"  # what aiohttp says when nobody said anything


class Pipeline:
    """Serves one tenant. aiohttp's own router is not used: it would answer wrong methods and odd paths by itself."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        settings = tenant.settings
        current = settings.behaviour.profile is Profile.CURRENT
        self._table = Table((*ROUTES, *CURRENT_ROUTES) if current else ROUTES)
        self._guard = Guard(settings.org_id, bool(settings.canvas), settings.behaviour)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        call = Call(request, Target.parse(request.raw_path))
        CALL.set(call)
        try:
            return await self._serve(call)
        except Refusal as refusal:
            return refusal.answer()
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as failure:
            # The client learns nothing; the text may hold a row or a credential, so the log learns the type and the place only.
            place = failure.__traceback__
            while place and place.tb_next:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
            log.error("unexpected %s at %s", type(failure).__name__, where)  # noqa: TRY400
            return bare(500)

    async def _serve(self, call: Call) -> web.StreamResponse:
        request, tenant, path = call.request, self.tenant, call.target.path
        if complaint := malformed(call):
            return as_text(complaint, 400)
        if request.method == "OPTIONS" and call.target.raw_path == "*":
            return bare(200)
        if tenant.has(Defect.EARLY_REDIRECT) and (place := self._slash(request.method, path)):
            return redirect(request.method, place, call.target.raw_query)
        judged = cors.judge(request.method, request.headers.get("Origin"), call.host, tenant.settings.origins)
        if judged.kind is cors.Kind.REFUSED:
            return bare(403)
        call.headers += judged.headers
        if judged.kind is cors.Kind.PREFLIGHT:
            return bare(204)
        if (refused := self._count(call)) is not None:
            return refused
        verdict = self._guard.judge(request.method, path, call.host, request.headers)
        if verdict is Verdict.TOLD:
            return as_json({"error": f"this tenant belongs to {tenant.settings.org_id}"}, 403)
        if verdict is not Verdict.PASS:
            return as_json(MISSING, 400) if verdict is Verdict.MISSING else bare(404)
        call.headers += security(path)
        return await self._route(call, path)

    def _slash(self, method: str, path: str) -> str | None:
        """Give the known path that differs from an unknown one by a slash at the end."""
        if self._known(method, path):
            return None
        other = path[:-1] if path.endswith("/") else f"{path}/"
        return other if len(other) > 1 and self._known(method, other) else None

    def _known(self, method: str, path: str) -> bool:
        proxied = self.tenant.control_proxy is not None and method in control_paths.METHODS and path.startswith("/cp/")
        return proxied or self._table.find(method, path) is not None

    def _count(self, call: Call) -> web.StreamResponse | None:
        settings = self.tenant.settings
        if settings.open_development:
            call.headers.append(("X-RateLimit-Limit", "unlimited"))
            return None
        proxies = () if self.tenant.has(Defect.ONE_BUCKET) else settings.trusted_proxies
        call.client = client_of(call.peer, ",".join(call.request.headers.getall("X-Forwarded-For", [])), proxies)
        spent = self.tenant.limit.spend(call.client)
        call.headers += spent.headers
        return None if spent.allowed else as_json({"error": "rate limit exceeded", "retry_after": spent.reset}, 429)

    async def _route(self, call: Call, path: str) -> web.StreamResponse:
        tenant, method = self.tenant, call.request.method
        if tenant.control_proxy and path.startswith("/cp/") and method in control_paths.METHODS:
            if not control_paths.allowed(path, clean=not tenant.has(Defect.DOT_SEGMENTS)):
                return bare(404)
            return await tenant.control_proxy.forward(call.request, call.target)
        found = self._table.find(method, path)
        if found:
            route, call.params = found
            await self._admit(route, call)
            return await route.handler(tenant, call)
        if tenant.canvas:
            return await tenant.canvas.forward(call.request, call.target)
        return as_text("404 page not found", 404, "text/plain")

    async def _admit(self, route: Route, call: Call) -> None:
        if route.who is Who.ADMIN:
            await access.admin(self.tenant, call.request)
        elif route.who is Who.WORKSPACE:
            await access.workspace(self.tenant, call.request, call.id)
        elif route.who is Who.CANVAS:
            await access.canvas(self.tenant, call.request)
        elif route.who is Who.ITSELF:
            await access.itself(self.tenant, call.request, call.id)


def malformed(call: Call) -> str:
    """Say what makes a request no HTTP/1.1 request, in the words of the product's HTTP library; empty when nothing does."""
    hosts = call.request.headers.getall("Host", [])
    if len(hosts) > 1:
        return "400 Bad Request: too many Host headers"
    if not hosts and call.request.version >= HttpVersion11:
        return "400 Bad Request: missing required Host header"
    return "400 Bad Request" if call.target.malformed else ""


def redirect(method: str, path: str, query: str) -> web.Response:
    """Redirect for good; other methods than GET keep theirs, and only GET gets a page."""
    status = HTTPStatus.MOVED_PERMANENTLY if method == "GET" else HTTPStatus.TEMPORARY_REDIRECT
    # The path was decoded, and could hold a line break.
    place = quote(path, safe="/$&+,:;=@~", errors="surrogateescape") + (f"?{query}" if query else "")
    answer = bare(status)
    if method == "GET":
        answer = as_text(f'<a href="{html.escape(place)}">{status.phrase}</a>.\n\n', status, "text/html; charset=utf-8")
    answer.headers["Location"] = place
    return answer


async def _finish(_request: web.Request, answer: web.StreamResponse) -> None:
    """Put our headers in front of the handler's, and take away what aiohttp adds by itself."""
    answer.headers.pop("Server", None)
    if answer.headers.get("Content-Type") == UNTYPED and not (isinstance(answer, Passed) and answer.typed):
        del answer.headers["Content-Type"]
    call = CALL.get()
    if call is None or isinstance(answer, web.WebSocketResponse):
        return
    theirs = CIMultiDict(answer.headers)
    answer.headers.clear()
    answer.headers.extend(call.headers)
    answer.headers.extend(theirs)


def build(tenant: Tenant) -> web.Application:
    """Make the application. It neither opens nor closes what the tenant consists of."""
    pipeline = Pipeline(tenant)

    @web.middleware
    async def everything(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - passed by this name
        return await pipeline.serve(request)

    app = web.Application(middlewares=[everything], client_max_size=MAX_BODY)
    app.on_response_prepare.append(_finish)
    return app
