"""A container engine in memory: what the keeper asks of one, nothing else."""

from __future__ import annotations

import contextlib
import io
import itertools
from typing import Any, Dict, Iterator, List, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError

PROJECT = "com.docker.compose.project"


class FakeEngine:
    def __init__(self) -> None:
        self.boxes: Dict[str, Dict[str, Any]] = {}
        self.nets: Dict[str, Dict[str, Any]] = {"bridge": {"Id": "bridge", "Name": "bridge", "Driver": "bridge"}}
        self.vols: Dict[str, Dict[str, Any]] = {}
        self.imgs: Dict[str, List[str]] = {}
        self.log: List[str] = []
        self.noise: List[bytes] = []
        self.down = False
        self._numbers = itertools.count(1)

    # The world

    def box(self, name: str, image: str, *, state: str = "running", project: str = "pit", where: str = "/live") -> str:
        identity = f"c{next(self._numbers)}"
        labels = {PROJECT: project, f"{PROJECT}.working_dir": where, "com.docker.compose.config-hash": where} if project else {}
        self.boxes[identity] = {
            "Id": identity,
            "Names": [f"/{name}"],
            "ImageID": image,
            "State": state,
            "Labels": labels,
        }
        return identity

    def net(self, name: str, project: str = "pit", subnet: str = "10.0.0.0/24") -> str:
        identity = f"n{next(self._numbers)}"
        self.nets[identity] = {
            "Id": identity,
            "Name": name,
            "Driver": "bridge",
            "Labels": {PROJECT: project} if project else {},
            "IPAM": {"Config": [{"Subnet": subnet}]},
        }
        return identity

    def vol(self, name: str, project: str = "pit") -> None:
        labels = {PROJECT: project} if project else {}
        self.vols[name] = {"Name": name, "CreatedAt": f"t{next(self._numbers)}", "Labels": labels}

    def by_name(self, name: str) -> Dict[str, Any]:
        for one in self.boxes.values():
            if one["Names"] == [f"/{name}"] or one["Id"] == name:
                return one
        raise EngineError(404, f"No such container: {name}")

    # The API

    def _reach(self) -> None:
        if self.down:
            raise EngineError(0, "no answer")

    def containers(self) -> List[Dict[str, Any]]:
        self._reach()
        return [dict(one) for one in self.boxes.values()]

    def networks(self) -> List[Dict[str, Any]]:
        self._reach()
        return [dict(one) for one in self.nets.values()]

    def network(self, name: str) -> Dict[str, Any]:
        return {**self.nets[name], "Containers": {one: {} for one in self.boxes}}

    def volumes(self) -> List[Dict[str, Any]]:
        self._reach()
        return [dict(one) for one in self.vols.values()]

    def images(self) -> List[Dict[str, Any]]:
        self._reach()
        return [{"Id": image, "RepoTags": list(tags)} for image, tags in self.imgs.items()]

    def image(self, reference: str) -> Dict[str, Any]:
        for image, tags in self.imgs.items():
            if reference == image or reference in tags:
                return {"Id": image}
        raise EngineError(404, f"No such image: {reference}")

    def inspect(self, name: str) -> Dict[str, Any]:
        self._reach()
        one = self.by_name(name)
        return {"Id": one["Id"], "State": {"Status": one["State"]}}

    def tag(self, image: str, reference: str) -> None:
        if image not in self.imgs:
            raise EngineError(404, f"No such image: {image}")
        for tags in self.imgs.values():
            if reference in tags:
                tags.remove(reference)
        self.imgs[image].append(reference)

    def remove_image(self, reference: str, *, force: bool = False, noprune: bool = False) -> None:
        image = self.image(reference)["Id"]
        users = [one for one in self.boxes.values() if one["ImageID"] == image]
        tags = self.imgs[image]
        if reference in tags:
            if len(tags) == 1 and users and not force:
                raise EngineError(409, "must force")
            tags.remove(reference)
            if tags or (users and all(one["State"] == "running" for one in users)):
                return
        elif users:
            raise EngineError(409, "in use")
        del self.imgs[image]

    def remove_network(self, name: str) -> None:
        del self.nets[name]
        self.log.append(f"network rm {name}")

    def remove_volume(self, name: str) -> None:
        del self.vols[name]

    def stop(self, name: str, grace: int = 10) -> None:
        self.by_name(name)["State"] = "exited"
        self.log.append(f"stop {name}")

    def start(self, name: str) -> None:
        self.by_name(name)["State"] = "running"
        self.log.append(f"start {name}")

    def pause(self, name: str) -> None:
        self.by_name(name)["State"] = "paused"

    def unpause(self, name: str) -> None:
        self.by_name(name)["State"] = "running"

    def kill(self, name: str) -> None:
        self.by_name(name)["State"] = "exited"

    def restart(self, name: str, grace: int = 10) -> None:
        self.by_name(name)["State"] = "running"

    def remove(self, name: str, *, force: bool = False) -> None:
        del self.boxes[self.by_name(name)["Id"]]
        self.log.append(f"rm {name}")

    @contextlib.contextmanager
    def request(
        self, method: str, path: str, query: Optional[Dict[str, Any]] = None, timeout: Optional[float] = None
    ) -> Iterator[Any]:
        self.log.append(f"{method} {path}")
        yield io.BytesIO(self.noise.pop() if self.noise else b"")
