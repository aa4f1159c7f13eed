"""A small client of the container engine's HTTP API on its unix socket, standard library only.

Every call opens its own connection, so one ``Engine`` may be shared by threads. Answers are the API's JSON.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.parse
from typing import Any, Dict, Iterator, List, Mapping, Optional, Union

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_wire import (
    GO_DIRECTORY,
    GO_SYMLINK,
    ContainerFile,
    EngineError,
    EngineUnreachableError,
    NotAFileError,
    demultiplex,
    only_member,
    path_stat,
    split_reference,
)

__all__ = [
    "FILE_LIMIT",
    "PROJECT_LABEL",
    "SERVICE_LABEL",
    "SOCKET",
    "ContainerFile",
    "Engine",
    "EngineError",
    "EngineUnreachableError",
    "EventStream",
    "NotAFileError",
    "label_filter",
]

SOCKET = "/var/run/docker.sock"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
FILE_LIMIT = 8 * 1024 * 1024
_LINK_HOPS = 8

Query = Mapping[str, Union[str, int, bool, None]]
Labels = Mapping[str, Optional[str]]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: Optional[float]) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class EventStream:
    """Events as they happen; iterate in one thread, ``close`` from any other ends the iteration."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._socket = connection.sock
        self._closed = False

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        """Yield each event; end when the stream ends, is closed or says something that is not an event."""
        # AttributeError is http.client's answer to a close by another thread.
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while not self._closed:
                line = self._response.readline()
                if not line:
                    break
                yield json.loads(line)
        self.close()

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # A close alone does not wake a thread that waits in recv.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        self._response.close()
        self._connection.close()


def label_filter(labels: Labels) -> str:
    """Return the API's ``filters`` for labels; a value of ``None`` asks for the key alone."""
    wanted = [key if value is None else f"{key}={value}" for key, value in sorted(labels.items())]
    return json.dumps({"label": wanted})


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


