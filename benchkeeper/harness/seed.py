"""What every harness begins with: in each tenant a workspace and one below it. Made once, looked up by name, read back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchkeeper.errors import BenchError
from benchkeeper.harness import client

if TYPE_CHECKING:
    from benchkeeper.harness.place import Place, TenantPlace

RUNTIME = "hermes"
MODEL = "minimax/MiniMax-M2.7"


class SeedError(BenchError):
    """A tenant did not take the seed, or does not give back what it took."""


@dataclass(frozen=True)
class Seeded:
    """Ids of a tenant's workspaces."""

    parent_id: str
    child_id: str


NOTHING = Seeded("", "")  # of a tenant that has no administrator


def seed(place: Place) -> dict[str, Seeded]:
    """Seed every tenant that has an administrator; return what is in each, by name. A second time changes nothing.

    Raises:
        SeedError: A tenant did not do what it was asked.
    """
    open_ = [one for one in place.everybody if one.admin_token]
    with ThreadPoolExecutor(max_workers=len(open_)) as pool:
        made = pool.map(lambda one: _tenant(place, one), open_)
        return {one.name: ids for one, ids in zip(open_, made, strict=True)}


def _tenant(place: Place, tenant: TenantPlace) -> Seeded:
    admin = client.administrator(place.edge, tenant)
    try:
        rows = admin.need("GET", "/workspaces")
        known = {row["name"]: row for row in rows if isinstance(row, dict) and "name" in row} if isinstance(rows, list) else {}
        parent = _workspace(admin, known, {"name": f"{tenant.name}-parent", "tier": 0})
        child = _workspace(admin, known, {"name": f"{tenant.name}-child", "tier": 1, "parent_id": parent})
    except client.AnswerError as error:
        raise SeedError(f"tenant {tenant.name} does not take the seed: {error}") from error
    return Seeded(parent, child)


def _workspace(admin: client.Client, known: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return the id of a workspace, made if there is none of that name; what comes back is compared with what was asked for."""
    found = known.get(wanted["name"])
    if found is None:
        found = admin.need("POST", "/workspaces", {**wanted, "runtime": RUNTIME, "model": MODEL})
    identity = str(found.get("id") or "") if isinstance(found, dict) else ""
    if not identity:
        raise SeedError(f"workspace {wanted['name']} was made without an id")
    back = admin.need("GET", f"/workspaces/{identity}")
    for key, value in wanted.items():
        got = back.get(key) if isinstance(back, dict) else back
        if got != value and (key, value) != ("tier", 0):  # the real server takes tier 0 for "not said" (recorded)
            raise SeedError(f"workspace {wanted['name']}: {key} is {got!r}, not {value!r}")
    return identity
