"""Which hosts an inventory names, as far as the command line must know to refuse a wrong name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchkeeper.errors import UsageError


@dataclass(frozen=True)
class Hosts:
    """Host names by role, each in the inventory's order; `machines` is every host that is not this computer."""

    benches: tuple[str, ...]
    miners: tuple[str, ...]
    machines: tuple[str, ...]


def from_listing(listing: dict[str, Any]) -> Hosts:
    """Read the answer of `ansible-inventory --list`."""

    def members(group: str) -> list[str]:
        entry = listing.get(group, {})
        found = [str(host) for host in entry.get("hosts", [])]
        for child in entry.get("children", []):
            found += members(str(child))
        return list(dict.fromkeys(found))

    local = {
        name for name, values in listing.get("_meta", {}).get("hostvars", {}).items() if values.get("ansible_connection") == "local"
    } | {"localhost"}
    return Hosts(
        benches=tuple(members("benches")),
        miners=tuple(members("miners")),
        machines=tuple(host for host in members("all") if host not in local),
    )


def from_yaml(text: str) -> Hosts:
    """Read one plain YAML inventory file: groups, children and hosts, no ranges, no plugins."""
    document = yaml.safe_load(text) or {}
    groups: dict[str, list[str]] = {}
    local = {"localhost"}

    def walk(name: str, entry: dict[str, Any] | None) -> list[str]:
        entry = entry or {}
        found = []
        for host, values in (entry.get("hosts") or {}).items():
            found.append(str(host))
            if (values or {}).get("ansible_connection") == "local":
                local.add(str(host))
        for child, below in (entry.get("children") or {}).items():
            found += walk(str(child), below)
        groups[name] = list(dict.fromkeys(groups.get(name, []) + found))
        return found

    for name, entry in document.items():
        walk(str(name), entry)
    every = list(dict.fromkeys(host for hosts in groups.values() for host in hosts))
    return Hosts(
        benches=tuple(groups.get("benches", ())),
        miners=tuple(groups.get("miners", ())),
        machines=tuple(host for host in every if host not in local),
    )


def made(record: Path) -> frozenset[str] | None:
    """Return the machines of an embedded bench that were made, from its record (`Paths.machines`); None when there is none."""
    try:
        return frozenset(json.loads(record.read_text(encoding="utf-8"))["machines"])
    except FileNotFoundError:
        return None


def read(path: Path, *, plain: bool) -> Hosts:
    """Return the hosts of an inventory: a `plain` one (our own) is read here, others by Ansible itself (a second)."""
    if plain:
        return from_yaml((path / "hosts.yml").read_text(encoding="utf-8"))
    program = Path(sys.executable).parent / "ansible-inventory"
    answer = subprocess.run(
        [str(program), "-i", str(path), "--list"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if answer.returncode != 0:
        last = answer.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UsageError(f"Ansible cannot read the inventory {path}: {last[0]}")
    return from_listing(json.loads(answer.stdout))
