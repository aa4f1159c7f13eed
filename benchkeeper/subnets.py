"""Chooses the embedded bench's subnet: derived from the checkout, free on this computer, never one that machines use inside."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

POOL = ipaddress.IPv4Network("10.208.0.0/12")
# What engines inside machines use: their defaults, the pool given to them, and what stacks ask for by address.
# An overlap makes a machine silently unreachable.
INNER_POOL = "10.201.0.0/16"
INNER_BRIDGE = "10.200.0.1/24"
RESERVED = tuple(ipaddress.IPv4Network(text) for text in ("172.16.0.0/12", "192.168.0.0/16", "10.84.0.0/16", "10.200.0.0/15"))


def parse_routes(text: str) -> list[ipaddress.IPv4Network]:
    """Return the destinations of /proc/net/route, without the default route."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and int(fields[7], 16):
            address = ipaddress.IPv4Address(int(fields[1], 16).to_bytes(4, "little"))
            mask = ipaddress.IPv4Address(int(fields[7], 16).to_bytes(4, "little"))
            found.append(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    return found


def parse_nameservers(text: str) -> list[str]:
    """Return the addresses of resolv.conf's nameservers, in order."""
    return [parts[1] for parts in map(str.split, text.splitlines()) if len(parts) > 1 and parts[0] == "nameserver"]


def host_nameservers() -> list[str]:
    """Return nameservers that work from inside a container: a stub on loopback is looked through."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.is_file():
            servers = parse_nameservers(path.read_text(encoding="utf-8", errors="replace"))
            usable = [server for server in servers if not ipaddress.ip_address(server.partition("%")[0]).is_loopback]
            if usable:
                return usable
    return []


def candidates(checkout_id: str) -> Iterator[ipaddress.IPv4Network]:
    """Yield the pool's /24 networks, each checkout starting at a place of its own."""
    count = 1 << (24 - POOL.prefixlen)
    start = int(checkout_id, 16) % count
    base = int(POOL.network_address)
    for step in range(count):
        yield ipaddress.IPv4Network((base + ((start + step) % count << 8), 24))


def free_subnets(
    checkout_id: str,
    used: Iterable[ipaddress.IPv4Network],
    servers: Iterable[str] = (),
) -> Iterator[ipaddress.IPv4Network]:
    """Yield candidates that overlap neither `used`, nor what is reserved, nor hold a nameserver."""
    taken = [*used, *RESERVED]
    taken += [ipaddress.IPv4Network(server) for server in servers if ":" not in server]
    for candidate in candidates(checkout_id):
        if not any(candidate.overlaps(other) for other in taken):
            yield candidate


def first_free(checkout_id: str, used: Iterable[ipaddress.IPv4Network], servers: Iterable[str] = ()) -> str:
    """Return the first free subnet, or raise UnfitError."""
    for candidate in free_subnets(checkout_id, used, servers):
        return str(candidate)
    raise UnfitError(f"no free subnet is left in {POOL}")
