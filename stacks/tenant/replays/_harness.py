"""What the replays of this stack share: the harness's parts, requests that nobody tidies up, what was made, and the verdict.

A replay is a function that takes a `Replay` and is given to `run`. Importing this needs the standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    Pairs = Sequence[tuple[str, str]]

RED, UNFIT, SKIPPED = 1, 2, 77  # exit codes: the bug is there; the harness is not as it should be; it could not be tried
SECONDS = 10.0  # for one request, and for what has to come true
STEP = 0.05  # seconds between two looks
ORG = "X-Molecule-Org-Id"
NOWHERE = "http://localhost:1/"  # an address that an agent may have, and that nothing is ever sent to


class SkipError(Exception):
    """What is missing, so that this cannot be tried."""


class RedError(Exception):
    """Why it makes no sense to go on: the replay has failed."""


class UnfitError(Exception):
    """What the replay stands on does not work: a failure, but no sign of the bug that it is there for."""


def say(text: str) -> None:
    """Print a line at once: a replay may be killed at any time."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def given(name: str) -> str:
    """Return a variable of the environment; without it the replay is skipped."""
    value = os.environ.get(name, "")
    if not value:
        raise SkipError(f"{name} is not given")
    return value


def must(condition: object, message: str) -> None:
    """Fail at once. The message says what has to hold."""
    if not condition:
        raise RedError(message)


def fit(condition: object, message: str) -> None:
    """Fail at once, when what the replay stands on does not work."""
    if not condition:
        raise UnfitError(message)


def until(look: Callable[[], Any], message: str, seconds: float = SECONDS) -> Any:
    """Look again and again until something is found, and return it; RedError when it does not come in time."""
    end = time.monotonic() + seconds
    while not (found := look()):
        must(time.monotonic() < end, message)
        time.sleep(STEP)
    return found


@dataclass(frozen=True)
class Answer:
    """An answer, as it came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body as JSON, None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def header(self, name: str) -> str:
        """Return a header, empty when it is not there; of repeated ones the first."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def request(base: str, method: str, target: str, headers: Pairs = (), body: Any = None) -> Answer:
    """Send one request: target and headers go out as they are, a body as JSON. OSError when there is no answer."""
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=SECONDS)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        data = b"" if body is None else json.dumps(body).encode()
        if data or method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        return Answer(answer.status, tuple(answer.getheaders()), answer.read())
    finally:
        connection.close()


@contextlib.contextmanager
def stream(base: str, target: str, headers: Pairs, seconds: float = SECONDS) -> Iterator[tuple[int, BinaryIO]]:
    """Ask for what goes on: the status, and what follows the head of the answer. TimeoutError when nothing comes for so long."""
    parts = urlsplit(base)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=seconds) as connection:
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with connection.makefile("rb") as file:
            words = file.readline().split()
            http.client.parse_headers(file)
            yield (int(words[1]) if len(words) > 1 else 0), file


@dataclass(frozen=True)
class Tenant:
    """One tenant. What is empty is not known.

    Attributes:
        name: What the harness calls it.
        edge: URL of the edge.
        host: Its own name there.
        org: Its organisation.
        direct: URL of the tenant itself.
        parent: Workspace at the top that the seed made.
        child: The one below.
        token: Its admin token.
        database: URL of its database.
    """

    name: str
    edge: str
    host: str
    org: str
    direct: str
    parent: str
    child: str
    token: str = field(repr=False)
    database: str = field(repr=False)

    @classmethod
    def read(cls, prefix: str, name: str) -> Tenant:
        """Read a tenant's variables."""

        def maybe(key: str) -> str:
            return os.environ.get(f"{prefix}_{key}", "")

        def content(key: str) -> str:
            return Path(maybe(key)).read_text(encoding="utf-8").strip() if maybe(key) else ""

        return cls(
            name=name,
            edge=given("HARNESS_BASE"),
            host=given(f"{prefix}_HOST"),
            org=given(f"{prefix}_ORG_ID"),
            direct=maybe("DIRECT"),
            parent=maybe("PARENT_ID"),
            child=maybe("CHILD_ID"),
            token=content("TOKEN_FILE"),
            database=content("DATABASE_FILE"),
        )

    def base(self, *, direct: bool) -> str:
        """Return where requests go; without the tenant's own address the replay is skipped."""
        if direct and not self.direct:
            raise SkipError(f"{self.name} is reached through the edge only")
        return self.direct if direct else self.edge

    def headers(self, org: str | None = None, token: str | None = None) -> list[tuple[str, str]]:
        """Return Host, organisation and bearer token: its own ones, others when they are given, none when they are empty."""
        org, token = (self.org if org is None else org), (self.token if token is None else token)
        found = [("Host", self.host)]
        found += [(ORG, org)] if org else []
        return found + ([("Authorization", f"Bearer {token}")] if token else [])

    def call(  # noqa: PLR0913 - a request has that many parts
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        org: str | None = None,
        token: str | None = None,
        more: Pairs = (),
        direct: bool = False,
    ) -> Answer:
        """Send a request to this tenant, see `headers`; `more` are further headers."""
        return request(self.base(direct=direct), method, target, [*self.headers(org, token), *more], body)


