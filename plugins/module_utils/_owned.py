"""What is ours: the ownership triple, who carries it, who only inherited it, and whom we made without it.

Pure: documents of the engine's API go in, judgements come out. Everything that removes asks here, and asks twice: when it lists,
and again just before it removes. What does not carry every label of the filter is a stranger's, whoever made it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

OWNER = "benchkeeper.owner"
STACK = "benchkeeper.stack"
RUN = "benchkeeper.run"
TRIPLE = (OWNER, STACK, RUN)
PREFIX = "benchkeeper."
KIND = "benchkeeper.kind"
"""What the object itself is (``container``, ``image`` ...). An image hands its labels on to what is made from it: this tells."""
BENCH = "bench"
"""The run of what outlives runs: machines and cached images. ``./bench down`` removes those, and nothing else does."""
PROJECT = "com.docker.compose.project"
ANONYMOUS = "com.docker.volume.anonymous"

CONTAINER, NETWORK, VOLUME, IMAGE, DIRECTORY = "container", "network", "volume", "image", "directory"
KINDS = (CONTAINER, NETWORK, VOLUME, IMAGE, DIRECTORY)
"""In the order in which they can be removed: what uses comes before what is used."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,254}")
_ID = re.compile(r"[0-9a-f]{12,64}")
_HEX_64 = re.compile(r"[0-9a-f]{64}")
_SHORT_ID = 12
_SLACK = 1.0  # seconds; lists tell an age in whole seconds only


class OwnershipError(ValueError):
    """A filter that could match what is not ours; the message says what it lacks."""


@dataclass(frozen=True)
class Ownership:
    """A filter that only one run's objects can pass. ``labels`` are sorted pairs, the triple among them."""

    labels: Tuple[Tuple[str, str], ...]

    def __getitem__(self, key: str) -> str:
        """Return the value that a label must have."""
        return dict(self.labels)[key]

    @property
    def run(self) -> str:
        """The run."""
        return self[RUN]

    def mapping(self) -> Dict[str, str]:
        """Return the labels as they are put on an object."""
        return dict(self.labels)

    def words(self) -> List[str]:
        """Return the labels as the engine's filter takes them, one ``key=value`` each; all of them must hold."""
        return [f"{key}={value}" for key, value in self.labels]

    def owns(self, labels: Any) -> bool:
        """Tell whether an object carries every label, with exactly this value: no prefix, no other case, no key alone."""
        return isinstance(labels, Mapping) and all(labels.get(key) == value for key, value in self.labels)

    def marker(self) -> Dict[str, str]:
        """Return what the marker file of a directory says of its owner."""
        return {"owner": self[OWNER], "stack": self[STACK], "run": self[RUN]}

    def marked(self, marker: Any) -> bool:
        """Tell whether a marker file names this owner, stack and run. Further labels of the filter have no place in a marker."""
        return isinstance(marker, Mapping) and all(marker.get(key) == value for key, value in self.marker().items())


def ownership(labels: Iterable[str]) -> Ownership:
    """Return the filter that a list of ``key=value`` means.

    Raises:
        OwnershipError: When a label of the triple is missing, empty, given twice or without a value, or when the run is the one of
            what outlives runs. (A mapping cannot say a key twice: the last one would win in silence, and the filter match more.)
    """
    found: Dict[str, str] = {}
    for word in labels:
        key, equals, value = str(word).partition("=")
        if not equals or not _VALUE.fullmatch(value):
            raise OwnershipError(f"a label is wanted as key=value with a plain value, not {str(word)!r}")
        if not _KEY.fullmatch(key):
            raise OwnershipError(f"{key!r} is no label")
        if key in found:
            raise OwnershipError(f"{key} was given twice")
        found[key] = value
    missing = [key for key in TRIPLE if key not in found]
    if missing:
        raise OwnershipError(
            f"a part of the ownership triple is missing: {', '.join(missing)}; nothing is removed by less than all of it"
        )
    if found[RUN] == BENCH:
        raise OwnershipError(f"{RUN}={BENCH} outlives runs and is removed by ./bench down only")
    return Ownership(tuple(sorted(found.items())))


