"""The ownership triple: what carries it is ours, and only what carries all three may be removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNER = "benchkeeper.owner"
STACK = "benchkeeper.stack"
RUN = "benchkeeper.run"
MACHINE = "benchkeeper.machine"
CONFIG = "benchkeeper.config"
BENCH = "bench"
"""Stack and run of what belongs to no stack and outlives runs."""


def triple(checkout_id: str, stack: str = BENCH, run: str = BENCH) -> dict[str, str]:
    """Return the labels of an object of ours."""
    return {OWNER: checkout_id, STACK: stack, RUN: run}


def ours(labels: Mapping[str, str] | None, checkout_id: str, stack: str | None = None, run: str = BENCH) -> bool:
    """Tell whether all three labels are there and match; `stack` None accepts any stack."""
    labels = labels or {}
    return (
        labels.get(OWNER) == checkout_id
        and labels.get(RUN) == run
        and (bool(labels.get(STACK)) if stack is None else labels.get(STACK) == stack)
    )


def filters(checkout_id: str, run: str = BENCH) -> dict[str, list[str]]:
    """Return the engine's filter for objects of a checkout; judge each answer again with `ours`."""
    return {"label": [f"{OWNER}={checkout_id}", f"{RUN}={run}", STACK]}
