"""Tenants that run elsewhere, in a file: where they are, and in which file each one's token is. None is ours to start or stop.

edge: http://127.0.0.1:8080
build_id: 0af4012f
tenants:
- { name: alpha, host: tenant-alpha.example, org: org-alpha, token_file: /run/secrets/alpha }
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from benchkeeper import located, schema
from benchkeeper.errors import UsageError
from benchkeeper.harness.place import Place, TenantPlace
from benchkeeper.harness.topology import URL

if TYPE_CHECKING:
    from pathlib import Path

Web = Annotated[str, Field(pattern=r"^http://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,251}$")]
Organisation = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
LARGEST = 8192  # bytes of a token's file


class FarTenant(schema.Strict):
    """One tenant: its name in replays' variables, its Host name, its organisation, the file with its token, and its own URL."""

    name: Word
    host: Host
    org: Organisation
    token_file: schema.Text
    direct: Web | None = None


class Far(schema.Strict):
    """What is in the file."""

    edge: Web
    build_id: str = ""
    tenants: list[FarTenant] = Field(min_length=1, max_length=8)


def read(path: Path) -> Place:
    """Read such a file. Raises UsageError, which names every mistake with its line."""
    try:
        document = located.read(path, path.name)
    except located.BrokenFileError as error:
        raise UsageError(str(error)) from error
    found = list(schema.mistakes(Far, document))
    if found:
        raise UsageError(str(located.BrokenFileError(found)))
    far = Far.model_validate(document.data)
    names = [one.name for one in far.tenants]
    if len(set(names)) != len(names):
        raise UsageError(f"{path.name}: two tenants have the same name")
    return Place("", URL, far.build_id, far.edge, "", "", "", tuple(_tenant(path, one, far.edge) for one in far.tenants))


def _tenant(path: Path, one: FarTenant, edge: str) -> TenantPlace:
    place = path.parent / one.token_file
    try:
        with place.open(encoding="ascii") as file:
            token = file.read(LARGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: the token of {one.name} cannot be read: {place}") from error
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"{path.name}: {place} holds no token")
    return TenantPlace(one.name, one.host, one.org, one.direct or edge, token)