def triple(owner: str, stack: str, run: str) -> Ownership:
    """Return the filter for the objects of one run. Raises OwnershipError."""
    return ownership([f"{OWNER}={owner}", f"{STACK}={stack}", f"{RUN}={run}"])


# Inherited labels


def inherits(labels: Any, parent: Any) -> bool:
    """Tell whether an object has nothing of ours but what its image has: then somebody else may have made it from our image.

    Args:
        labels: Labels of a container or image.
        parent: Labels of the image that it was made from.
    """
    own = {key: value for key, value in (labels or {}).items() if key.startswith(PREFIX)}
    return all((parent or {}).get(key) == value for key, value in own.items())


def built_upon(child: Mapping[str, Any], parent: Mapping[str, Any]) -> bool:
    """Tell from two inspected images whether one stands on the other's layers. Of two with the same layers the younger one does."""
    upper, lower = (list((one.get("RootFS") or {}).get("Layers") or []) for one in (child, parent))
    if child.get("Id") == parent.get("Id") or not lower or upper[: len(lower)] != lower:
        return False
    return len(upper) > len(lower) or seconds(child.get("Created")) > seconds(parent.get("Created"))


def image_labels(document: Mapping[str, Any]) -> Dict[str, str]:
    """Return the labels of an inspected image."""
    return dict((document.get("Config") or {}).get("Labels") or {})


# Children without the triple


@dataclass(frozen=True)
class Survey:
    """One look at an engine: what its lists say. ``directories`` are the state directories of the run, absolute."""

    containers: Sequence[Mapping[str, Any]] = ()
    networks: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Mapping[str, Any]] = ()
    images: Sequence[Mapping[str, Any]] = ()
    directories: Sequence[str] = ()


@dataclass(frozen=True)
class _Mine:
    """What a stray can be recognised by."""

    containers: Set[str] = field(default_factory=set)  # full ids
    networks: Dict[str, str] = field(default_factory=dict)  # id -> name
    volumes: Set[str] = field(default_factory=set)
    projects: Set[str] = field(default_factory=set)
    used: Set[str] = field(default_factory=set)  # names of the volumes that our containers use
    oldest: float = 0.0  # seconds since the epoch; when our first container was made


def labels_of(document: Mapping[str, Any]) -> Dict[str, str]:
    """Return the labels of an entry of one of the engine's lists."""
    return dict(document.get("Labels") or {})


def tags_of(document: Mapping[str, Any]) -> List[str]:
    """Return the names of an image, sorted. Lists of older engines name one that has none `<none>:<none>`."""
    return sorted(str(tag) for tag in document.get("RepoTags") or [] if tag != "<none>:<none>")


def name_of(document: Mapping[str, Any]) -> str:
    """Return what a person calls an entry of a list of containers, networks, volumes or images."""
    names = document.get("Names") or tags_of(document) or [document.get("Name") or document.get("Id") or ""]
    return str(names[0]).lstrip("/")


def seconds(moment: Any) -> float:
    """Return a moment of the engine's, seconds or RFC 3339, as seconds since the epoch; 0 when it cannot be read."""
    if isinstance(moment, (int, float)):
        return float(moment)
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?$", str(moment or ""))
    if not match:
        return 0.0
    zone = match[3] if match[3] and match[3] != "Z" else "+00:00"
    return datetime.fromisoformat(match[1] + zone).timestamp() + float(match[2] or 0)


def _mine(own: Ownership, everything: Survey) -> _Mine:
    containers = [one for one in everything.containers if own.owns(labels_of(one))]
    networks = [one for one in everything.networks if own.owns(labels_of(one))]
    volumes = [one for one in everything.volumes if own.owns(labels_of(one))]
    projects = {labels_of(one).get(PROJECT, "") for group in (containers, networks, volumes) for one in group}
    return _Mine(
        containers={str(one["Id"]) for one in containers},
        networks={str(one["Id"]): str(one.get("Name")) for one in networks},
        volumes={str(one["Name"]) for one in volumes},
        projects=projects - {""},
        used={str(mount.get("Name")) for one in containers for mount in one.get("Mounts") or [] if mount.get("Type") == "volume"},
        oldest=min([seconds(one.get("Created")) for one in containers] or [0.0]),
    )


