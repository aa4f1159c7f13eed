"""Secrets are the ones from before, everywhere, by fingerprint: the values never leave the host."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from ansible_collections.benchkeeper.core.plugins.module_utils._check import (
    RunContext,
    Snapshot,
    Verdict,
    check,
    judge,
    need,
    services,
)

WITH_BRANCH = ("deploy", "scenario", "lifecycle")
EVERYWHERE = ("baseline", "deploy", "scenario", "lifecycle-restarted", "lifecycle-flipped", "lifecycle-end")


def _prints(document: Snapshot) -> Mapping[str, Any]:
    found = document.get("invariant", {}).get("env", {}).get("keys", {})
    return found if isinstance(found, Mapping) else {}


@check(*WITH_BRANCH)
def unchanged(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """No secret changed; the category that did is named, the secret never."""
    lacking = list(need(snapshot, "secrets.readable", "The settings can be read", "env"))
    yield from lacking
    then, now = _prints(context.get("before") or {}), _prints(snapshot)
    for category, keys in context["secrets"]["categories"].items() if not lacking else ():
        name, title = f"secrets.{category}.unchanged", f"The {category} secrets are those from before"
        if not any(key in then for key in keys):
            yield Verdict(name, title, "error", "none of them stood in the settings before")
            continue
        moved = [key for key in keys if then.get(key) != now.get(key)]
        yield judge(name, title, [], moved, "set_eq")


@check(*EVERYWHERE)
def baked_in(snapshot: Snapshot, _context: RunContext) -> Iterator[Verdict]:
    """What a container was made with is what the settings say now: a container on older credentials looks healthy for a day."""
    lacking = list(need(snapshot, "settings.readable", "The settings can be read", "env", "stack"))
    yield from lacking
    now = _prints(snapshot)
    shared = 0
    for name, one in services(snapshot, "invariant").items() if not lacking else ():
        prints = one.get("env_fp") or {}
        common = [key for key in prints if key in now]
        shared += len(common)
        stale = [key for key in common if prints[key] != now[key]]
        if common:
            yield judge(f"settings.{name}.in_force", f"{name} runs with the settings of .env", [], stale, "set_eq")
    if not lacking:
        yield judge("settings.compared", "Containers carry settings that can be compared", 0, shared, "gt")
