"""What whoever uses a harness has to know of it: addresses, names, secrets. It is kept in the run's own directory, mode 0600."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "harness.json"
SCHEMA = 1
LISTS = ("tenants", "spares", "closed")


@dataclass(frozen=True)
class TenantPlace:
    """One tenant as a client sees it.

    Attributes:
        name: Name.
        host: Its name at the edge.
        org: Its organisation.
        direct: URL without the edge.
        admin_token: Bearer token of its administrator; empty when it was given none.
        database: URL of its database, with the password; empty when nobody here may look into it.
    """

    name: str
    host: str
    org: str
    direct: str
    admin_token: str = field(repr=False)
    database: str = field(repr=False, default="")


@dataclass(frozen=True)
class Place:
    """One harness.

    Attributes:
        run: The run that owns it.
        kind: Kind of tenant.
        build_id: What every part has to say that it was built of; empty when that is not known.
        edge: URL of the edge on loopback.
        edge_direct: URL of the edge on the inner network, where the same client has another address; empty without one.
        stub: URL of the control-plane stub; empty without one.
        redis: URL of Redis; empty without one.
        tenants: Tenants that replays share.
        spares: Tenants that a replay has for itself.
        closed: The same, without an admin token.
    """

    run: str
    kind: str
    build_id: str
    edge: str
    edge_direct: str
    stub: str
    redis: str
    tenants: tuple[TenantPlace, ...]
    spares: tuple[TenantPlace, ...] = ()
    closed: tuple[TenantPlace, ...] = ()

    @property
    def everybody(self) -> tuple[TenantPlace, ...]:
        """All tenants."""
        return (*self.tenants, *self.spares, *self.closed)

    @property
    def secrets(self) -> list[str]:
        """Values that must not be in anything that is kept."""
        found = [one.admin_token for one in self.everybody]
        for one in self.everybody:
            found.append(one.database)
            word = one.database.rpartition("@")[0].rpartition(":")[2]
            found.append(word)
        return [one for one in found if one]


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    temp = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    temp.replace(path)


def write(folder: Path, place: Place) -> None:
    """Write a harness down."""
    write_private(folder / FILE, json.dumps({"schema": SCHEMA, **asdict(place)}, indent=1, sort_keys=True))


def read(folder: Path) -> Place:
    """Read what was written down. Raises UnfitError."""
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if found.pop("schema") != SCHEMA:
            raise UnfitError(f"{folder / FILE} was written by another version of this program; take the harness down with that one")
        lists: dict[str, Any] = {key: tuple(TenantPlace(**one) for one in found.pop(key)) for key in LISTS}
        return Place(**lists, **found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UnfitError(f"{folder / FILE} cannot be read ({error}); take the harness down: ./bench harness down") from error
