"""Events for those who listen: WebSocket for canvas and agents, an event stream for one workspace."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

from aiohttp import WSMsgType, web

from tenant import access
from tenant.core import Call, Tenant
from tenant.handlers.registry import may_talk
from tenant.handlers.workspaces import found
from tenant.hub import Event
from tenant.proxy import wants_websocket
from tenant.replies import as_text
from tenant.store import StoreError

PING = 30.0  # seconds between pings
VERSION = "13"
# The last one asks proxies of nginx's kind not to collect events; they take it away.
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def websocket(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Open a WebSocket: an agent names its workspace and shows its token, the canvas just comes (recorded)."""
    request = call.request
    workspace_id = request.headers.get("X-Workspace-ID", "")
    if workspace_id:
        await access.own_token_if_any(tenant, request, workspace_id)
    if not _upgradable(request):
        return _refuse(400, "Bad Request\n")
    origin = request.headers.get("Origin", "")
    if origin and origin not in tenant.settings.origins:
        return _refuse(403, "Forbidden\n")
    socket = web.WebSocketResponse(heartbeat=PING)
    await socket.prepare(request)
    reader = asyncio.create_task(_drain(socket))
    try:
        with tenant.hub.listen() as queue:
            while (event := await _next(queue, reader)) is not None:
                if not workspace_id or await _concerns(tenant, workspace_id, event):
                    await socket.send_str(json.dumps(_frame(event)))
    except ConnectionError:
        pass
    finally:
        reader.cancel()
        await socket.close()
    return socket


async def _concerns(tenant: Tenant, workspace_id: str, event: Event) -> bool:
    try:
        return await may_talk(tenant.store, workspace_id, event.workspace_id)
    except StoreError:
        return False  # who cannot be asked about is told nothing


def _upgradable(request: web.Request) -> bool:
    headers = request.headers
    return wants_websocket(headers) and headers.get("Sec-WebSocket-Version") == VERSION and bool(headers.get("Sec-WebSocket-Key"))


def _refuse(status: int, text: str) -> web.Response:
    answer = as_text(text, status)
    answer.headers["Sec-Websocket-Version"] = VERSION
    return answer


async def _drain(socket: web.WebSocketResponse) -> None:
    # Clients have nothing to say here; reading notices when they leave.
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            break


async def _next(queue: asyncio.Queue[Event | None], reader: asyncio.Task[None]) -> Event | None:
    """Give the next event, None when the server or the client goes away."""
    getter = asyncio.create_task(queue.get())
    await asyncio.wait({getter, reader}, return_when=asyncio.FIRST_COMPLETED)
    if getter.done():
        return getter.result()
    getter.cancel()
    return None


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _frame(event: Event) -> dict[str, object]:
    return {"event": event.name, "workspace_id": event.workspace_id, "timestamp": _time(event.at), "payload": event.payload}


async def events(tenant: Tenant, call: Call) -> web.StreamResponse:
    """Stream the events of one workspace as they happen."""
    workspace = await found(tenant, call.id)
    answer = web.StreamResponse(headers=HEADERS)
    with tenant.hub.listen() as queue:
        await answer.prepare(call.request)
        try:
            while (event := await queue.get()) is not None:
                if event.workspace_id == workspace.id:
                    data = {"type": event.name, "timestamp": int(event.at.timestamp() * 1000), "data": event.payload}
                    await answer.write(f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode())
        except ConnectionError:
            pass
    return answer
