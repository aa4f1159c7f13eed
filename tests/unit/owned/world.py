"""An engine in memory, with the rules that decide what a cleanup may break: labels, inheritance, who uses what, names of images.

``World`` answers the calls of ``_engine_api.Engine`` in Python; ``World.on(directory)`` serves the same over a unix socket, so that
the real client, and programs in processes of their own, can be tried on it. ``hook`` is called before each removal: what a stranger
does between our look and our deed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
import urllib.parse
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError, EngineUnreachableError

from tests.unit.plugins.module_utils.fake_servers import _Handler, _running, _UnixServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


PLAIN = "sha256:plain"


def hexes(number: int) -> str:
    return f"{number:064x}"


class World:
    """One engine. ``down`` makes it unreachable, ``either`` lets its filters match any label instead of all (an old podman)."""

    def __init__(self, *, either: bool = False) -> None:
        self.boxes: dict[str, dict[str, Any]] = {}
        self.nets: dict[str, dict[str, Any]] = {}
        self.vols: dict[str, dict[str, Any]] = {}
        self.imgs: dict[str, dict[str, Any]] = {}
        self.log: list[str] = []
        self.refused: dict[str, tuple[int, str]] = {}  # "verb kind" or "verb kind id" -> answer
        self.hook: Callable[[str, str], None] = lambda _kind, _identity: None
        self.starter: Callable[[dict[str, Any]], None] = lambda _box: None
        self.asked: list[tuple[str, str]] = []  # what came over the socket: (request, query)
        self.down = False
        self.either = either
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self.img(PLAIN, layers=("base",), tags=("debian:trixie-slim",))

    # What people make

    def clock(self) -> int:
        return 1_000_000 + next(self._numbers)

    def img(
        self,
        identity: str = "",
        labels: Mapping[str, str] | None = None,
        layers: tuple[str, ...] = ("base",),
        tags: tuple[str, ...] = (),
    ) -> str:
        identity = identity or f"sha256:{hexes(next(self._numbers))}"
        for other in self.imgs.values():
            other["tags"] = [tag for tag in other["tags"] if tag not in tags]
        self.imgs[identity] = {"labels": dict(labels or {}), "layers": list(layers), "tags": list(tags), "created": self.clock()}
        return identity

    def box(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        image: str = PLAIN,
        state: str = "running",
        nets: tuple[str, ...] = (),
        vols: tuple[str, ...] = (),
        binds: tuple[str, ...] = (),
        mode: str = "default",
    ) -> str:
        with self._lock:
            identity = hexes(next(self._numbers))
            for vol in vols:
                if vol not in self.vols:
                    self.vol(vol)
            self.boxes[identity] = {
                "name": name,
                "labels": {**self.imgs[image]["labels"], **(labels or {})},
                "image": image,
                "state": state,
                "nets": list(nets),
                "vols": list(vols),
                "binds": list(binds),
                "mode": mode,
                "created": self.clock(),
                "log": "",
            }
            return identity

    def net(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        identity = hexes(next(self._numbers))
        self.nets[identity] = {"name": name, "labels": dict(labels or {})}
        return identity

    def vol(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        self.vols[name] = {"labels": dict(labels or {}), "created": self.clock()}
        return name

    def names(self) -> set[str]:
        """Everything that is there, by the names people gave."""
        return {
            *(f"container {box['name']}" for box in self.boxes.values()),
            *(f"network {net['name']}" for net in self.nets.values()),
            *(f"volume {name}" for name in self.vols),
            *(f"image {identity}" for identity in self.imgs),
            *(f"tag {tag}" for image in self.imgs.values() for tag in image["tags"]),
        }

    # The API: looking

    def _reach(self, verb: str, kind: str, identity: str = "") -> None:
        if self.down:
            raise EngineUnreachableError("Connection refused")
        for key in (f"{verb} {kind} {identity}", f"{verb} {kind}"):
            if key in self.refused:
                raise EngineError(*self.refused[key])

    def _matching(self, found: list[dict[str, Any]], labels: Mapping[str, str | None] | None) -> list[dict[str, Any]]:
        if not labels:
            return found
        some = any if self.either else all

        def holds(one: dict[str, Any]) -> bool:
            carried = one["Labels"] or {}
            return some(key in carried and (value is None or carried[key] == value) for key, value in labels.items())

        return [one for one in found if holds(one)]

    def containers(self, labels: Mapping[str, str | None] | None = None) -> list[dict[str, Any]]:
        with self._lock:
            self._reach("list", "container")
            return self._matching([self._listed(identity, box) for identity, box in self.boxes.items()], labels)

    def _mounts(self, box: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            *({"Type": "volume", "Name": vol, "Source": f"/engine/{vol}", "Destination": f"/{vol}"} for vol in box["vols"]),
            *({"Type": "bind", "Source": path, "Destination": path} for path in box["binds"]),
        ]

    def _listed(self, identity: str, box: dict[str, Any]) -> dict[str, Any]:
        ran = box["state"] != "created"
        return {
            "Id": identity,
            "Names": [f"/{box['name']}"],
            "ImageID": box["image"],
            "Image": box["image"],
            "State": box["state"],
            "Created": box["created"],
            "Labels": dict(box["labels"]),
            "HostConfig": {"NetworkMode": box["mode"]},
            "NetworkSettings": {"Networks": {self.nets[net]["name"]: {"NetworkID": net if ran else ""} for net in box["nets"]}},
            "Mounts": self._mounts(box),
        }

    def networks(self, labels: Mapping[str, str | None] | None = None) -> list[dict[str, Any]]:
        with self._lock:
            self._reach("list", "network")
            found = [{"Id": identity, "Name": net["name"], "Labels": dict(net["labels"])} for identity, net in self.nets.items()]
            return self._matching(found, labels)

    def volumes(self, labels: Mapping[str, str | None] | None = None) -> list[dict[str, Any]]:
        with self._lock:
            self._reach("list", "volume")
            return self._matching([self._volume(name) for name in self.vols], labels)

    def _volume(self, name: str) -> dict[str, Any]:
        made = self.vols[name]["created"]
        return {"Name": name, "Labels": dict(self.vols[name]["labels"]) or None, "CreatedAt": moment(made)}

    def images(self, labels: Mapping[str, str | None] | None = None) -> list[dict[str, Any]]:
        with self._lock:
            self._reach("list", "image")
            found = [
                {
                    "Id": identity,
                    "RepoTags": list(image["tags"]) or ["<none>:<none>"],
                    "Labels": dict(image["labels"]) or None,
                    "Created": image["created"],
                }
                for identity, image in self.imgs.items()
            ]
            return self._matching(found, labels)

    def _box(self, name: str) -> str:
        for identity, box in self.boxes.items():
            if name in (identity, box["name"]) or (len(name) >= 12 and identity.startswith(name)):
                return identity
        raise EngineError(404, f"No such container: {name}")

    def inspect(self, container: str) -> dict[str, Any]:
        with self._lock:
            self._reach("look", "container", container)
            identity = self._box(container)
            box = self.boxes[identity]
            return {
                "Id": identity,
                "Name": f"/{box['name']}",
                "Image": box["image"],
                "Config": {"Labels": dict(box["labels"])},
                "State": {"Status": box["state"], "Running": box["state"] == "running", "ExitCode": box.get("code", 0)},
                "Mounts": self._mounts(box),
                "HostConfig": {"NetworkMode": box["mode"]},
                "NetworkSettings": {"Ports": box.get("ports", {})},
            }

    def network(self, name: str) -> dict[str, Any]:
        with self._lock:
            self._reach("look", "network", name)
            for identity, net in self.nets.items():
                if name in (identity, net["name"]):
                    return {"Id": identity, "Name": net["name"], "Labels": dict(net["labels"])}
            raise EngineError(404, f"network {name} not found")

    def volume(self, name: str) -> dict[str, Any]:
        with self._lock:
            self._reach("look", "volume", name)
            if name not in self.vols:
                raise EngineError(404, f"get {name}: no such volume")
            return self._volume(name)

    def _img(self, reference: str) -> str:
        for identity, image in self.imgs.items():
            if reference == identity or reference in image["tags"]:
                return identity
        raise EngineError(404, f"No such image: {reference}")

    def image(self, reference: str) -> dict[str, Any]:
        with self._lock:
            self._reach("look", "image", reference)
            identity = self._img(reference)
            image = self.imgs[identity]
            return {
                "Id": identity,
                "RepoTags": list(image["tags"]),
                "Config": {"Labels": dict(image["labels"]) or None},
                "RootFS": {"Layers": list(image["layers"])},
                "Created": moment(image["created"]),
            }

    # The API: removing

    def _about_to(self, kind: str, identity: str) -> None:
        self.hook(kind, identity)
        self._reach("remove", kind, identity)

    def remove(self, container: str, *, force: bool = False, volumes: bool = False) -> None:
        self._about_to("container", container)
        with self._lock:
            identity = self._box(container)
            box = self.boxes[identity]
            if box["state"] in ("running", "paused", "restarting") and not force:
                raise EngineError(409, "You cannot remove a running container")
            del self.boxes[identity]
            self.log.append(f"rm {box['name']}")
            for vol in box["vols"] if volumes else ():
                anonymous = "com.docker.volume.anonymous" in self.vols[vol]["labels"]
                if anonymous and not any(vol in other["vols"] for other in self.boxes.values()):
                    del self.vols[vol]

    def remove_network(self, name: str) -> None:
        self._about_to("network", name)
        with self._lock:
            identity = self.network(name)["Id"]
            if any(identity in box["nets"] and box["state"] in ("running", "paused") for box in self.boxes.values()):
                raise EngineError(403, f"error while removing network: network {name} has active endpoints")
            del self.nets[identity]
            for box in self.boxes.values():
                box["nets"] = [net for net in box["nets"] if net != identity]
            self.log.append(f"network rm {name}")

    def remove_volume(self, name: str) -> None:
        self._about_to("volume", name)
        with self._lock:
            self.volume(name)
            if any(name in box["vols"] for box in self.boxes.values()):
                raise EngineError(409, f"remove {name}: volume is in use")
            del self.vols[name]
            self.log.append(f"volume rm {name}")

    def remove_image(self, reference: str, *, force: bool = False, noprune: bool = False) -> None:
        self._about_to("image", reference)
        with self._lock:
            identity = self._img(reference)
            tags = self.imgs[identity]["tags"]
            if reference != identity and len(tags) > 1:
                tags.remove(reference)
                return
            if len({tag.rpartition(":")[0] for tag in tags}) > 1 and not force:
                raise EngineError(409, "must be forced: image is referenced in multiple repositories")
            if any(box["image"] == identity for box in self.boxes.values()) and not force:
                raise EngineError(409, "image is being used by a container")
            assert noprune, "an untagged parent may be somebody else's"
            del self.imgs[identity]
            self.log.append(f"rmi {reference}")

    # The same over a socket

    @contextlib.contextmanager
    def on(self, directory: Path) -> Iterator[str]:
        """Serve on a socket below a directory; yields the socket's path."""
        handler = type("Handler", (_Handler,), {"answer": staticmethod(self._answer)})
        socket = str(directory / "engine.sock")
        with _running(_UnixServer(socket, handler)):
            yield socket

    def _answer(self, handler: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        target, _mark, query = handler.path.partition("?")
        words = dict(urllib.parse.parse_qsl(query))
        path = re.sub(r"^/v1\.\d+", "", urllib.parse.unquote(target))
        self.asked.append((f"{handler.command} {path}", query))
        try:
            status, document = self._route(handler.command, path, words, json.loads(body) if body.strip() else {})
        except EngineError as error:
            status, document = error.status or 500, {"message": str(error)}
        raw = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
        return status, [("Content-Type", "application/json")], raw

    def _route(self, verb: str, path: str, words: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        labels: dict[str, str | None] = {}
        for word in json.loads(words.get("filters", "{}")).get("label", []):
            key, equals, value = word.partition("=")
            labels[key] = value if equals else None
        fixed: dict[str, Callable[[], Any]] = {
            "GET /_ping": lambda: b"OK",
            "GET /version": lambda: {"Version": "fake", "ApiVersion": "1.43"},
            "GET /containers/json": lambda: self.containers(labels),
            "GET /networks": lambda: self.networks(labels),
            "GET /volumes": lambda: {"Volumes": self.volumes(labels) or None},
            "GET /images/json": lambda: self.images(labels),
        }
        key = f"{verb} {path}"
        if self.down:
            raise EngineError(503, "no engine")
        if key in fixed:
            return 200, fixed[key]()
        for pattern, act in (
            (r"GET /containers/([^/]+)/json", self.inspect),
            (r"GET /networks/([^/]+)", self.network),
            (r"GET /volumes/([^/]+)", self.volume),
            (r"GET /images/(.+)/json", self.image),
        ):
            match = re.fullmatch(pattern, key)
            if match:
                return 200, act(match[1])
        return self._change(key, words, body)

    def _change(self, key: str, words: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        for pattern, act in (
            (
                r"DELETE /containers/([^/]+)",
                lambda one: self.remove(one, force=words.get("force") == "1", volumes=words.get("v") == "1"),
            ),
            (r"DELETE /networks/([^/]+)", self.remove_network),
            (r"DELETE /volumes/([^/]+)", self.remove_volume),
            (r"DELETE /images/(.+)", lambda one: self.remove_image(one, noprune=words.get("noprune") == "1")),
            (r"POST /containers/([^/]+)/(?:start|stop|kill)", lambda one: self._run(one, key.rpartition("/")[2])),
        ):
            match = re.fullmatch(pattern, key)
            if match:
                act(match[1])
                return 204, None
        match = re.fullmatch(r"GET /containers/([^/]+)/logs", key)
        if match:
            return 200, str(self.boxes[self._box(match[1])]["log"]).encode()
        if key == "POST /containers/create":
            return 201, {"Id": self._create(words.get("name", ""), body), "Warnings": []}
        if key == "POST /networks/create":
            return 201, {"Id": self.net(body["Name"], body.get("Labels"))}
        if key == "POST /volumes/create":
            self.vol(body["Name"], body.get("Labels"))
            return 201, self.volume(body["Name"])
        raise EngineError(404, "page not found")

    def _run(self, container: str, verb: str) -> None:
        box = self.boxes[self._box(container)]
        box["state"] = "running" if verb == "start" else "exited"
        if verb == "start":
            self.starter(box)

    def _create(self, name: str, body: dict[str, Any]) -> str:
        host = body.get("HostConfig") or {}
        image = self._img(body["Image"])
        binds = tuple(bind.split(":")[0] for bind in host.get("Binds") or ())
        binds += tuple(mount["Source"] for mount in host.get("Mounts") or () if mount["Type"] == "bind")
        wanted = [*((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}), host.get("NetworkMode") or "default"]
        nets = tuple(dict.fromkeys(identity for identity, net in self.nets.items() if net["name"] in wanted or identity in wanted))
        made = self.box(name, body.get("Labels"), image=image, state="created", nets=nets, binds=binds)
        self.boxes[made]["env"] = list(body.get("Env") or [])
        self.boxes[made]["body"] = body
        return made


def moment(seconds: int) -> str:
    """RFC 3339 as the engine spells it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
