"""The HTTP port: readiness, games, and the reconciler's own status."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from spawner.engine import EngineFailure
from spawner.games import Game, Games, LabelRefused

GAMES: web.AppKey[Games] = web.AppKey("games", Games)
READY: web.AppKey[bool] = web.AppKey("ready", bool)


def build(games: Games, *, ready: bool) -> web.Application:
    """Return the application; `ready` is what it says of itself."""
    app = web.Application(client_max_size=64 * 1024)
    app[GAMES], app[READY] = games, ready
    app.add_routes(
        [
            web.get("/healthz", health),
            web.get("/status", status),
            web.post("/games", create),
            web.get("/games/{id}", show),
            web.delete("/games/{id}", finish),
        ]
    )
    return app


def _error(code: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=code)


async def health(request: web.Request) -> web.Response:
    """Tell whether it is ready."""
    ready = request.app[READY]
    return web.json_response({"status": "ok" if ready else "starting"}, status=200 if ready else 503)


async def status(request: web.Request) -> web.Response:
    """Tell what the reconciler sees."""
    return web.json_response(request.app[GAMES].status())


def _labels(raw: bytes) -> dict[str, str] | None:
    """Return the labels that a body asks for, None when it asks for something else."""
    try:
        body: Any = json.loads(raw or b"{}")
    except ValueError:
        return None
    labels = body.get("labels", {}) if isinstance(body, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        return None
    return labels


async def create(request: web.Request) -> web.Response:
    """Start a game: `{labels?}`; 201 with it, 400 for input or labels that are not allowed, 502 when the engine refuses."""
    labels = _labels(await request.read())
    if labels is None:
        return _error(400, "wanted: {labels: {name: text}}")
    try:
        game = await request.app[GAMES].create(labels)
    except LabelRefused as error:
        return _error(400, str(error))
    except EngineFailure as error:
        return _error(502, str(error))
    return web.json_response(game.as_json(), status=201)


def _game(request: web.Request) -> Game | None:
    return request.app[GAMES].games.get(request.match_info["id"])


async def show(request: web.Request) -> web.Response:
    """Tell about one game."""
    game = _game(request)
    return _error(404, "no such game") if game is None else web.json_response(game.as_json())


async def finish(request: web.Request) -> web.Response:
    """End one game."""
    game = _game(request)
    if game is None:
        return _error(404, "no such game")
    try:
        await request.app[GAMES].finish(game)
    except EngineFailure as error:
        return _error(502, str(error))
    return web.json_response(game.as_json())
