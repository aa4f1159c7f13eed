"""Which requests pass, and what they become. Pure; the proxy asks the engine what these rules want to know.

Bodies are not passed on: what a container, network or volume is made from is written anew out of keys that are known and harmless.
The engine reads JSON keys in any case and takes the last of two: a filter that looks for what is forbidden can be talked around.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TRIPLE = ("benchkeeper.owner", "benchkeeper.stack", "benchkeeper.run")
KIND = "benchkeeper.kind"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
IMAGE = rf"{NAME}(?:[/:@]{NAME})*"
_VERSION = re.compile(r"^/v1\.\d{1,3}(?=/)")

LOOK, CREATE, OWNED = "look", "create", "owned"


class Refused(Exception):
    """A request that does not pass; the message says why."""


@dataclass(frozen=True)
class Rule:
    """One kind of request.

    Attributes:
        verb: Method.
        pattern: What the path must be, without its version; a group `name` is the object.
        action: Whether it looks, makes something, or acts on something that must be ours.
        kind: What it is about.
        query: Parameters that may be given.
        rest: Path behind the object.
    """

    verb: str
    pattern: re.Pattern[str]
    action: str
    kind: str = ""
    query: tuple[str, ...] = ()
    rest: str = ""


def _look(verb: str, pattern: str, query: str = "") -> Rule:
    return Rule(verb, re.compile(pattern), LOOK, query=tuple(query.split()))


def _create(kind: str, query: str = "") -> Rule:
    return Rule("POST", re.compile(f"/{kind}/create"), CREATE, kind, tuple(query.split()))


def _owned(verb: str, kind: str, query: str = "", rest: str = "") -> Rule:
    return Rule(verb, re.compile(f"/{kind}/(?P<name>{NAME}){rest}"), OWNED, kind, tuple(query.split()), rest)


RULES = (
    _look("GET", "/_ping"),
    _look("HEAD", "/_ping"),
    _look("GET", "/version"),
    _look("GET", "/containers/json", "all filters limit size"),
    _look("GET", f"/containers/{NAME}/json", "size"),
    _look("GET", "/networks", "filters"),
    _look("GET", f"/networks/{NAME}"),
    _look("GET", "/volumes", "filters"),
    _look("GET", f"/volumes/{NAME}"),
    _look("GET", "/images/json", "all filters"),
    _look("GET", f"/images/{IMAGE}/json"),
    _create("containers", "name platform"),
    _create("networks"),
    _create("volumes"),
    # Without these, what was made could neither begin nor end.
    _owned("POST", "containers", "", "/start"),
    _owned("POST", "containers", "t", "/stop"),
    _owned("POST", "containers", "signal", "/kill"),
    _owned("DELETE", "containers", "force v"),
    _owned("DELETE", "networks"),
    _owned("DELETE", "volumes", "force"),
)


@dataclass(frozen=True)
class Wish:
    """A request that may pass: its rule, its path without the version, the object it is about, its parameters."""

    rule: Rule
    path: str
    name: str
    query: tuple[tuple[str, str], ...]


def judge(method: str, path: str, query: Iterable[tuple[str, str]]) -> Wish:
    """Return what a request wants, by its path as it was sent, with nothing decoded.

    Raises:
        Refused: When no rule allows it.
    """
    bare = _VERSION.sub("", path, count=1)
    pairs = tuple(query)
    for rule in RULES:
        match = rule.pattern.fullmatch(bare)
        if match and rule.verb == method:
            extra = sorted({key for key, _ in pairs} - set(rule.query))
            if extra or len({key for key, _ in pairs}) != len(pairs):
                raise Refused(f"parameters that do not pass: {', '.join(extra) or 'one was given twice'}")
            return Wish(rule, bare, match.groupdict().get("name", ""), pairs)
    raise Refused(f"{method} {bare[:80]} does not pass")


# Bodies


@dataclass(frozen=True)
class Policy:
    """What is forced on everything that is made: the labels of the ownership triple; and below which directories may be mounted."""

    triple: Mapping[str, str]
    roots: tuple[str, ...] = ()

    def owns(self, labels: Any) -> bool:
        """Tell whether labels are those of our run."""
        return isinstance(labels, Mapping) and all(labels.get(key) == value for key, value in self.triple.items())

    def labels(self, given: Any, kind: str) -> dict[str, str]:
        """Return the labels that an object gets. Raises Refused when they say that it is somebody else's."""
        given = given or {}
        if not isinstance(given, dict) or not all(isinstance(one, str) for pair in given.items() for one in pair):
            raise Refused("labels are not names with texts")
        other = sorted(key for key, value in self.triple.items() if given.get(key, value) != value)
        if other:
            raise Refused(f"these labels say whose it is, and are not yours to choose: {', '.join(other)}")
        return {**given, **self.triple, KIND: kind}


