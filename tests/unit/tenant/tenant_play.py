"""Play the recording against the builtin in this process, exchange by exchange."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import groupby
from typing import TYPE_CHECKING

from tenant_bench import Bench, bench, running
from tenant_preconditions import CASES, NOT_PLAYED, OURS, Stage

from benchkeeper.conform import compare, notes, recording, wire
from benchkeeper.conform.player import InstancePlay, Outcome
from benchkeeper.conform.surroundings import CANVAS_PORT, DEAD_PORT
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Container

    from benchkeeper.conform.recording import Case

# When not all are played, later cases depend on these, too, although they are not marked: 504 shows that 501 used the token, 587
# lists what 403 made.
ALSO_NEEDED = frozenset({403, 501})


def environment(case: Case, around: Bench, dead: int, build: str) -> dict[str, str]:
    """Give the environment of an instance, with the recording's ports replaced by today's."""
    canvas = f":{around.canvas.port}"
    given = {
        name: value.replace(f":{DEAD_PORT}/", f":{dead}/").replace(f":{CANVAS_PORT}", canvas) for name, value in case.env.items()
    }
    return around.environment({**given, **({"GIT_SHA": build} if build else {})})


async def play(cases: list[Case], symbols: Symbols, only: Container[int] | None, **difference: str) -> list[Outcome]:
    """Play the cases of one instance in order.

    Args:
        cases: All of the instance.
        symbols: The symbols.
        only: Numbers of those that matter; the others are played only where later ones need them. None: all.
        difference: Difference of the environment.

    Returns:
        Outcomes of those that were played.
    """
    outcomes: list[Outcome] = []
    async with bench() as around, contextlib.AsyncExitStack() as stack:
        async with bench() as gone:
            dead = gone.plane.port  # nothing listens there from now on
        for _env, group in groupby(cases, lambda case: case.env):
            instance = notes.Instance(list(group))
            env = {**environment(instance.cases[0], around, dead, instance.build), **difference}
            stage = Stage(around, await stack.enter_async_context(running(env, around.clock)))
            one = InstancePlay(instance, stage, symbols, OURS)
            wanted = [c for c in instance.cases if only is None or c.needed or c.seq in ALSO_NEEDED or c.seq in only]
            outcomes += [await one.play(recording.moved(case, stage.now.port)) for case in wanted]
    return outcomes


async def play_stub(cases: list[Case], symbols: Symbols) -> list[Outcome]:
    """Play the stub's own cases against a fresh stub."""
    outcomes: list[Outcome] = []
    async with bench(redirect=301 if cases[0].instance == "stub125" else 307) as around:
        for case in cases:
            answer = await wire.exchange(around.plane.port, case.request.method, wire.encode(case.request, symbols))
            outcomes.append(Outcome(case, compare.answered(case, answer, symbols), answer))
    return outcomes


def play_all(only: Container[int] | None = None, **difference: str) -> dict[int, Outcome]:
    """Play what can be played here over HTTP; symbols hold over the whole recording."""
    symbols = Symbols()
    outcomes: dict[int, Outcome] = {}
    playable = [case for case in CASES if case.seq not in NOT_PLAYED and case.via != "process"]
    for name, cases in recording.by_instance(playable).items():
        if only is not None and not any(case.seq in only for case in cases):
            continue
        played = play_stub(cases, symbols) if name.startswith("stub") else play(cases, symbols, only, **difference)
        outcomes |= {outcome.case.seq: outcome for outcome in asyncio.run(played)}
    return outcomes
