"""The chain and the mining, end to end: from the miner's hashes to blocks of the node."""

from __future__ import annotations

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

WITH_BRANCH = ("deploy", "scenario", "lifecycle-restarted", "lifecycle-flipped", "lifecycle-end")
POOL_LOOKS = ("scenario", "lifecycle-restarted", "lifecycle-flipped", "lifecycle-end")
MINING = ("scenario", "lifecycle-end")
CONNECTIONS = 2  # its place in a row of the proxy's workers


def _state(snapshot: Snapshot) -> Mapping[str, Any]:
    found = snapshot.get("observed", {}).get("state", {}).get("json")
    return found if isinstance(found, Mapping) else {}


def _chain(snapshot: Snapshot) -> Mapping[str, Any]:
    found = snapshot.get("observed", {}).get("chain")
    return found if isinstance(found, Mapping) else {}


def pool_of(context: RunContext) -> str:
    """Return the pool that is configured at this look; the flip switches to nano, without a row the product's default holds."""
    if context["look"]["step"] == "flipped":
        return "nano"
    return str(context.get("overrides", {}).get("p2pool.pool", "mini"))


@check("baseline", *WITH_BRANCH)
def synced(snapshot: Snapshot, _context: RunContext) -> Iterator[Verdict]:
    """The node says itself that it is synchronised. Behind is a fail; could not ask is an error; the two are never mixed."""
    title = "The node is synchronised, asked directly"
    lacking = list(need(snapshot, "monerod.synced", title, "monerod"))
    yield from lacking
    if lacking:
        return
    result = snapshot["observed"]["monerod"].get("result") or {}
    yield judge("monerod.status", "The node answers OK", "OK", result.get("status"))
    done = None if "synchronized" not in result else bool(result["synchronized"] or result.get("target_height") == 0)
    yield judge("monerod.synced", title, expected=True, actual=done)


@check(*WITH_BRANCH)
def chain_kept(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """The branch works on the chain that was there: same first block, same block at the height of before, never shorter."""
    title = "The chain is the one from before"
    lacking = list(need(snapshot, "chain.kept", title, "chain"))
    yield from lacking
    if lacking:
        return
    now, then = _chain(snapshot), _chain(context.get("before") or {})
    if not then.get("hash"):
        yield Verdict("chain.kept", title, "error", "there is no look from before to compare with")
        return
    yield judge("chain.genesis", "The chain has its first block", then.get("genesis"), now.get("genesis"))
    yield judge("chain.kept", title, then["hash"], now.get("before_height_hash"))
    yield judge("chain.not_shorter", "The chain did not shrink", then.get("height"), now.get("height"), "ge")


@check(*MINING)
def mining(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Borrowed miners are seen by name and mine on this bench's pool; their shares are accepted and become blocks."""
    lacking = list(need(snapshot, "mining.workers", "Enough workers mine", "state", "chain", "proxy"))
    yield from lacking
    if lacking:
        return
    if not context.get("workers"):
        why = "no miner was borrowed"
        yield Verdict("mining.workers", "Enough workers mine", "skip", why, skip_class="missing")
        return
    state = _state(snapshot)
    online = {row.get("name"): row for row in state.get("workers") or [] if row.get("status") == "online"}
    yield judge("mining.workers", "Enough workers mine", context["workers"], len(online), "ge")
    yield judge("mining.proxy_workers", "The proxy counts them, too", context["workers"], state.get("proxy_workers"), "ge")
    rows = (snapshot["observed"]["proxy"].get("json") or {}).get("workers") or []
    connections = {row[0]: row[2] for row in rows if isinstance(row, list) and len(row) > CONNECTIONS}
    for name in context.get("miners", []):
        worker = context.get("worker_names", {}).get(name, name)
        row = online.get(worker, {})
        # A worker counts as online for minutes after it left: the proxy itself knows who is there.
        yield judge(f"mining.{name}.connected", f"{name} is connected to the proxy", 0, connections.get(worker), "gt")
        yield judge(f"mining.{name}.pool", f"{name} mines on the bench's pool", "p2pool", row.get("pool"))
        yield judge(f"mining.{name}.accepted", f"{name} has shares accepted", 0, row.get("accepted"), "gt")
        bad = row.get("rejected")
        limit = max(2, int(row.get("accepted") or 0) // 10)
        yield judge(f"mining.{name}.rejected", f"{name} has hardly a share rejected", limit, bad, "le")
    hashes = (state.get("stratum") or {}).get("total_hashes")
    yield judge("mining.hashes", "Hashes arrive at the pool", 0, hashes, "gt")
    then = _chain(context.get("before") or {}).get("height")
    yield judge("mining.blocks", "Shares of borrowed miners became blocks", then, _chain(snapshot).get("height"), "gt")


@check(*POOL_LOOKS)
def pool(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """The pool is the configured one. Shown pools lag, so the flags of the pool program decide what a wrong display means."""
    title = "The dashboard shows the configured pool"
    lacking = list(need(snapshot, "pool.type", title, "state", "env"))
    yield from lacking
    if lacking:
        return
    wanted = pool_of(context)
    demanded = context["posture"]["pools"][wanted]
    flags = env_values(snapshot).get("P2POOL_FLAGS")
    words = set((flags or "").split())
    others = {pool["flag"] for pool in context["posture"]["pools"].values()} - {"", demanded["flag"]}
    right = flags is not None and (not demanded["flag"] or demanded["flag"] in words) and not others & words
    yield judge(
        "pool.flags", "The pool program is told the configured pool", expected=True, actual=right if flags is not None else None
    )
    yield judge(
        "pool.port", "The pool's port is that of the configured pool", demanded["port"], env_values(snapshot).get("P2POOL_PORT")
    )
    shown = (_state(snapshot).get("pool") or {}).get("type")
    severity = "warn" if shown == "Unknown" or (shown and right) else "fail"
    yield judge("pool.type", title, wanted.capitalize(), shown, severity=severity)
