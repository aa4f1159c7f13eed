"""Removes what is ours from an engine, and says what it did, what it could not do, and what it would not do.

One round lists what carries every label, looks at each object again, removes it, and goes on to what used it. Rounds go on until a
list is empty: a killed command may still be making objects while we work. Only an empty list is success. An engine that does not
answer is an error of its own, never an empty list.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _owned, _owned_dirs
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._owned import (
    CONTAINER,
    DIRECTORY,
    IMAGE,
    KINDS,
    NETWORK,
    VOLUME,
    Ownership,
)

ROUNDS = 8
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2)  # seconds between rounds; a container on its way out holds its network for a moment
PATIENCE = 60.0  # seconds for one call; a busy engine takes its time to remove a container
_NOT_FOUND, _CONFLICT = 404, 409
_RETAGGED = "its names changed since it was listed"
_CHANGED = "its labels changed since it was listed"
_INHERITED = f"its labels are those of its image and it has none of its own ({_owned.KIND}): anybody may have made it"


class EngineLike(Protocol):
    """What is asked of an engine; ``_engine_api.Engine`` is one."""

    def containers(self, labels: Optional[Mapping[str, Optional[str]]] = None) -> List[Dict[str, Any]]:
        """List all containers, stopped ones too, that carry every label."""

    def networks(self, labels: Optional[Mapping[str, Optional[str]]] = None) -> List[Dict[str, Any]]:
        """List networks that carry every label."""

    def volumes(self, labels: Optional[Mapping[str, Optional[str]]] = None) -> List[Dict[str, Any]]:
        """List volumes that carry every label."""

    def images(self, labels: Optional[Mapping[str, Optional[str]]] = None) -> List[Dict[str, Any]]:
        """List images that carry every label."""

    def inspect(self, container: str) -> Dict[str, Any]:
        """Look at one container. Raises EngineError."""

    def network(self, name: str) -> Dict[str, Any]:
        """Look at one network. Raises EngineError."""

    def volume(self, name: str) -> Dict[str, Any]:
        """Look at one volume. Raises EngineError."""

    def image(self, reference: str) -> Dict[str, Any]:
        """Look at one image. Raises EngineError."""

    def remove(self, container: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container. Raises EngineError."""

    def remove_network(self, name: str) -> None:
        """Remove a network nobody uses. Raises EngineError."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume nobody uses. Raises EngineError."""

    def remove_image(self, reference: str, *, force: bool = False, noprune: bool = False) -> None:
        """Remove a name of an image, and the image with its last. Raises EngineError."""


@dataclass(frozen=True)
class Scope:
    """Where to look and what to leave out.

    Attributes:
        kinds: Kinds of objects to remove.
        roots: Directories right below which state directories stand.
        shared: Names of networks and volumes that the run uses and does not own.
        dry: Remove nothing; say what would be removed.
    """

    kinds: Tuple[str, ...] = KINDS
    roots: Tuple[str, ...] = ()
    shared: Tuple[str, ...] = ()
    dry: bool = False


