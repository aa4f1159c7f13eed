"""Where an agent may say it listens: no address that leads back into the platform."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Awaitable[list[str]]]  # addresses of a name; OSError when it has none

# What is never allowed, and what it is called in the refusal; as the recorded program has it when it is run.
BLOCKED: tuple[tuple[str, str], ...] = (
    ("169.254.0.0/16", "link-local address (cloud metadata endpoint)"),
    ("127.0.0.0/8", "loopback address"),
    ("::1/128", "IPv6 loopback address"),
    ("fe80::/10", "IPv6 link-local address (cloud metadata analogue)"),
    ("192.0.2.0/24", "TEST-NET-1 documentation range (RFC-5737)"),
    ("198.51.100.0/24", "TEST-NET-2 documentation range (RFC-5737)"),
    ("203.0.113.0/24", "TEST-NET-3 documentation range (RFC-5737)"),
    ("100.64.0.0/10", "carrier-grade NAT address (RFC-6598)"),
    ("224.0.0.0/4", "IPv4 multicast address"),
    ("fc00::/8", "IPv6 ULA non-routable prefix (fc00::/8)"),
    ("2001:db8::/32", "IPv6 documentation address (RFC-3849 reserved)"),
)
# What that program forgot: the server itself, under a name that no list of loopbacks has, and what is nobody's place.
UNSPECIFIED: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified address"),
    ("::/128", "IPv6 unspecified address"),
    ("240.0.0.0/4", "reserved address"),
    ("ff00::/8", "IPv6 multicast address"),
)
# Another container's place when a control plane runs the agents, an attack when nobody does.
PRIVATE: tuple[tuple[str, str], ...] = (
    ("10.0.0.0/8", "RFC-1918 private address"),
    ("172.16.0.0/12", "RFC-1918 private address"),
    ("192.168.0.0/16", "RFC-1918 private address"),
    ("fd00::/8", "IPv6 ULA address (RFC-4193 private)"),
)


class Refused(Exception):
    """An address that an agent may not have; the text goes to the client."""


async def check(url: str, resolve: Resolve, *, private: bool, unspecified: bool) -> None:
    """Check an agent's address.

    Args:
        url: What the agent sent.
        resolve: How names become addresses.
        private: Whether private networks are fine, as with agents that a control plane runs.
        unspecified: Whether what was forgotten is fine; it should not be.

    Raises:
        Refused: What is wrong with it.
    """
    host = _host(url)
    if host.lower() == "localhost":  # fine by name, as recorded; sending to it is refused
        return
    rules = [*BLOCKED, *(() if unspecified else UNSPECIFIED), *(() if private else PRIVATE)]
    for text in await _addresses(host, resolve):
        reason = _blocked(text, rules)
        if reason:
            named = "" if text == host else f"hostname {quoted(host)} resolves to forbidden address: "
            raise Refused(f"{named}url targets a blocked address: {reason}")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as failure:
        raise Refused(f"url is not valid: parse {quoted(url)}: missing ']' in host") from failure
    if parts.scheme not in ("http", "https"):
        raise Refused(f"url scheme must be http or https, got {quoted(parts.scheme)}")
    return host


async def _addresses(host: str, resolve: Resolve) -> list[str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    if not host:
        raise Refused('hostname "" cannot be resolved (DNS error): no such host')
    try:
        return await resolve(host)
    except OSError as failure:
        raise Refused(f"hostname {quoted(host)} cannot be resolved (DNS error): {failure.strerror or 'no address'}") from failure


def _blocked(text: str, rules: list[tuple[str, str]]) -> str | None:
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    for network, reason in rules:
        if address in ipaddress.ip_network(network):
            return reason
    return None


def quoted(text: str) -> str:
    """Give a text in double quotes, with quotes and backslashes inside escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def routable(url: str) -> bool:
    """Say whether a message may be sent to this address: `localhost` may register but is nowhere."""
    host = (urlsplit(url).hostname or "").lower()
    if host in ("localhost", ""):
        return False
    try:
        return _blocked(host, [*BLOCKED, *UNSPECIFIED]) is None
    except ValueError:
        return True
