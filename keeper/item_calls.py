"""Guarded engine calls: stop, start, kill, pause, unpause, restart or remove one container, with a journaled bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_wire import EngineError

from keeper.core import Keeper, Request, fence_of, number, text
from keeper.errors import FAILED as BROKEN
from keeper.errors import UNFIT, USAGE, KeeperError
from keeper.item_engine import pending_until
from keeper.kinds import FAILED, PUT_BACK, UNDONE, Undo, Verdict
from keeper.ports import poll
from keeper.units import STOP_GRACE

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine

_ACTIONS: Dict[str, Callable[[Engine, str, int], None]] = {
    "stop": lambda engine, name, grace: engine.stop(name, grace),
    "start": lambda engine, name, _grace: engine.start(name),
    "restart": lambda engine, name, grace: engine.restart(name, grace),
    "kill": lambda engine, name, _grace: engine.kill(name),
    "pause": lambda engine, name, _grace: engine.pause(name),
    "unpause": lambda engine, name, _grace: engine.unpause(name),
    "rm": lambda engine, name, _grace: engine.remove(name, force=True),
}


def run(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Make engine calls in order: ``{fence, item, group, calls: [{action, container, timeout}], covered_by}``.

    Returns:
        ``{calls: [{action, container, before, seconds}]}``.
    """
    calls = request.get("calls")
    if not isinstance(calls, list) or not calls:
        raise KeeperError(USAGE, "calls is a list of {action, container, timeout}")
    made = []
    for position, call in enumerate(calls):
        action = text(call, "action")
        if action not in _ACTIONS:
            raise KeeperError(USAGE, f"unknown action {action!r}; there are {', '.join(_ACTIONS)}")
        if action == "rm" and not request.get("covered_by"):
            raise KeeperError(USAGE, "a removed container comes back only by an item that covers it: covered_by")
        made.append(_one(keeper, request, call, position))
    return {"calls": made}


def _one(keeper: Keeper, request: Request, call: Mapping[str, Any], position: int) -> Dict[str, Any]:
    action, name = text(call, "action"), text(call, "container")
    # Never longer than the bound that a restore waits for after a client that died.
    grace = min(number(call, "timeout", STOP_GRACE, 0, 86400.0), STOP_GRACE)
    fence = fence_of(request)
    engine = keeper.engine()
    with keeper.guarded(fence) as guarded:
        try:
            found = engine.inspect(name)
        except EngineError as error:
            raise KeeperError(UNFIT, f"nothing was changed: {error}") from error
        before = {"id": found["Id"], "state": found["State"]["Status"]}
        item = guarded.intent(
            {**request, "item": f"{request.get('item')}-{position + 1}" if position else request.get("item")},
            "call",
            (f"container:{name}",),
            action=action,
            container=name,
            before=before,
            bound=grace + 2.0,
        )
    begun = keeper.clock.boottime()
    try:
        _ACTIONS[action](engine, name, int(grace))
    except EngineError as error:
        raise KeeperError(BROKEN, f"{action} {name}: {error}") from error
    seconds = round(keeper.clock.boottime() - begun, 3)
    with keeper.guarded(fence) as guarded:
        guarded.done(item)
    return {"action": action, "container": name, "before": before, "seconds": seconds}


def undo(ask: Undo) -> Verdict:
    """Give a container the state back that it had."""
    keeper = ask.run.keeper
    engine = keeper.engine()
    until = pending_until(ask)
    if keeper.clock.boottime() < until:
        poll(keeper.clock, until, lambda: False)
    name, was = ask.intent["container"], ask.intent["before"]["state"]
    steps: List[str] = []
    try:
        now = engine.inspect(name)["State"]["Status"]
        steps = _steps(now, was)
        for step in steps:
            _ACTIONS[step](engine, name, int(STOP_GRACE))
    except EngineError as error:
        return Verdict(FAILED, f"{name} was {was}: {error}")
    return Verdict(PUT_BACK if steps else UNDONE, f"{name} was {was}")


def _steps(now: str, was: str) -> List[str]:
    if now == was or {now, was} <= {"exited", "created", "dead"} or {now, was} <= {"running", "restarting"}:
        return []
    steps = ["unpause"] if now == "paused" else []
    if was in ("running", "restarting"):
        return steps or ["start"]
    if was == "paused":
        return ["pause"] if now in ("running", "restarting") else ["start", "pause"]
    return [*steps, "stop"]