@dataclass
class Outcome:
    """What came of it; every list holds ``{kind, id, name}``, all but ``removed`` with ``why``.

    Attributes:
        removed: Gone, or what would go in a dry run.
        left: Ours, and still there.
        spared: Carries our labels or did when it was listed, and may be somebody else's.
        strays: What the run seems to have made without its labels.
    """

    removed: List[Dict[str, str]] = field(default_factory=list)
    left: List[Dict[str, str]] = field(default_factory=list)
    spared: List[Dict[str, str]] = field(default_factory=list)
    strays: List[Dict[str, str]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing of ours is left, and nothing was made without its labels."""
        return not self.left and not self.strays

    def add(self, other: Outcome) -> None:
        """Take over what another one says."""
        self.removed += other.removed
        self.left += other.left
        self.spared += other.spared
        self.strays += other.strays

    def as_json(self) -> Dict[str, List[Dict[str, str]]]:
        """Return the lists as results hold them, in one order."""
        lists = {"removed": self.removed, "left": self.left, "spared": self.spared, "strays": self.strays}
        return {name: sorted(found, key=lambda one: (KINDS.index(one["kind"]), one["name"])) for name, found in lists.items()}


@dataclass(frozen=True)
class _Candidate:
    """An object of a list: what it is, and what of its document must still be so just before it is removed."""

    kind: str
    id: str
    name: str
    document: Any

    def told(self, why: str = "") -> Dict[str, str]:
        entry = {"kind": self.kind, "id": self.id, "name": self.name}
        return {**entry, "why": why} if why else entry


@dataclass(frozen=True)
class Means:
    """With what it is done.

    Attributes:
        engine: The engine; used by several threads.
        pause: Waits for some seconds.
        files: Where directories are opened.
        mounted: Tells what is mounted where.
        workers: How many containers are removed at the same time.
    """

    engine: EngineLike
    pause: Callable[[float], None]
    files: _fsio.Files = field(default_factory=_fsio.RealFiles)
    mounted: _owned_dirs.Mounts = _owned_dirs.mounts
    workers: int = 8


class Prune:
    """Removes what one ownership owns, where a scope says, by some means."""

    def __init__(self, own: Ownership, scope: Scope, means: Means) -> None:
        self._own = own
        self._scope = scope
        self._engine = means.engine
        self._pause = means.pause
        self._files = means.files
        self._mounted = means.mounted
        self._workers = means.workers
        self._lock = threading.Lock()
        self._why: Dict[Tuple[str, str], str] = {}  # why an object could not be removed at the last try
        self._spared: Dict[Tuple[str, str], Dict[str, str]] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Do it.

        Raises:
            EngineError: When the engine does not answer, or refuses to list; nothing is known then.
        """
        self.outcome.strays = self.look_for_strays()
        found = self.candidates()
        for turn in range(1 if self._scope.dry else ROUNDS):
            if not found:
                break
            if turn:
                self._pause(PAUSES[turn - 1])
            before = len(self.outcome.removed)
            for kind in self._scope.kinds:
                self._remove_all([one for one in found if one.kind == kind])
            found = self.candidates()
            if len(self.outcome.removed) == before and all(one.kind == IMAGE for one in found):
                break  # what stands in the way of an image is somebody else's; waiting does not change it
        if self._scope.dry:
            self.outcome.left = [one.told(self._why[one.kind, one.id]) for one in found if (one.kind, one.id) in self._why]
        else:
            self.outcome.left = [one.told(self._why.get((one.kind, one.id), "it came while we were at work")) for one in found]
            # What was made while we worked, by something that had no labels to give: it is seen now or never.
            known = {(one["kind"], one["id"]) for one in self.outcome.strays}
            self.outcome.strays += [one for one in self.look_for_strays() if (one["kind"], one["id"]) not in known]
        self.outcome.spared = list(self._spared.values())
        return self.outcome

    # Looking

    def look_for_strays(self) -> List[Dict[str, str]]:
        """Return the children without the triple. Must come first: ancestry goes with the ancestors."""
        directories = [one.path for one in _owned_dirs.find(self._files, self._scope.roots, self._own)]
        everything = _owned.Survey(
            self._engine.containers(), self._engine.networks(), self._engine.volumes(), self._engine.images(), directories
        )
        return _owned.strays(self._own, everything, self._scope.shared)

    def candidates(self) -> List[_Candidate]:
        """Return what carries every label and was not spared. The engine filters, and we judge what it says."""
        labels: Mapping[str, Optional[str]] = dict(self._own.mapping())
        lists: Dict[str, Callable[[], Sequence[Mapping[str, Any]]]] = {
            CONTAINER: lambda: self._engine.containers(labels),
            NETWORK: lambda: self._engine.networks(labels),
            VOLUME: lambda: self._engine.volumes(labels),
            IMAGE: lambda: self._engine.images(labels),
        }
        found: List[_Candidate] = []
        for kind in self._scope.kinds:
            if kind == DIRECTORY:
                directories = _owned_dirs.find(self._files, self._scope.roots, self._own)
                found += [_Candidate(kind, one.path, one.path, one) for one in directories]
            else:
                ours = [one for one in lists[kind]() if self._own.owns(_owned.labels_of(one))]
                found += [
                    _Candidate(kind, str(one["Name"] if kind == VOLUME else one["Id"]), _owned.name_of(one), one) for one in ours
                ]
        return [one for one in found if (one.kind, one.id) not in self._spared]

    # Removing

    def _remove_all(self, group: Sequence[_Candidate]) -> None:
        if self._workers > 1 and len(group) > 1 and group[0].kind in (CONTAINER, NETWORK, VOLUME):
            with ThreadPoolExecutor(max_workers=min(self._workers, len(group))) as pool:
                list(pool.map(self._remove, group))
            return
        if group and group[0].kind == IMAGE:
            group = sorted(group, key=lambda one: -_owned.seconds(one.document.get("Created")))  # what stands on another goes first
        for one in group:
            self._remove(one)

    def _remove(self, one: _Candidate) -> None:
        act = {
            CONTAINER: self._container,
            NETWORK: self._network,
            VOLUME: self._volume,
            IMAGE: self._image,
            DIRECTORY: self._directory,
        }[one.kind]
        key = (one.kind, one.id)
        try:
            spared = act(one)
        except EngineError as error:
            if error.status != _NOT_FOUND:  # what is gone needs no removing
                with self._lock:
                    self._why[key] = str(error)
            return
        except (OSError, _fsio.FileError) as error:  # directories, one after the other
            self._why[key] = str(getattr(error, "strerror", None) or error)
            return
        with self._lock:
            if spared:
                self._spared[key] = one.told(spared)
            else:
                self._why.pop(key, None)
                if one.told() not in self.outcome.removed:
                    self.outcome.removed.append(one.told())

    def _container(self, one: _Candidate) -> str:
        document = self._engine.inspect(one.id)
        labels = (document.get("Config") or {}).get("Labels") or {}
        if not self._own.owns(labels):
            return _CHANGED
        image = self._labels_of_image(str(document.get("Image") or ""))
        # An image that is gone could have given it every label but the one that says it is a container.
        unknown = {key: value for key, value in labels.items() if (key, value) != (_owned.KIND, CONTAINER)}
        if _owned.inherits(labels, unknown if image is None else image):
            return _INHERITED
        if not self._scope.dry:
            self._engine.remove(str(document["Id"]), force=True, volumes=True)
        return ""

    def _labels_of_image(self, image: str) -> Optional[Dict[str, str]]:
        """Return an image's labels, ``None`` when there is no such image."""
        try:
            return _owned.image_labels(self._engine.image(image))
        except EngineError as error:
            if error.status != _NOT_FOUND:
                raise
            return None

    def _network(self, one: _Candidate) -> str:
        document = self._engine.network(one.id)
        if not self._own.owns(_owned.labels_of(document)):
            return _CHANGED
        if not self._scope.dry:
            self._engine.remove_network(str(document["Id"]))
        return ""

    def _volume(self, one: _Candidate) -> str:
        document = self._engine.volume(one.id)
        # A volume has no id: its age tells one from another of the same name.
        if not self._own.owns(_owned.labels_of(document)) or document.get("CreatedAt") != one.document.get("CreatedAt"):
            return _CHANGED
        if not self._scope.dry:
            self._engine.remove_volume(str(document["Name"]))
        return ""

    def _image(self, one: _Candidate) -> str:
        document = self._engine.image(one.id)
        labels = _owned.image_labels(document)
        if not self._own.owns(labels):
            return _CHANGED
        family = [self._engine.image(str(other["Id"])) for other in self._engine.images(dict(self._own.mapping()))]
        if any(_owned.built_upon(document, base) and _owned.inherits(labels, _owned.image_labels(base)) for base in family):
            return _INHERITED
        for other in family:
            # Once the base is gone, nobody could tell any more that what stands on it only inherited its labels.
            if _owned.built_upon(other, document) and _owned.inherits(_owned.image_labels(other), labels):
                raise EngineError(_CONFLICT, f"{_owned.name_of(other)} was built from it by somebody else")
        return self._remove_image(one, _owned.tags_of(document))

    def _remove_image(self, one: _Candidate, names: List[str]) -> str:
        """Remove an image that is ours, unless it has names that may be a stranger's: more than one, some without the run."""
        if _owned.tags_of(one.document) != names:
            raise EngineError(_CONFLICT, _RETAGGED)
        foreign = [name for name in names if self._own.run.lower() not in name.lower()] if len(names) > 1 else []
        if foreign:
            raise EngineError(_CONFLICT, f"it has names that somebody else may have given it: {', '.join(foreign)}")
        if self._scope.dry:
            return ""
        for name in names[1:]:
            self._engine.remove_image(name, noprune=True)
        # Never forced: a container of somebody else's that runs from it is reason enough to leave it. By its id: a name can move.
        self._engine.remove_image(one.id, noprune=True)
        return ""

    def _directory(self, one: _Candidate) -> str:
        found = one.document
        if found.why:
            return str(found.why)
        return "" if self._scope.dry else _owned_dirs.remove(self._files, found, self._own, self._mounted)
