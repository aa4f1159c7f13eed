"""How the services stand: users, capabilities, mounts and addresses, as exact sets, read from what runs."""

from __future__ import annotations

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
EXACT = ("uid", "read_only", "privileged", "restart")
SETS = ("cap_drop", "cap_add", "security_opt")
TITLES = {
    "uid": "runs as user {}",
    "read_only": "has a read-only root",
    "privileged": "is not privileged",
    "restart": "comes back after a crash or a boot",
    "cap_drop": "drops every capability",
    "cap_add": "has no capability but those it needs",
    "security_opt": "cannot gain privileges",
}
LOOPBACK = ("127.", "[::1]")
ENGINE_SOCKET = "docker.sock"


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
        yield judge(f"posture.{name}.pids", f"{name} has a limit of processes", 0, one.get("pids"), "gt")
        mounts = one.get("mounts") or []
        writable = [mount.get("target") for mount in mounts if mount.get("rw") and not _is_socket(mount)]
        yield judge(f"posture.{name}.writable", f"{name} can write only where it must", demanded["writable"], writable, "set_eq")
        holds = any(_is_socket(mount) for mount in mounts)
        title = f"{name} {'reads' if demanded['docker_socket'] else 'cannot reach'} the engine's socket"
        yield judge(f"posture.{name}.docker_socket", title, demanded["docker_socket"], holds)


def _is_socket(mount: Mapping[str, Any]) -> bool:
    return ENGINE_SOCKET in f"{mount.get('source', '')}{mount.get('target', '')}"


@check(*LOOKS)
def networks(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """Each service is in its network and no other, with its fixed address."""
    lacking = list(need(snapshot, "posture.networks", "The networks can be looked at", "stack", "env"))
    yield from lacking
    prefix = env_values(snapshot).get("NETWORK_SUBNET", "").rpartition(".")[0]
    numbers = context["posture"]["networks"]
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
