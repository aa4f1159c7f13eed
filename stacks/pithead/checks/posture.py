"""How the services stand: users, capabilities, mounts and addresses, as exact sets, read from what runs."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping

from ansible_collections.benchkeeper.core.plugins.module_utils._check import (
    RunContext,
    Snapshot,
    Verdict,
    check,
    env_values,
    judge,
    need,
    services,
)

LOOKS = ("baseline", "deploy", "scenario", "lifecycle-end")
EXACT = ("uid", "read_only", "privileged", "restart", "stop_timeout", "log")
SETS = ("cap_drop", "cap_add", "security_opt", "extras", "depends_on")
TITLES = {
    "uid": "runs as user {}",
    "read_only": "has a read-only root",
    "privileged": "is not privileged",
    "restart": "comes back after a crash or a boot",
    "cap_drop": "drops every capability",
    "cap_add": "has no capability but those it needs",
    "security_opt": "cannot gain privileges",
    "stop_timeout": "has {} seconds to stop",
    "log": "has logs that cannot fill the disk",
    "extras": "shares nothing else with the host",
    "depends_on": "starts after what it needs",
}
LOOPBACK = ("127.", "[::1]")
MIB = 1024 * 1024
# What the engine takes where a health check does not say, in seconds.
ENGINE_HEALTH = {"interval": 30, "timeout": 30, "retries": 3, "start_period": 0, "start_interval": 5}
SETTING = re.compile(r"\$([A-Z][A-Z0-9_]*)")


def _demanded(context: RunContext, name: str) -> Mapping[str, Any]:
    found = context["posture"]["services"].get(name)
    return found if isinstance(found, Mapping) else {}


@check(*LOOKS)
def confinement(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Each service has exactly the rights it needs."""
    lacking = list(need(snapshot, "posture.services", "The services can be looked at", "stack"))
    yield from lacking
    for name, one in services(snapshot, "invariant").items() if not lacking else ():
        demanded = _demanded(context, name)
        if not demanded:
            yield Verdict(f"posture.{name}.known", f"It is known how {name} must stand", "fail", "a service nobody described")
            continue
        for key in EXACT:
            yield judge(f"posture.{name}.{key}", f"{name} {TITLES[key].format(demanded[key])}", demanded[key], one.get(key))
        for key in SETS:
            yield judge(f"posture.{name}.{key}", f"{name} {TITLES[key]}", demanded[key], one.get(key), "set_eq")
        yield judge(f"posture.{name}.memory", f"{name} has a memory limit", 0, one.get("memory"), "gt")
        most = demanded["memory"] * MIB
        yield judge(f"posture.{name}.memory_most", f"{name} cannot take the machine's memory", most, one.get("memory"), "le")
        yield judge(f"posture.{name}.pids", f"{name} has a limit of processes", 0, one.get("pids"), "gt")


