"""The settings that the branch rendered: all of them, and those of before where the configuration is the one of before."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from ansible_collections.benchkeeper.core.plugins.module_utils._check import RunContext, Snapshot, Verdict, check, judge, need


def _prints(document: Snapshot) -> Mapping[str, Any]:
    found = document.get("invariant", {}).get("env", {}).get("keys", {})
    return found if isinstance(found, Mapping) else {}


@check("baseline", "deploy", "scenario", "lifecycle")
def complete(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """No setting is missing: compose takes an empty text for one that is not there, and says so to nobody."""
    title = "Every setting stands in .env"
    lacking = list(need(snapshot, "settings.complete", title, "env"))
    yield from lacking
    if not lacking:
        now = _prints(snapshot)
        missing = [key for key in context["posture"]["settings"]["keys"] if key not in now]
        yield judge("settings.complete", title, [], missing, "set_eq")


@check("deploy")
def carried(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """From the same configuration come the same settings: a new default would move data, open a port or change who is paid."""
    title = "The same configuration gives the settings of before"
    lacking = list(need(snapshot, "settings.carried", title, "env"))
    yield from lacking
    then, now = _prints(context.get("before") or {}), _prints(snapshot)
    if lacking:
        return
    if not then:
        yield Verdict("settings.carried", title, "error", "there is no look from before to compare with")
        return
    moved = [key for key in context["posture"]["settings"]["carried"] if key in then and then[key] != now.get(key)]
    yield judge("settings.carried", title, [], moved, "set_eq")