class Engine:
    """The engine behind one socket.

    Args:
        path: The socket.
        timeout: Seconds that a call may wait for bytes.
    """

    def __init__(self, path: str = SOCKET, timeout: float = 10.0) -> None:
        self.path = path
        self.timeout = timeout

    # Requests

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        path: str,
        query: Optional[Query] = None,
        body: Any = None,
        timeout: Optional[float] = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request and hand out the response, its body unread.

        Raises:
            EngineError: For a status of 400 or more.
            EngineUnreachableError: When there is no answer, or it breaks off.
        """
        connection = _Connection(self.path, timeout or self.timeout)
        try:
            with self._send(connection, method, self._target(path, query), body, {"Connection": "close"}) as response:
                yield response
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnreachableError(_reason(error)) from error
        finally:
            connection.close()

    @staticmethod
    def _send(
        connection: _Connection,
        method: str,
        target: str,
        body: Any = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> http.client.HTTPResponse:
        payload = None if body is None else json.dumps(body).encode("utf-8")
        headers = {**(headers or {}), **({} if payload is None else {"Content-Type": "application/json"})}
        try:
            connection.request(method, target, payload, headers)
            response = connection.getresponse()
            refused = response.read() if response.status >= http.client.BAD_REQUEST else None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise EngineUnreachableError(_reason(error)) from error
        if refused is not None:
            connection.close()
            raise EngineError(response.status, _message(refused))
        return response

    def _target(self, path: str, query: Optional[Query]) -> str:
        pairs = {key: _spell(value) for key, value in (query or {}).items() if value is not None}
        return path + ("?" + urllib.parse.urlencode(pairs) if pairs else "")

    def call(
        self,
        method: str,
        path: str,
        query: Optional[Query] = None,
        body: Any = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Send one request and return the JSON of the answer, or ``None`` where it has none."""
        with self.request(method, path, query, body, timeout) as response:
            raw = response.read()
        if not raw.strip():
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise EngineUnreachableError(f"{path}: answer is not JSON") from error

    def get(self, path: str, query: Optional[Query] = None) -> Any:
        """GET, return JSON."""
        return self.call("GET", path, query)

    def post(self, path: str, query: Optional[Query] = None, body: Any = None, timeout: Optional[float] = None) -> Any:
        """POST, return JSON."""
        return self.call("POST", path, query, body, timeout)

    def delete(self, path: str, query: Optional[Query] = None) -> Any:
        """DELETE, return JSON."""
        return self.call("DELETE", path, query)

    # Looking

    def version(self) -> Dict[str, Any]:
        """Return the engine's version document."""
        return dict(self.get("/version"))

    def containers(self, labels: Optional[Labels] = None) -> List[Dict[str, Any]]:
        """Return all containers, stopped ones too, that carry every label."""
        query: Dict[str, Union[str, bool]] = {"all": True}
        if labels:
            query["filters"] = label_filter(labels)
        return list(self.get("/containers/json", query))

    def project(self, project: str, service: Optional[str] = None) -> List[Dict[str, Any]]:
        """Return the containers of a compose project, or of one service of it."""
        labels: Dict[str, Optional[str]] = {PROJECT_LABEL: project}
        if service is not None:
            labels[SERVICE_LABEL] = service
        return self.containers(labels)

    def inspect(self, container: str) -> Dict[str, Any]:
        """Return everything about one container."""
        return dict(self.get(f"/containers/{_quote(container)}/json"))

    def images(self, labels: Optional[Labels] = None) -> List[Dict[str, Any]]:
        """Return all images, untagged ones too."""
        return list(self.get("/images/json", {"filters": label_filter(labels)} if labels else None))

    def image(self, reference: str) -> Dict[str, Any]:
        """Return everything about one image."""
        return dict(self.get(f"/images/{_quote(reference)}/json"))

    def networks(self, labels: Optional[Labels] = None) -> List[Dict[str, Any]]:
        """Return networks that carry every label."""
        return list(self.get("/networks", {"filters": label_filter(labels)} if labels else None))

    def network(self, name: str) -> Dict[str, Any]:
        """Return everything about one network."""
        return dict(self.get(f"/networks/{_quote(name)}"))

    def volumes(self, labels: Optional[Labels] = None) -> List[Dict[str, Any]]:
        """Return volumes that carry every label."""
        answer = self.get("/volumes", {"filters": label_filter(labels)} if labels else None)
        return list((answer or {}).get("Volumes") or [])

    def volume(self, name: str) -> Dict[str, Any]:
        """Return everything about one volume."""
        return dict(self.get(f"/volumes/{_quote(name)}"))

    def read_file(self, container: str, path: str, limit: int = FILE_LIMIT) -> ContainerFile:
        """Return one regular file of a container; symbolic links are followed inside the container.

        Raises:
            EngineError: 404 when there is no such file, 413 when it is larger than ``limit`` bytes, 415 when it is no
                regular file.
        """
        for _hop in range(_LINK_HOPS):
            with self.request("GET", f"/containers/{_quote(container)}/archive", {"path": path}) as response:
                stat = path_stat(response.getheader("X-Docker-Container-Path-Stat"))
                mode = int(stat.get("mode", 0))
                if mode & GO_SYMLINK:
                    path = urllib.parse.urljoin(path, str(stat.get("linkTarget", "")))
                    continue
                if mode & GO_DIRECTORY:  # unread: it would be everything below
                    raise EngineError(http.client.UNSUPPORTED_MEDIA_TYPE, f"{path} is no regular file")
                if int(stat.get("size", 0)) > limit:
                    raise EngineError(http.client.REQUEST_ENTITY_TOO_LARGE, f"{path} is larger than {limit} bytes")
                raw = response.read()
            try:
                return only_member(raw, path, limit)
            except NotAFileError as error:
                raise EngineError(http.client.UNSUPPORTED_MEDIA_TYPE, str(error)) from error
        raise EngineError(http.client.LOOP_DETECTED, f"{path}: too many symbolic links")

    def logs(self, container: str, tail: int = 20) -> str:
        """Return the last lines of a container, stdout and stderr as they came."""
        query: Dict[str, Union[bool, int]] = {"stdout": True, "stderr": True, "tail": tail}
        with self.request("GET", f"/containers/{_quote(container)}/logs", query) as response:
            raw = response.read()
        return demultiplex(raw).decode("utf-8", "replace")

    def events(self, filters: Optional[Mapping[str, List[str]]] = None, since: Optional[float] = None) -> EventStream:
        """Open a stream of events, e.g. ``{"label": ["com.docker.compose.project=x"], "type": ["container"]}``.

        Args:
            filters: Filters of the API.
            since: Seconds since the epoch from which missed events are repeated.
        """
        connection = _Connection(self.path, self.timeout)
        query: Dict[str, Union[str, None]] = {
            "filters": json.dumps(filters) if filters else None,
            "since": None if since is None else f"{since:.9f}",
        }
        response = self._send(connection, "GET", self._target("/events", query))
        if connection.sock is not None:
            connection.sock.settimeout(None)  # silence is normal here
        return EventStream(connection, response)

    # Changing

    def start(self, container: str) -> None:
        """Start a container; started already is fine."""
        self.post(f"/containers/{_quote(container)}/start")

    def stop(self, container: str, grace: int = 10) -> None:
        """Stop a container, killing it after ``grace`` seconds; stopped already is fine."""
        self.post(f"/containers/{_quote(container)}/stop", {"t": grace}, timeout=self.timeout + grace)

    def restart(self, container: str, grace: int = 10) -> None:
        """Stop and start a container."""
        self.post(f"/containers/{_quote(container)}/restart", {"t": grace}, timeout=self.timeout + grace)

    def kill(self, container: str, signal: str = "KILL") -> None:
        """Send a signal to a container's first process."""
        self.post(f"/containers/{_quote(container)}/kill", {"signal": signal})

    def pause(self, container: str) -> None:
        """Freeze a container."""
        self.post(f"/containers/{_quote(container)}/pause")

    def unpause(self, container: str) -> None:
        """Let a frozen container go on."""
        self.post(f"/containers/{_quote(container)}/unpause")

    def remove(self, container: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container, and with ``volumes`` its anonymous volumes."""
        self.delete(f"/containers/{_quote(container)}", {"force": force, "v": volumes})

    def tag(self, image: str, reference: str) -> None:
        """Give an image one more name, taking it from whatever has it now."""
        repository, tag = split_reference(reference)
        self.post(f"/images/{_quote(image)}/tag", {"repo": repository, "tag": tag})

    def remove_image(self, reference: str, *, force: bool = False, noprune: bool = False) -> None:
        """Remove a name of an image, and the image with its last name; ``noprune`` keeps untagged parents."""
        self.delete(f"/images/{_quote(reference)}", {"force": force, "noprune": noprune})

    def remove_network(self, name: str) -> None:
        """Remove a network nobody uses."""
        self.delete(f"/networks/{_quote(name)}")

    def remove_volume(self, name: str) -> None:
        """Remove a volume nobody uses."""
        self.delete(f"/volumes/{_quote(name)}")

    def disconnect(self, network: str, container: str, *, force: bool = False) -> None:
        """Take a container off a network."""
        self.post(f"/networks/{_quote(network)}/disconnect", body={"Container": container, "Force": force})


def _quote(name: str) -> str:
    # Slashes belong to image names; everything else that could leave the path segment is quoted.
    return urllib.parse.quote(name, safe="/:@")


def _spell(value: Union[str, int, bool, None]) -> str:
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def _message(raw: bytes) -> str:
    try:
        return str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        return raw.decode("utf-8", "replace").strip()[:200]
