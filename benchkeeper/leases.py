"""Who holds what on the machines: asked of each machine's keeper, all at the same time, with a short patience."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchkeeper import sshfiles
from benchkeeper.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchkeeper.paths import Paths

PATIENCE = 5.0
KEEPER = "/usr/local/sbin/keeper"


@dataclass(frozen=True)
class Lease:
    """One lease as a machine tells it; `deadline` is ISO 8601 or None, `state` one of the keeper's words."""

    resource: str
    host: str
    holder: str
    run_id: str
    state: str
    deadline: str | None


def _words(holder: Any) -> str:
    if isinstance(holder, dict):
        who = "@".join(str(holder[key]) for key in ("user", "host") if holder.get(key))
        pid = f" pid {holder['pid']}" if holder.get("pid") else ""
        return f"{who or holder.get('controller_id', 'unknown')}{pid}"
    return str(holder or "")


def parse(host: str, text: str) -> list[Lease]:
    """Read `keeper status --json`; what cannot be read counts as a lease in state `unreadable`."""
    try:
        entries = json.loads(text).get("leases", [])
        entries = list(entries.values()) if isinstance(entries, dict) else list(entries)
        return [
            Lease(
                resource=str(entry.get("resource", host)),
                host=host,
                holder=_words(entry.get("holder")),
                run_id=str(entry.get("run_id") or ""),
                state=str(entry.get("state", "unreadable")),
                deadline=None if entry.get("deadline") is None else str(entry["deadline"]),
            )
            for entry in entries
        ]
    except (ValueError, AttributeError, TypeError):
        return [Lease(host, host, "", "", "unreadable", None)]


def ask(paths: Paths, host: str) -> list[Lease]:
    """Ask one machine; a machine without keeper has no lease, one that cannot be reached has one in state `unreachable`."""
    question = f"'if test -x {KEEPER}; then sudo {KEEPER} status --json; else echo \"{{}}\"; fi'"
    try:
        answer = subprocess.run(
            sshfiles.command(paths, host, "sh", "-c", question),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return [Lease(host, host, "", "", "unreachable", None)]
    if answer.returncode == 255:
        return [Lease(host, host, "", "", "unreachable", None)]
    return parse(host, answer.stdout)


def ask_all(paths: Paths, hosts: Iterable[str]) -> list[Lease]:
    """Return the leases of all hosts, in their order."""
    hosts = list(hosts)
    if not hosts:
        return []
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return [lease for found in pool.map(lambda host: ask(paths, host), hosts) for lease in found]


def held(leases: Iterable[Lease]) -> list[Lease]:
    """Return the leases that stand in the way of replacing or removing a machine."""
    return [lease for lease in leases if lease.state not in ("free", "unreachable")]


def refuse_when_held(paths: Paths, hosts: Iterable[str], what: str) -> None:
    """Raise BusyError naming the holder when one of the hosts is leased or not proven."""
    for lease in held(ask_all(paths, hosts)):
        until = f" until {lease.deadline}" if lease.deadline else ""
        by = f" by {lease.holder} (run {lease.run_id})" if lease.run_id else ""
        raise BusyError(f"{what}: {lease.host} is {lease.state}{by}{until}; see ./bench status, then ./bench recover")


def as_json(leases: Iterable[Lease]) -> list[dict[str, Any]]:
    """Return leases as `status --json` prints them."""
    return [asdict(lease) for lease in leases]
