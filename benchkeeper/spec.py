"""What machines a bench has, as data: names from the inventory, needs from the stack, everything else derived. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from benchkeeper import subnets
from benchkeeper.errors import UnfitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchkeeper.paths import Paths

FIRST_ADDRESS = 10


@dataclass(frozen=True)
class Needs:
    """What a stack asks of its machines (`stacks/<name>/embedded.yml`).

    Attributes:
        packages: Debian packages of every machine besides the machine image's own.
        limits: By machine name, `cpus` (1.0 is one processor), `memory` (bytes, or with suffix k, m, g) and `cpu_shares` (1024 is
            usual). Only the machines that are named here are made; every one of the inventory when none is.
    """

    packages: tuple[str, ...]
    limits: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Machine:
    """One machine in a container, as it shall be.

    Attributes:
        name: Host name, inventory name and network alias.
        address: Its fixed address in the bench's network.
        image: Tag of the machine image.
        cpus: Quota in processors; None for no limit.
        memory: Limit as the engine takes it; None for no limit.
        stack: Whose baseline it carries; another stack gets another machine.
        cpu_shares: Its weight when machines want more than there is; None for the engine's usual one.
    """

    name: str
    address: str
    image: str
    cpus: float | None
    memory: str | None
    stack: str = ""
    cpu_shares: int | None = None


def parse_needs(text: str) -> Needs:
    """Read the platform's part of a stack's embedded.yml; raise UnfitError when it has another shape."""
    document = yaml.safe_load(text) or {}
    if not isinstance(document, dict):
        raise UnfitError("embedded.yml must be a mapping")
    packages = document.get("machine_packages", [])
    limits = document.get("machines", {})
    if not isinstance(packages, list) or not all(isinstance(name, str) and name.isprintable() for name in packages):
        raise UnfitError("embedded.yml: machine_packages must be a list of package names")
    if not isinstance(limits, dict) or not all(isinstance(value, dict) for value in limits.values()):
        raise UnfitError("embedded.yml: machines must map machine names to settings")
    return Needs(tuple(packages), limits)


def needs(paths: Paths, stack: str) -> Needs:
    """Return what a stack asks of its machines; nothing when it has no embedded.yml."""
    path = paths.stacks / stack / "embedded.yml"
    return parse_needs(path.read_text(encoding="utf-8")) if path.is_file() else Needs((), {})


def lends(paths: Paths, stack: str) -> bool:
    """Tell whether miners can be borrowed for a stack: whether its profile says how one is lent.

    Raises:
        UsageError: the profile cannot be read.
    """
    path = paths.stacks / stack / "profile.yml"
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        profile = None
    if not isinstance(profile, dict):
        raise UsageError(f"the stack's profile.yml cannot be read; what is wrong says ./bench validate {stack}")
    return "borrow" in profile


def plan(names: Sequence[str], subnet: str, image: str, wanted: Needs, stack: str = "") -> list[Machine]:
    """Return the machines of a bench that a stack needs, addresses counted up in the inventory's order.

    Raises:
        UnfitError: the stack names a machine that the inventory has not.
    """
    unknown = [name for name in wanted.limits if name not in names]
    if unknown:
        raise UnfitError(f"embedded.yml: machines: the inventory has no {', '.join(map(str, unknown))}; it has {', '.join(names)}")
    network = ipaddress.IPv4Network(subnet)
    machines = []
    for position, name in enumerate(names):
        if wanted.limits and name not in wanted.limits:
            continue
        limit = wanted.limits.get(name, {})
        machines.append(
            Machine(
                name=name,
                address=str(network[FIRST_ADDRESS + position]),
                image=image,
                cpus=float(limit["cpus"]) if limit.get("cpus") else None,
                memory=str(limit["memory"]) if limit.get("memory") else None,
                stack=stack,
                cpu_shares=int(limit["cpu_shares"]) if limit.get("cpu_shares") else None,
            ),
        )
    return machines


def engine_settings(nameservers: Sequence[str]) -> str:
    """Return daemon.json for a machine's engine: subnets that never meet the outer ones, and name servers that work.

    A machine's own resolver is a stub on loopback which its inner containers cannot reach.
    """
    settings: dict[str, Any] = {
        "bip": subnets.INNER_BRIDGE,
        "default-address-pools": [{"base": subnets.INNER_POOL, "size": 24}],
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "2"},
        "storage-driver": "overlay2",
    }
    if nameservers:
        settings["dns"] = list(nameservers)
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def config_hash(machine: Machine, image_id: str, files: Mapping[str, str], hosts: Mapping[str, str]) -> str:
    """Return a hash of everything a machine was made from: when it differs, the machine is replaced."""
    parts = {
        "version": 1,
        "machine": vars(machine) | {"image": image_id},
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
        "hosts": dict(hosts),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
