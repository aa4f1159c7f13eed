"""Games, one engine container each, and the reconciler that cancels a game whose container disappears.

The reconciler is what made the incident visible: somebody else's cleanup removed the engine, and the game was cancelled a moment
later, in an environment that nobody had touched on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spawner.engine import Engine, EngineFailure
from spawner.settings import Settings

STARTING, RUNNING, CANCELLED, FINISHED = "starting", "running", "cancelled", "finished"
PROTECTED = ("benchkeeper.", "galaxy.")


class LabelRefused(Exception):
    """Somebody asked for a label that says whose a container is."""


@dataclass
class Game:
    """One game: its engine's container, what has become of it, and why."""

    id: str
    container: str
    status: str
    reason: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as the API tells it."""
        return asdict(self)


def merged(own: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of an engine: what was asked for, and ours.

    Raises:
        LabelRefused: When what was asked for touches ours, be it with the same value: who may write it once may change it later.
    """
    refused = sorted(key for key in asked if key in own or key.lower().startswith(PROTECTED))
    if refused:
        raise LabelRefused(f"these labels are not for you to set: {', '.join(refused)}")
    return {**asked, **own}


def disappeared(games: Iterable[Game], present: set[str]) -> list[Game]:
    """Return the running games whose container is not there any more."""
    return [game for game in games if game.status == RUNNING and game.container not in present]


class Games:
    """All games of this backend."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self.games: dict[str, Game] = {}
        self.looks = 0

    async def create(self, labels: Mapping[str, str]) -> Game:
        """Start a game: its directory first, then its engine, which gets the directory at the same path.

        Raises:
            LabelRefused: Nothing was made.
            EngineFailure: The engine refused; what was made of it is removed.
        """
        marks = merged(self._settings.labels(), labels)
        identity = secrets.token_hex(8)
        place = f"{self._settings.state_root}/{identity}"
        game = Game(identity, "", STARTING)
        await asyncio.to_thread(os.makedirs, place, 0o700)
        body = {
            "Image": self._settings.image,
            "Labels": marks,
            "HostConfig": {"Binds": [f"{place}:{place}"], "NetworkMode": self._settings.network or "none"},
            "Env": [f"GAME_STATE={place}"],
        }
        game.container = await self._engine.create(f"galaxy-game-{identity}", body)
        try:
            await self._engine.start(game.container)
        except EngineFailure:
            with contextlib.suppress(EngineFailure):
                await self._engine.remove(game.container)
            raise
        game.status = RUNNING
        self.games[identity] = game
        return game

    async def finish(self, game: Game) -> None:
        """End a game that somebody asked to end; one that is over stays what it was."""
        if game.status == RUNNING:
            game.status = FINISHED  # first: the reconciler must not take the removal for a disappearance
            await self._engine.remove(game.container)

    async def reconcile(self) -> None:
        """Look once. An engine that does not answer says nothing about a game."""
        # Those that run now: a game that starts while the engine makes its list is not on it.
        known = [game for game in self.games.values() if game.status == RUNNING]
        try:
            present = {str(one["Id"]) for one in await self._engine.list(self._settings.labels())}
        except EngineFailure:
            return
        for game in disappeared(known, present):
            game.status, game.reason = CANCELLED, "container disappeared"
        self.looks += 1

    async def reconcile_forever(self) -> None:
        """Look again and again."""
        while True:
            await self.reconcile()
            await asyncio.sleep(self._settings.reconcile)

    def status(self) -> dict[str, Any]:
        """Return the reconciler's own view: how often it looked, and every game."""
        games = [game.as_json() for game in self.games.values()]
        return {"stack": self._settings.stack, "reconciled": self.looks, "games": games}
