"""One tenant's parts, and one request with what the pipeline found out about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from tenant.addresses import Resolve
from tenant.behaviour import Defect, Mistake
from tenant.fields import BadBody, Fields
from tenant.hub import Hub
from tenant.limit import Clock, RateLimit
from tenant.provisioning import Provisioning
from tenant.proxy import Upstream
from tenant.replies import UNAVAILABLE, Refusal, refusal
from tenant.session import Sessions
from tenant.settings import Settings
from tenant.store import BadId, Cache, NoParent, Store, StoreDown, Unstorable
from tenant.target import Target

ORG_TOKENS_PER_MINUTE = 10  # recorded: making tokens has a limit of its own


class AgentGone(Exception):
    """An agent that cannot be reached."""


class Agents(Protocol):
    """How messages get to agents."""

    async def send(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Post a message; status and body of the answer, AgentGone when there is none."""


@dataclass
class Tenant:
    """Everything that one server consists of; I/O and clock come in from outside.

    Attributes:
        settings: What it was told.
        store: Its rows.
        cache: Its short-lived keys.
        hub: Its events.
        provisioning: Its work behind the answers.
        sessions: Its session tier, None without one.
        control_proxy: Where `/cp/*` goes, None when unmounted.
        canvas: Where unknown paths go, None without a UI.
        agents: How messages get to agents.
        resolve: How names become addresses.
        clock: Seconds that only grow.
    """

    settings: Settings
    store: Store
    cache: Cache
    hub: Hub
    provisioning: Provisioning
    sessions: Sessions | None
    control_proxy: Upstream | None
    canvas: Upstream | None
    agents: Agents
    resolve: Resolve
    clock: Clock
    limit: RateLimit = field(init=False)
    org_token_limit: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        self.limit = RateLimit(self.settings.rate_limit, self.clock)
        self.org_token_limit = RateLimit(ORG_TOKENS_PER_MINUTE, self.clock)

    def has(self, mistake: Mistake) -> bool:
        """Say whether this mistake is made."""
        return self.settings.behaviour.has(mistake)

    def key(self, workspace_id: str, part: str = "") -> str:
        """Give a Redis key; on a Redis that several tenants share it says whose it is."""
        own = f"ws:{workspace_id}{part}"
        return own if self.has(Defect.SHARED_KEYS) or not self.settings.org_id else f"org:{self.settings.org_id}:{own}"

    @contextlib.contextmanager
    def blamed(self, text: str) -> Iterator[None]:
        """Turn trouble with the database into an answer: what it should be, or with the recorded defects a 500 with this text."""
        try:
            yield
        except StoreDown as failure:
            raise (refusal(500, text) if self.has(Defect.QUIET_OUTAGE) else Refusal(503, UNAVAILABLE)) from failure
        except BadId as failure:
            raise (refusal(500, text) if self.has(Defect.UNPARSED_IDS) else refusal(400, "invalid workspace ID")) from failure
        except NoParent as failure:
            unchecked = self.has(Defect.UNCHECKED_PARENT)
            raise (refusal(500, text) if unchecked else refusal(422, "parent workspace not found")) from failure
        except Unstorable as failure:
            raise refusal(400, "a value that cannot be kept") from failure


@dataclass
class Call:
    """One request.

    Attributes:
        request: As aiohttp sees it.
        target: Path and query as they were sent.
        client: Whom the rate limit counts.
        params: Parts of the path that the route names.
        headers: Headers that the pipeline wants on the answer, in front of the handler's.
    """

    request: web.Request
    target: Target
    client: str = ""
    params: dict[str, str] = field(default_factory=dict)
    headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The workspace that the path names."""
        return self.params["id"]

    @property
    def host(self) -> str:
        """The host that was asked for, with its port."""
        return self.target.host if self.target.host is not None else self.request.headers.get("Host", "")

    @property
    def peer(self) -> str:
        """Address of the connection's other end."""
        return self.request.remote or ""

    async def fields(self, complaint: str) -> Fields:
        """Read the body as an object; a 400 with this complaint when it is none."""
        with complains(complaint):
            return Fields.of(await self.request.read())


@contextlib.contextmanager
def complains(text: str) -> Iterator[None]:
    """Turn a field of the wrong type into a 400 with this text."""
    try:
        yield
    except BadBody as failure:
        raise refusal(400, text) from failure
