"""What runs: every service that must be there, nothing else, each with a health check that passes."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.benchkeeper.core.plugins.module_utils._check import (
    RunContext,
    Snapshot,
    Verdict,
    check,
    env_values,
    judge,
    need,
    services,
)

RUNNING = ("baseline", "deploy", "scenario", "lifecycle-restarted", "lifecycle-flipped", "lifecycle-end")


def expected(snapshot: Snapshot, context: RunContext) -> list[str]:
    """Return the services that this configuration has. Profiles are compared as words: as texts, one is a prefix of another."""
    profiles = env_values(snapshot).get("COMPOSE_PROFILES", "").split(",")
    posture = context["posture"]
    return sorted([*posture["always"], *(name for word, name in posture["profiles"].items() if word in profiles)])


@check(*RUNNING)
def containers(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Every expected service runs, is healthy by a check of its own, and no other service is there."""
    title = "Exactly the services of this configuration are there"
    lacking = list(need(snapshot, "containers.set", title, "stack", "env"))
    yield from lacking
    if lacking:
        return
    seen, built = services(snapshot), services(snapshot, "invariant")
    wanted = expected(snapshot, context)
    yield judge("containers.set", title, wanted, sorted(seen), "set_eq")
    for name in wanted:
        one = seen.get(name, {})
        yield judge(f"containers.{name}.running", f"{name} runs", "running", one.get("state"))
        has = built.get(name, {}).get("healthcheck")
        yield judge(f"containers.{name}.health_check", f"{name} has a health check", expected=True, actual=has)
        yield judge(f"containers.{name}.healthy", f"{name} is healthy", "healthy", one.get("health"))
        yield judge(f"containers.{name}.restarts", f"{name} did not crash and restart", 0, one.get("restarts"), severity="warn")


@check("lifecycle-node_down")
def node_down(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """With the node stopped, miners are turned away, and nothing but the node and the proxy went down."""
    title = "Nothing but the node and the miners' door is down"
    lacking = list(need(snapshot, "node_down.down", title, "stack", "env"))
    yield from lacking
    if lacking:
        return
    seen = services(snapshot)
    down = [name for name in expected(snapshot, context) if seen.get(name, {}).get("state") != "running"]
    yield judge("node_down.down", title, ["monerod", "xmrig-proxy"], down, "set_eq")
    rc = snapshot.get("observed", {}).get("status", {}).get("rc")
    yield judge("node_down.status", "status tells that the node is down", 1, rc)