def strays(own: Ownership, everything: Survey, shared: Iterable[str] = ()) -> List[Dict[str, str]]:
    """Return what the run seems to have made without its labels: ``[{kind, id, name, why}]``. Never removed, always told.

    Args:
        own: The run.
        everything: All objects of the engine, not only those of the run.
        shared: Names of networks and volumes that the run is known to use and not to own.
    """
    mine, known = _mine(own, everything), set(shared)
    found: List[Dict[str, str]] = []

    def told(kind: str, one: Mapping[str, Any], why: str) -> None:
        identity = str(one["Name"] if kind == VOLUME else one["Id"])
        if why and name_of(one) not in known and not own.owns(labels_of(one)) and not _outlives(own, labels_of(one)):
            found.append({"kind": kind, "id": identity, "name": name_of(one), "why": why})

    for one in everything.containers:
        told(CONTAINER, one, _why_container(one, mine, everything.directories))
    for one in everything.networks:
        told(NETWORK, one, _why_project(one, mine))
    for one in everything.volumes:
        told(VOLUME, one, _why_project(one, mine) or _why_volume(one, mine))
    for one in everything.images:
        told(IMAGE, one, _why_project(one, mine))
    return found


def _outlives(own: Ownership, labels: Mapping[str, str]) -> bool:
    """Tell whether an object is the same checkout's and outlives runs: a cached image that this run happened to build."""
    return labels.get(OWNER) == own[OWNER] and labels.get(RUN) == BENCH and STACK in labels


def _why_project(one: Mapping[str, Any], mine: _Mine) -> str:
    project = labels_of(one).get(PROJECT, "")
    return f"belongs to the run's compose project {project}" if project in mine.projects else ""


def _why_container(one: Mapping[str, Any], mine: _Mine, directories: Sequence[str]) -> str:
    for name, endpoint in ((one.get("NetworkSettings") or {}).get("Networks") or {}).items():
        # A container that never ran has its networks by name only.
        identity = str((endpoint or {}).get("NetworkID") or "")
        if identity in mine.networks or (not identity and name in mine.networks.values()):
            return f"is attached to the run's network {name}"
    mode = str((one.get("HostConfig") or {}).get("NetworkMode") or "")
    if mode.startswith("container:") and mode.partition(":")[2] in mine.containers:
        return "shares the network of a container of the run"
    for mount in one.get("Mounts") or []:
        if mount.get("Type") == "volume" and mount.get("Name") in mine.volumes:
            return f"uses the run's volume {mount['Name']}"
        source = str(mount.get("Source") or "")
        if mount.get("Type") == "bind" and any(source == path or source.startswith(f"{path}/") for path in directories):
            return f"uses the run's directory {source}"
    for key, value in sorted(labels_of(one).items()):
        if _ID.fullmatch(str(value)) and any(whole == value or whole[:_SHORT_ID] == value for whole in mine.containers):
            return f"names a container of the run as its maker ({key})"
    return _why_project(one, mine)


def _why_volume(one: Mapping[str, Any], mine: _Mine) -> str:
    # An anonymous one goes with its container; engines before 23 do not label it. One that is older than the run is somebody else's
    # that the run only uses.
    if one.get("Name") not in mine.used or ANONYMOUS in labels_of(one) or _HEX_64.fullmatch(str(one.get("Name"))):
        return ""
    return "was made by a container of the run, by its name alone" if seconds(one.get("CreatedAt")) + _SLACK >= mine.oldest else ""


def as_report(value: Optional[Sequence[Mapping[str, str]]]) -> List[str]:
    """Return objects as lines for a person and for a diff, ``kind name``, sorted."""
    return sorted(f"{one['kind']} {one['name']}" for one in value or ())
