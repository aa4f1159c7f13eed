"""The dashboard's state document: complete, and of now."""

from __future__ import annotations

import datetime as dt
from typing import Any, Iterator, Mapping

from ansible_collections.benchkeeper.core.plugins.module_utils._check import (
    RunContext,
    Snapshot,
    Verdict,
    check,
    env_values,
    judge,
    need,
)

SLACK = 20.0  # seconds beside three polls: a look of ours takes its time, too


def _state(snapshot: Snapshot) -> Mapping[str, Any]:
    found = snapshot.get("observed", {}).get("state", {}).get("json")
    return found if isinstance(found, Mapping) else {}


@check("baseline", "deploy", "scenario", "lifecycle")
def document(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Whoever reads the document finds every key; a poll that stands still shows the last good numbers for ever."""
    lacking = list(need(snapshot, "api.fresh", "What the dashboard shows is of now", "state", "env"))
    yield from lacking
    if lacking:
        return
    state = _state(snapshot)
    missing = [key for key in context["posture"]["api"]["keys"] if key not in state]
    yield judge("api.keys", "The state document has every key", [], missing if state else None, "set_eq")
    taken = dt.datetime.fromisoformat(str(snapshot["taken_at"])).timestamp()
    seen = state.get("last_update")
    age = round(taken - seen, 1) if isinstance(seen, (int, float)) and seen else None
    most = SLACK + 3 * float(env_values(snapshot).get("UPDATE_INTERVAL") or 30)
    yield judge("api.fresh", "What the dashboard shows is of now", most, age, "le")