@check(*LOOKS)
def reach(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """What each service has of the host and of its secrets: exactly these mounts, exactly these keys."""
    lacking = list(need(snapshot, "posture.mounts", "What is mounted can be looked at", "stack", "env"))
    yield from lacking
    secret = {key for keys in context["secrets"]["categories"].values() for key in keys}
    for name, one in services(snapshot, "invariant").items() if not lacking else ():
        demanded = _demanded(context, name)
        if not demanded:
            continue
        mounts = [_spelled(mount) for mount in one.get("mounts") or []]
        wanted = [_filled(mount, snapshot, context) for mount in demanded["mounts"]]
        yield judge(f"posture.{name}.mounts", f"{name} has of the host what it needs, and no more", wanted, mounts, "set_eq")
        carried = sorted(secret & set(one.get("env_fp") or {}))
        yield judge(f"posture.{name}.secrets", f"{name} knows its own secrets only", demanded["secrets"], carried, "set_eq")


def _spelled(mount: Mapping[str, Any]) -> str:
    """Return a mount as posture.yml spells it."""
    if mount.get("type") == "tmpfs":
        return f"memory {mount.get('target')} {mount.get('options')}"
    return f"{mount.get('source') or mount.get('name')} {mount.get('target')} {'rw' if mount.get('rw') else 'ro'}"


def _filled(text: str, snapshot: Snapshot, context: RunContext) -> str:
    """Put in the settings and the directory; a setting that is not there stays as it is spelled, and fits nothing."""
    values = env_values(snapshot)
    directory = context["live"] if context["look"]["phase"] == "baseline" else context["checkout"]
    return SETTING.sub(lambda place: values.get(place[1], place[0]), text).replace("{dir}", directory)


@check(*LOOKS)
def health(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Health checks ask what they are meant to ask, and often enough: one that cannot fail is worse than none."""
    lacking = list(need(snapshot, "posture.health", "The health checks can be looked at", "stack", "env"))
    yield from lacking
    for name, one in services(snapshot, "invariant").items() if not lacking else ():
        demanded = _demanded(context, name)
        if not demanded:
            continue
        seen = one.get("health") or {}
        wanted = [_filled(word, snapshot, context) for word in demanded["health"]]
        yield judge(f"posture.{name}.health", f"{name} is asked what tells whether it works", wanted, seen.get("test"))
        limits = context["posture"]["health"]
        slow = [key for key, most in limits.items() if (seen.get(key) or ENGINE_HEALTH[key]) > most] if seen else None
        yield judge(f"posture.{name}.health_times", f"{name} is found ill in good time", [], slow, "set_eq")


@check(*LOOKS)
def networks(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Each service is in its network and no other, with its fixed address."""
    lacking = list(need(snapshot, "posture.networks", "The networks can be looked at", "stack", "env"))
    yield from lacking
    subnet = env_values(snapshot).get("NETWORK_SUBNET", "")
    prefix = subnet.rpartition(".")[0]
    numbers = context["posture"]["networks"]
    if not lacking:
        stack = snapshot["invariant"]["stack"]
        made = stack.get("networks") or {}
        yield judge("posture.networks.set", "Exactly these networks are there", sorted(numbers), sorted(made), "set_eq")
        there = made.get("mining_net", {}).get("subnet")
        yield judge("posture.networks.subnet", "The miners' network has the configured addresses", subnet, there)
        yield judge(
            "posture.volumes", "Exactly these volumes are there", context["posture"]["volumes"], stack.get("volumes"), "set_eq"
        )
    for name, one in services(snapshot, "invariant").items() if not lacking else ():
        network = _demanded(context, name).get("network")
        if not network:
            continue
        seen = {key: value for key, value in (one.get("networks") or {}).items() if one.get("network_mode") != "host"}
        actual = ["host"] if one.get("network_mode") == "host" else sorted(seen)
        yield judge(f"posture.{name}.network", f"{name} is in its network only", [network], actual, "set_eq")
        if name in numbers.get(network, {}):
            address = f"{prefix}.{numbers[network][name]}"
            yield judge(f"posture.{name}.address", f"{name} has its fixed address", address, seen.get(network))


def _bind(rule: Mapping[str, Any], snapshot: Snapshot, context: RunContext) -> str | None:
    """Return the address that a port may be published on.

    With a scenario's row its switch decides, closed unless it says otherwise; at other looks the setting that is in force.
    """
    if "bind" in rule:
        return str(rule["bind"])
    if context["look"]["phase"] in ("scenario", "lifecycle"):
        return "0.0.0.0" if context.get("overrides", {}).get(rule["lan"]) else "127.0.0.1"  # noqa: S104 - compared, not bound
    return env_values(snapshot).get(rule["env"])


@check(*LOOKS)
def published(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """What can be reached from outside is exactly what must be: told by the engine and, for each port, by the kernel."""
    title = "Exactly these addresses are published"
    lacking = list(need(snapshot, "posture.published", title, "stack", "sockets", "env"))
    yield from lacking
    if lacking:
        return
    built = services(snapshot, "invariant")
    wanted: dict[str, list[str]] = {}
    for name, ports in context["posture"]["published"].items():
        for port, rule in ports.items() if name in built else ():
            outer = rule.get("host_port") or env_values(snapshot).get(rule.get("host_port_env", ""), port)
            wanted.setdefault(name, []).append(f"{_bind(rule, snapshot, context)}:{outer}->{port}")
    for name, one in built.items():
        actual = [f"{port['host_ip']}:{port['host_port']}->{port['port']}" for port in one.get("ports") or []]
        yield judge(f"posture.{name}.published", f"{name}: {title.lower()}", wanted.get(name, []), actual, "set_eq")
    listening = _listening(snapshot)
    for entries in wanted.values():
        for entry in entries:
            outside, _arrow, _port = entry.partition("->")
            address, _colon, number = outside.rpartition(":")
            strange = sorted(listening.get(number, set()) - {address})
            name = f"posture.port_{number}.listening"
            yield judge(name, f"Port {number} is open on {address} only", [], strange, "set_eq")


def _listening(snapshot: Snapshot) -> dict[str, set[str]]:
    """Return the addresses on which the kernel says somebody listens, by port."""
    found: dict[str, set[str]] = {}
    for entry in snapshot["invariant"]["sockets"].get("listen") or []:
        address, _colon, port = str(entry).partition(" ")[2].rpartition(":")
        found.setdefault(port, set()).add(address)
    return found


@check(*LOOKS)
def host_listeners(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Services in the host's network listen where they must and nowhere else; nothing new is open to the outside."""
    title = "Nothing new is open to the outside"
    lacking = list(need(snapshot, "posture.open_ports", title, "sockets", "stack", "env"))
    yield from lacking
    if lacking:
        return
    listening = _listening(snapshot)
    known: set[str] = set()
    for name, ports in context["posture"]["listening"].items():
        for port, addresses in ports.items() if name in services(snapshot) else ():
            number = _dashboard_port(str(port), snapshot)
            if number is None:
                continue
            known.add(number)
            seen = listening.get(number, set())
            allowed = seen if seen and seen <= set(addresses) else set(addresses)
            what = f"posture.{name}.listens_on_{port}"
            yield judge(what, f"{name} listens on port {number} where it must", sorted(allowed), sorted(seen), "set_eq")
    before = _listening(context["before"]) if context.get("before") else {}
    published_ports = {
        str(port["host_port"]) for one in services(snapshot, "invariant").values() for port in one.get("ports") or []
    }
    outside = [
        f"{address}:{port}"
        for port, addresses in listening.items()
        for address in sorted(addresses - before.get(port, set()))
        if not address.startswith(LOOPBACK) and port not in known | published_ports
    ]
    yield judge("posture.open_ports", title, [], sorted(outside), "set_eq")


def _dashboard_port(port: str, snapshot: Snapshot) -> str | None:
    """Return the port that the proxy uses for this default port; None when this configuration does not use it."""
    env = env_values(snapshot)
    if port not in ("80", "443"):
        return port
    secure, own = env.get("DASHBOARD_SECURE") == "true", env.get("HOST_PORT") or ""
    if port == "443":
        return (own or port) if secure else None
    return (None if own else port) if secure else (own or port)
