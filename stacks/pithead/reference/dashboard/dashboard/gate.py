"""When miners are let in: a one-way sync gate, and a debounced node-down guard. Pure; acts on what it is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dashboard.readings import Readings

HELD = ("p2pool", "xmrig-proxy")
DOOR = "xmrig-proxy"
STOPPED = {"exited", "created"}


@dataclass(frozen=True)
class Rules:
    """What the gate goes by; times in seconds."""

    down_after: float
    recovery_after: float
    tari_required: bool


@dataclass(frozen=True)
class Gate:
    """What the gate remembers. `released` never goes back to false; `since` is when the node's reachability last changed."""

    released: bool = False
    rejected: bool = False
    reachable: bool | None = None
    since: float = 0.0
    holding: bool = False


@dataclass(frozen=True)
class Action:
    """Something to do to a container."""

    verb: str
    container: str


def step(gate: Gate, seen: Readings, rules: Rules) -> tuple[Gate, list[Action]]:
    """Look at a poll; give the new state and what to do. Actions are repeated until the containers are as they should be."""
    reachable = seen.monero is not None
    if reachable != gate.reachable:
        gate = replace(gate, reachable=reachable, since=seen.at)
    settled = seen.at - gate.since
    states = seen.containers or {}

    if not gate.released:
        synced = seen.monero is not None and seen.monero.synced
        tari_synced = not rules.tari_required or (seen.tari is not None and seen.tari.synced)
        if synced and tari_synced:
            gate = replace(gate, released=True)
        elif seen.monero is not None:
            # A node that answers and is behind, or a required chain that is: nothing to mine yet.
            gate = replace(gate, holding=True)
            return gate, [Action("stop", name) for name in reversed(HELD) if states.get(name) == "running"]
        else:
            return gate, []
    if gate.holding:
        held = [name for name in HELD if states.get(name) in STOPPED]
        return replace(gate, holding=bool(held)), [Action("start", name) for name in held]

    if not reachable and settled >= rules.down_after:
        gate = replace(gate, rejected=True)
    if not gate.rejected:
        return gate, []
    if not reachable:
        return gate, [Action("stop", DOOR)] if states.get(DOOR) == "running" else []
    if settled < rules.recovery_after:
        return gate, []
    # Still rejected until the door is seen open: a start may have been refused while somebody changed the stack.
    closed = states.get(DOOR) in STOPPED
    return replace(gate, rejected=closed), [Action("start", DOOR)] if closed else []
