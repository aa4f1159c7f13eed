"""Guarded services: what was active or enabled before is so again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping

from keeper.core import Keeper, Request, fence_of, text
from keeper.errors import UNFIT, USAGE, KeeperError
from keeper.kinds import FAILED, PUT_BACK, UNDONE, Undo, Verdict

if TYPE_CHECKING:
    from keeper.units import Services

_VERBS = {"started": "start", "stopped": "stop", "restarted": "restart", "reloaded": "reload"}
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,250}\Z")
_ACTIVE = ("active", "activating", "reloading")


def apply(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Change a service: ``{fence, item, group, unit, state: started|stopped|restarted|reloaded, enabled, dry}``.

    Returns:
        ``{changed, before, after}`` with ``{load, active, enabled}`` each.
    """
    unit = text(request, "unit")
    if not _UNIT.match(unit) or unit.startswith("-"):
        raise KeeperError(USAGE, f"not a unit name: {unit!r}")
    state, enabled = request.get("state"), request.get("enabled")
    if (state is not None and state not in _VERBS) or not isinstance(enabled, (bool, type(None))):
        raise KeeperError(USAGE, f"state is one of {', '.join(_VERBS)}, enabled is true or false")
    fence = fence_of(request)
    with keeper.guarded(fence) as guarded:
        before = keeper.services.look(unit)
        if before.get("load") != "loaded":
            raise KeeperError(UNFIT, f"{unit} is {before.get('load') or 'unknown'} on this machine")
        verbs = _verbs(before, state, enabled)
        if not verbs or request.get("dry"):
            return {"changed": bool(verbs), "before": dict(before), "after": dict(before)}
        item = guarded.intent(request, "service", (f"unit:{unit}",), unit=unit, before=dict(before), verbs=verbs)
    _act(keeper.services, unit, verbs)
    with keeper.guarded(fence) as guarded:
        after = keeper.services.look(unit)
        guarded.done(item, after=dict(after))
    return {"changed": True, "before": dict(before), "after": dict(after)}


def _verbs(now: Mapping[str, Any], state: Any, enabled: Any) -> List[str]:
    verbs = []
    if enabled is not None and enabled != (now.get("enabled") == "enabled"):
        verbs.append("enable" if enabled else "disable")
    active = now.get("active") in _ACTIVE
    if state in ("restarted", "reloaded") or ((state == "started") != active and state in ("started", "stopped")):
        verbs.append(_VERBS[state])
    return verbs


def _act(services: Services, unit: str, verbs: List[str]) -> None:
    for verb in verbs:
        services.act(verb, unit)


def undo(ask: Undo) -> Verdict:
    """Make a service as active and as enabled as it was."""
    services = ask.run.keeper.services
    unit, before = ask.intent["unit"], ask.intent["before"]
    acted = False
    for _attempt in range(2):
        now = services.look(unit)
        verbs = []
        if before["enabled"] != now["enabled"] and before["enabled"] in ("enabled", "disabled"):
            verbs.append("enable" if before["enabled"] == "enabled" else "disable")
        if (before["active"] in _ACTIVE) != (now["active"] in _ACTIVE):
            verbs.append("start" if before["active"] in _ACTIVE else "stop")
        if not verbs:
            return Verdict(PUT_BACK if acted else UNDONE)
        try:
            _act(services, unit, verbs)
        except KeeperError as error:
            return Verdict(FAILED, str(error))
        acted = True
    return Verdict(FAILED, f"{unit} was {before['active']}, {before['enabled']}; it does not stay so")
