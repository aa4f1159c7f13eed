"""What a compose project and its engine looked like before a run, and what is different now. Pure but for the looks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Set

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
WORKING_DIR = "com.docker.compose.project.working_dir"
CONFIG_HASH = "com.docker.compose.config-hash"
KEEP = "benchkeeper/keep"
_UP = ("running", "restarting")


@dataclass(frozen=True)
class Container:
    """One container: what must be the same again. The id may differ."""

    id: str
    name: str
    project: str
    service: str
    image: str
    working_dir: str
    config_hash: str
    state: str

    @property
    def up(self) -> str:
        """``up``, ``paused`` or ``down``."""
        return "up" if self.state in _UP else ("paused" if self.state == "paused" else "down")


@dataclass(frozen=True)
class Network:
    """One network: its id, the project it carries, and what addresses it gives."""

    id: str
    name: str
    project: str
    shape: str


@dataclass(frozen=True)
class World:
    """Everything an engine has, by id or name."""

    containers: Dict[str, Container] = field(default_factory=dict)
    networks: Dict[str, Network] = field(default_factory=dict)
    volumes: Dict[str, str] = field(default_factory=dict)
    volume_projects: Dict[str, str] = field(default_factory=dict)
    images: Dict[str, List[str]] = field(default_factory=dict)

    @property
    def tags(self) -> Dict[str, str]:
        """Tags and the image id that has each."""
        return {tag: image for image, tags in self.images.items() for tag in tags}

    def named(self, project: str) -> Dict[str, Container]:
        """Return the containers of a project by name."""
        return {one.name: one for one in self.containers.values() if one.project == project}

    def document(self) -> Dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def names(self) -> Dict[str, List[str]]:
        """Return only what objects there are, to find later what is new."""
        return {
            "containers": sorted(self.containers),
            "networks": sorted(self.networks),
            "volumes": sorted(self.volumes),
            "images": sorted(self.images),
            "tags": sorted(f"{tag}={image}" for tag, image in self.tags.items()),
        }


def world_of(document: Mapping[str, Any]) -> World:
    """Return a world that was written down."""
    return World(
        {key: Container(**value) for key, value in document["containers"].items()},
        {key: Network(**value) for key, value in document["networks"].items()},
        dict(document["volumes"]),
        dict(document["volume_projects"]),
        {key: list(value) for key, value in document["images"].items()},
    )


def look(engine: Engine) -> World:
    """Return what the engine has now. Raises EngineError."""
    containers = {}
    for row in engine.containers():
        labels = row.get("Labels") or {}
        containers[row["Id"]] = Container(
            id=row["Id"],
            name=(row.get("Names") or ["/"])[0].lstrip("/"),
            project=labels.get(PROJECT, ""),
            service=labels.get(SERVICE, ""),
            image=row.get("ImageID", ""),
            working_dir=labels.get(WORKING_DIR, ""),
            config_hash=labels.get(CONFIG_HASH, ""),
            state=row.get("State", ""),
        )
    networks = {
        row["Id"]: Network(row["Id"], row["Name"], (row.get("Labels") or {}).get(PROJECT, ""), _shape(row))
        for row in engine.networks()
    }
    volumes = {}
    projects = {}
    for row in engine.volumes():
        volumes[row["Name"]] = row.get("CreatedAt") or ""
        projects[row["Name"]] = (row.get("Labels") or {}).get(PROJECT, "")
    images = {
        row["Id"]: sorted(tag for tag in row.get("RepoTags") or [] if not tag.startswith("<none>")) for row in engine.images()
    }
    return World(containers, networks, volumes, projects, images)


def _shape(row: Mapping[str, Any]) -> str:
    pools = sorted(str(one.get("Subnet")) for one in (row.get("IPAM") or {}).get("Config") or [])
    return f"{row.get('Driver')} internal={bool(row.get('Internal'))} {' '.join(pools)}"


def made(before: Mapping[str, Iterable[str]], now: World) -> Dict[str, List[str]]:
    """Return the objects that are there now and were not before, tags of ours excepted."""
    after = now.names()
    found = {kind: sorted(set(after[kind]) - set(before.get(kind, ()))) for kind in after}
    found["tags"] = [tag for tag in found["tags"] if not tag.startswith(KEEP + ":")]
    return {kind: names for kind, names in found.items() if names}


@dataclass(frozen=True)
class Difference:
    """What keeps a project from being as it was: reasons for people, and what has to be done about it."""

    reasons: List[str]
    wrong: List[Container]
    stale: bool
    extra_containers: List[Container]
    extra_networks: List[Network]
    reshaped: List[Network]
    extra_volumes: List[str]
    extra_images: List[str]
    extra_tags: List[str]
    lost_tags: Dict[str, str]
    lost_images: List[str]
    lost_volumes: List[str]

    @property
    def clean(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.reasons or self.stale)


def compare(project: str, before: World, now: World, owned: Mapping[str, Set[str]]) -> Difference:
    """Compare a project now with what it was.

    Args:
        project: Its compose name.
        before: The engine before the run.
        now: The engine now.
        owned: Objects that the run's commands made, by kind (containers, networks, volumes, images, tags).
    """
    here = now.named(project)
    then = before.named(project)
    reasons: List[str] = []
    wrong: List[Container] = []
    stale = False
    for name, was in sorted(then.items()):
        found = here.get(name)
        why = _container(was, found)
        if why:
            reasons.append(f"{name}: {why}")
            if found is not None and (found.image != was.image or found.working_dir != was.working_dir):
                wrong.append(found)
        elif found is not None and found.config_hash != was.config_hash:
            stale = True
    extra_containers = [
        one
        for one in now.containers.values()
        if one.id not in before.containers
        and (one.project == project or (one.id in owned["containers"] and not one.project))
        and not (one.project == project and one.name in then)
    ]
    names = {one.name for one in before.networks.values()}
    extra_networks = [
        one
        for one in now.networks.values()
        if one.id not in before.networks
        and one.name not in names
        and (one.project == project or (one.id in owned["networks"] and not one.project))
    ]
    shapes = {one.name: one.shape for one in before.networks.values() if one.project == project}
    reshaped = [one for one in now.networks.values() if one.name in shapes and one.shape != shapes[one.name]]
    extra_volumes = sorted(
        name
        for name in now.volumes
        if name not in before.volumes and (now.volume_projects[name] == project or name in owned["volumes"])
    )
    used = {one.image for one in now.containers.values() if one not in extra_containers and one not in wrong}
    extra_images = sorted(one for one in now.images if one not in before.images and one in owned["images"] - used)
    made_tags = {one.rpartition("=")[0] for one in owned["tags"]}
    extra_tags = sorted(tag for tag in now.tags if tag not in before.tags and tag in made_tags and not tag.startswith(KEEP + ":"))
    needed = {one.image for one in then.values()}
    lost_images = sorted(needed - set(now.images))
    lost_tags = {
        tag: image
        for tag, image in before.tags.items()
        if now.tags.get(tag) != image and image in now.images and (image in needed or tag in made_tags)
    }
    lost_volumes = sorted(
        name
        for name, created in before.volumes.items()
        if before.volume_projects.get(name) == project and now.volumes.get(name) != created
    )
    reasons += [f"container {one.name} was not there" for one in extra_containers]
    reasons += [f"network {one.name} was not there" for one in extra_networks]
    reasons += [f"network {one.name} has other addresses" for one in reshaped]
    reasons += [f"volume {name} was not there" for name in extra_volumes]
    reasons += [f"image {image[:19]} was not there" for image in extra_images]
    reasons += [f"tag {tag} was not there" for tag in extra_tags]
    reasons += [f"tag {tag} is not on its image" for tag in sorted(lost_tags)]
    reasons += [f"image {image[:19]} of the baseline is gone" for image in lost_images]
    return Difference(
        reasons,
        wrong,
        stale,
        extra_containers,
        extra_networks,
        reshaped,
        extra_volumes,
        extra_images,
        extra_tags,
        lost_tags,
        lost_images,
        lost_volumes,
    )


def _container(was: Container, now: Optional[Container]) -> str:
    if now is None:
        return "is gone"
    if now.image != was.image:
        return f"runs image {now.image[:19]}, not {was.image[:19]}"
    if now.working_dir != was.working_dir:
        return f"belongs to {now.working_dir}, not {was.working_dir}"
    if now.up != was.up:
        return f"is {now.state}, was {was.state}"
    return ""
