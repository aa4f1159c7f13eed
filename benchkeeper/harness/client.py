"""A client of a tenant, through the edge or without it: JSON in, JSON out, and the Host name that decides who answers."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchkeeper.errors import BenchError

if TYPE_CHECKING:
    from benchkeeper.harness.place import TenantPlace

PATIENCE = 15.0  # seconds for one answer
MOST = 4 * 1024 * 1024  # bytes of an answer
SHOWN = 300  # characters of an answer in a message


class AnswerError(BenchError):
    """An answer that is not what was asked for, or none. The message has no credential."""


@dataclass(frozen=True)
class Answer:
    """A status, and the body as JSON; as text when it is none."""

    status: int
    body: Any

    def shown(self) -> str:
        """Give it for a reader."""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return f"{self.status} {text[:SHOWN]}"


@dataclass(frozen=True)
class Client:
    """Somebody who asks one server.

    Attributes:
        base: URL without a path.
        headers: What is sent with every request.
    """

    base: str
    headers: dict[str, str] = field(repr=False, default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask, and return what comes. Raises AnswerError when nothing does."""
        where = urlsplit(self.base)
        connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=PATIENCE)
        headers = {**self.headers, **({} if body is None else {"Content-Type": "application/json"})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read(MOST)
        except (OSError, http.client.HTTPException) as error:
            raise AnswerError(f"{method} {path}: no answer ({type(error).__name__})") from error
        finally:
            connection.close()
        try:
            return Answer(answer.status, json.loads(raw) if raw else None)
        except ValueError:
            return Answer(answer.status, raw.decode("utf-8", "replace"))

    def need(self, method: str, path: str, body: Any = None) -> Any:
        """Ask, and return the body of a 2xx. Raises AnswerError for everything else."""
        answer = self.ask(method, path, body)
        if not 200 <= answer.status < 300:
            raise AnswerError(f"{method} {path}: {answer.shown()}")
        return answer.body


def administrator(base: str, tenant: TenantPlace) -> Client:
    """Return a tenant's administrator."""
    headers = {"Host": tenant.host, "X-Molecule-Org-Id": tenant.org, "Authorization": f"Bearer {tenant.admin_token}"}
    return Client(base, headers)


def visitor(base: str, tenant: TenantPlace) -> Client:
    """Return somebody who knows a tenant's name and organisation, and has no credential."""
    return Client(base, {"Host": tenant.host, "X-Molecule-Org-Id": tenant.org})