@dataclass
class Needs:
    """What the engine must be asked before a container is made."""

    networks: list[str] = field(default_factory=list)  # must be ours
    volumes: list[str] = field(default_factory=list)  # must be ours, or not be there
    paths: list[str] = field(default_factory=list)  # must lead through no link


def parse(raw: bytes) -> dict[str, Any]:
    """Return a body. Raises Refused when it is no object, or says a key twice, in whatever case."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key.casefold() for key, _ in pairs}) != len(pairs):
            raise Refused("a key stands twice in the body")
        return dict(pairs)

    try:
        found = json.loads(raw or b"{}", object_pairs_hook=unique)
    except ValueError as error:
        raise Refused("the body is not JSON") from error
    if not isinstance(found, dict):
        raise Refused("the body is no object")
    return found


_PLAIN = (
    "Image",
    "Cmd",
    "Entrypoint",
    "Env",
    "WorkingDir",
    "User",
    "Hostname",
    "ExposedPorts",
    "Healthcheck",
    "StopSignal",
    "StopTimeout",
    "Tty",
    "OpenStdin",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "StdinOnce",
)
_HOST_PLAIN = (
    "AutoRemove",
    "RestartPolicy",
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "NanoCpus",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "PidsLimit",
    "ReadonlyRootfs",
    "CapDrop",
    "Tmpfs",
    "Init",
    "ShmSize",
    "Dns",
    "DnsSearch",
    "DnsOptions",
    "ExtraHosts",
)


def _chosen(given: Mapping[str, Any], plain: Iterable[str], special: Iterable[str], what: str) -> dict[str, Any]:
    """Return the plain keys of a mapping; refuse unknown ones that say anything (clients send many that are empty)."""
    known = {*plain, *special}
    unknown = sorted(key for key, value in given.items() if key not in known and value not in (None, False, 0, "", [], {}))
    if unknown:
        raise Refused(f"{what}: {', '.join(unknown)} does not pass")
    return {key: given[key] for key in plain if key in given}


def container(given: Mapping[str, Any], policy: Policy) -> tuple[dict[str, Any], Needs]:
    """Return the body that a container is made from, and what must hold for it. Raises Refused."""
    needs = Needs()
    body = _chosen(given, _PLAIN, ("Labels", "HostConfig", "NetworkingConfig"), "container")
    host = _mapping(given.get("HostConfig"), "HostConfig")
    body["Labels"] = policy.labels(given.get("Labels"), "container")
    body["HostConfig"] = _host(host, policy, needs)
    networking = _mapping(given.get("NetworkingConfig"), "NetworkingConfig")
    _chosen(networking, (), ("EndpointsConfig",), "NetworkingConfig")
    endpoints = _mapping(networking.get("EndpointsConfig"), "EndpointsConfig")
    needs.networks += endpoints
    if endpoints:
        plain = {name: _chosen(_mapping(end, name), ("Aliases",), (), name) for name, end in endpoints.items()}
        body["NetworkingConfig"] = {"EndpointsConfig": plain}
    return body, needs


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{what} is no object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(f"{what} is no list")
    return value


def _host(given: Mapping[str, Any], policy: Policy, needs: Needs) -> dict[str, Any]:
    special = ("Binds", "Mounts", "NetworkMode", "PortBindings", "SecurityOpt")
    host = _chosen(given, _HOST_PLAIN, special, "HostConfig")
    mode = given.get("NetworkMode") or "default"
    if not isinstance(mode, str) or not re.fullmatch(NAME, mode) or mode == "host":
        raise Refused(f"NetworkMode {str(mode)[:80]} does not pass")
    if mode not in ("default", "bridge", "none"):
        needs.networks.append(mode)
    host["NetworkMode"] = mode
    host["Binds"] = [_bind(one, policy, needs) for one in _list(given.get("Binds"), "Binds")]
    host["Mounts"] = [_mount(_mapping(one, "a mount"), policy, needs) for one in _list(given.get("Mounts"), "Mounts")]
    host["PortBindings"] = _ports(_mapping(given.get("PortBindings"), "PortBindings"))
    options = _list(given.get("SecurityOpt"), "SecurityOpt")
    if any(one not in ("no-new-privileges", "no-new-privileges:true") for one in options):
        raise Refused("SecurityOpt does not pass, but for no-new-privileges")
    host["SecurityOpt"] = options
    return host


def _ports(given: Mapping[str, Any]) -> dict[str, Any]:
    for bindings in given.values():
        for one in _list(bindings, "PortBindings"):
            if not isinstance(one, dict) or one.get("HostIp") not in ("127.0.0.1", "::1"):
                raise Refused("ports are published on loopback only: HostIp must say so")
    return dict(given)


def source(path: Any, policy: Policy, needs: Needs) -> str:
    """Return a directory of the host that may be mounted: below one of the roots. Raises Refused."""
    if not isinstance(path, str) or not path.startswith("/") or posixpath.normpath(path) != path or "\0" in path:
        raise Refused(f"only absolute, normal paths are mounted, not {str(path)[:80]}")
    if not any(path == root or path.startswith(f"{root}/") for root in policy.roots):
        raise Refused(f"{path[:80]} is not below a directory of this run")
    needs.paths.append(path)
    return path


def _bind(given: Any, policy: Policy, needs: Needs) -> str:
    parts = str(given).split(":") if isinstance(given, str) else []
    if len(parts) not in (2, 3) or not parts[1].startswith("/") or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise Refused("a bind is wanted as path:path or path:path:ro; a volume comes by Mounts")
    source(parts[0], policy, needs)
    return ":".join(parts)


def _mount(given: Mapping[str, Any], policy: Policy, needs: Needs) -> dict[str, Any]:
    kind = given.get("Type")
    mount = _chosen(given, ("Type", "Target", "ReadOnly"), ("Source", "VolumeOptions", "TmpfsOptions", "BindOptions"), "Mounts")
    if kind == "tmpfs":
        return mount
    _chosen(_mapping(given.get("BindOptions"), "BindOptions"), (), (), "BindOptions")
    if kind == "bind":
        return {**mount, "Source": source(given.get("Source"), policy, needs)}
    if kind != "volume":
        raise Refused(f"a mount of type {str(kind)[:40]} does not pass")
    options = _mapping(given.get("VolumeOptions"), "VolumeOptions")
    _chosen(options, (), ("Labels",), "VolumeOptions")
    name = given.get("Source")
    if not name:
        return mount  # an anonymous one goes with its container
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise Refused("a volume has a plain name")
    needs.volumes.append(name)
    return {**mount, "Source": name, "VolumeOptions": {"Labels": policy.labels(options.get("Labels"), "volume")}}


def network(given: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """Return the body that a network is made from. Raises Refused."""
    body = _chosen(given, ("Name", "Internal", "EnableIPv6", "IPAM", "CheckDuplicate"), ("Driver", "Labels"), "network")
    if given.get("Driver") not in (None, "", "bridge"):
        raise Refused("networks are bridges")
    return {**body, "Driver": "bridge", "Labels": policy.labels(given.get("Labels"), "network")}


def volume(given: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """Return the body that a volume is made from. Options of the driver can name any path of the host. Raises Refused."""
    body = _chosen(given, ("Name",), ("Driver", "Labels"), "volume")
    if given.get("Driver") not in (None, "", "local"):
        raise Refused("volumes are local")
    return {**body, "Labels": policy.labels(given.get("Labels"), "volume")}