@dataclass
class Replay:
    """One replay that is under way.

    Attributes:
        name: Its name.
        failures: What did not hold.
    """

    name: str
    failures: list[str] = field(default_factory=list)
    _made: list[tuple[Tenant, str]] = field(default_factory=list)

    def check(self, condition: object, message: str) -> None:
        """Note what holds and what does not, and go on."""
        say(f"{'ok ' if condition else 'RED'} {message}")
        if not condition:
            self.failures.append(message)

    def tenants(self, least: int = 1) -> list[Tenant]:
        """Return the tenants; with fewer, or without their admin tokens, the replay is skipped."""
        found = [Tenant.read(name.upper(), name) for name in given("HARNESS_TENANTS").split()]
        if len(found) < least or not all(one.token for one in found):
            raise SkipError(f"{least} tenants with admin tokens are needed")
        return found

    def own(self) -> Tenant:
        """Return the tenant that is this replay's alone."""
        return Tenant.read("OWN", "own")

    def title(self, tenant: Tenant) -> str:
        """Return a name that nothing else has; others know by its beginning that a replay made it."""
        return f"replay-{self.name}-{tenant.name}-{secrets.token_hex(4)}"

    def workspace(self, tenant: Tenant, **fields: Any) -> str:
        """Make a workspace that goes with the replay, and return its id."""
        answer = tenant.call("POST", "/workspaces", {"name": self.title(tenant), "runtime": "hermes", **fields})
        made = answer.json or {}
        fit(answer.status == 201 and made.get("id"), f"{tenant.name} makes a workspace (it answered {answer.status})")
        self.forget_later(tenant, made["id"])
        return str(made["id"])

    def forget_later(self, tenant: Tenant, workspace_id: str) -> None:
        """Remove this workspace when the replay is over."""
        self._made.append((tenant, workspace_id))

    def agent_token(self, tenant: Tenant, workspace_id: str) -> str:
        """Make a token for a workspace."""
        answer = tenant.call("POST", f"/workspaces/{workspace_id}/tokens")
        fit(answer.status == 201, f"{tenant.name} makes a token (it answered {answer.status})")
        return str(answer.json["auth_token"])

    def journal(self) -> list[dict[str, Any]]:
        """Return what the control plane was asked since the replay began."""
        cursor = os.environ.get("HARNESS_STUB_CURSOR", "") or "0"
        return journal_after(int(cursor))

    def clean(self) -> None:
        """Remove what was made, the last first; what is gone already is fine."""
        for tenant, workspace_id in reversed(self._made):
            status = tenant.call("DELETE", f"/workspaces/{workspace_id}?confirm=true&purge=true").status
            if status not in (200, 404):
                self.failures.append(f"{tenant.name} removes {workspace_id} (it answered {status})")
        self._made.clear()


def journal_after(cursor: int) -> list[dict[str, Any]]:
    """Return the entries of the stub's journal after a cursor."""
    answer = request(given("HARNESS_STUB"), "GET", f"/__stub/journal?after={cursor}", [("Host", "stub")])
    fit(answer.status == 200, f"the stub shows its journal (it answered {answer.status})")
    return list(answer.json["entries"])


@contextlib.contextmanager
def opened() -> Iterator[Replay]:
    """Begin a replay; at the end what it made goes, and RedError says what did not hold."""
    replay = Replay(os.environ.get("HARNESS_REPLAY", "") or Path(sys.argv[0]).stem)
    try:
        yield replay
    except SkipError:
        if not replay.failures:
            raise
    finally:
        replay.clean()
    if replay.failures:
        raise RedError(f"{len(replay.failures)} did not hold, the first: {replay.failures[0]}")


def run(play: Callable[[Replay], None]) -> NoReturn:
    """Play, clean, and end with the verdict as exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was made goes
    try:
        with opened() as replay:
            play(replay)
    except SkipError as why:
        say(f"skipped: {why}")
        sys.exit(SKIPPED)
    except RedError as why:
        say(f"failed: {why}")
        sys.exit(RED)
    except UnfitError as why:
        say(f"unfit: {why}")
        sys.exit(UNFIT)
    except (OSError, http.client.HTTPException) as failure:
        say(f"unfit: no usable answer ({type(failure).__name__})")
        sys.exit(UNFIT)
    sys.exit(0)
