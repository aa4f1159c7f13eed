"""HTTP for probes: one request, one deadline, a body limit, bearer or digest authentication.

Digest is written out here because monerod answers 401 with two challenges in two headers (MD5 and MD5-sess), of which
the standard library's handler takes neither, and ties its nonce to the connection.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

BODY_LIMIT = 8 * 1024 * 1024
_CHUNK = 64 * 1024
_PAIR = re.compile(r'([A-Za-z][\w-]*)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,]+))')
_HASHES: Dict[str, Callable[[bytes], Any]] = {
    "MD5": hashlib.md5,
    "SHA-256": hashlib.sha256,
}


class HttpError(Exception):
    """No answer, or none that can be used. The message is short and holds neither credentials nor bodies."""


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case, last one wins) and body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            HttpError: When it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HttpError(f"status {self.status}, answer is not JSON") from error


@dataclass(frozen=True)
class Challenge:
    """One ``WWW-Authenticate: Digest`` header."""

    realm: str
    nonce: str
    algorithm: str
    qop: Tuple[str, ...]
    opaque: Optional[str] = None
    stale: bool = False

    @property
    def hash_name(self) -> str:
        """The hash without the session variant's suffix."""
        return self.algorithm.removesuffix("-SESS")


def parse_challenge(header: str) -> Optional[Challenge]:
    """Return the challenge of one header, ``None`` when it is no digest we can answer."""
    scheme, _space, rest = header.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    fields = {match[1].lower(): match[3] or re.sub(r"\\(.)", r"\1", match[2] or "") for match in _PAIR.finditer(rest)}
    challenge = Challenge(
        realm=fields.get("realm", ""),
        nonce=fields.get("nonce", ""),
        algorithm=fields.get("algorithm", "MD5").upper(),
        qop=tuple(part.strip().lower() for part in fields.get("qop", "").split(",") if part.strip()),
        opaque=fields.get("opaque"),
        stale=fields.get("stale", "").lower() == "true",
    )
    answerable = challenge.hash_name in _HASHES and (not challenge.qop or "auth" in challenge.qop)
    return challenge if challenge.nonce and answerable else None


def choose_challenge(headers: List[str]) -> Optional[Challenge]:
    """Return the strongest challenge that we can answer; plain before session variant, as it needs less to be right."""
    offered = [challenge for challenge in map(parse_challenge, headers) if challenge is not None]
    order = ["SHA-256", "SHA-256-SESS", "MD5", "MD5-SESS"]
    return min(offered, key=lambda challenge: order.index(challenge.algorithm), default=None)


@dataclass(frozen=True)
class Login:
    """A user and password for digest authentication, read on the host."""

    user: str
    password: str = field(repr=False)


def authorization(challenge: Challenge, login: Login, method: str, target: str, cnonce: str) -> str:
    """Return the ``Authorization`` header that answers a challenge (RFC 7616, qop ``auth`` or none)."""

    def hexed(text: str) -> str:
        return str(_HASHES[challenge.hash_name](text.encode("utf-8")).hexdigest())

    secret = hexed(f"{login.user}:{challenge.realm}:{login.password}")
    if challenge.algorithm.endswith("-SESS"):
        secret = hexed(f"{secret}:{challenge.nonce}:{cnonce}")
    asked = hexed(f"{method}:{target}")
    number = "00000001"  # each request answers a challenge of its own
    proof = f"{challenge.nonce}:{number}:{cnonce}:auth" if challenge.qop else challenge.nonce
    escaped = login.user.replace("\\", "\\\\").replace('"', '\\"')
    parts = [
        f'username="{escaped}"',
        f'realm="{challenge.realm}"',
        f'nonce="{challenge.nonce}"',
        f'uri="{target}"',
        f"algorithm={challenge.algorithm.replace('-SESS', '-sess')}",
        f'response="{hexed(f"{secret}:{proof}:{asked}")}"',
    ]
    if challenge.qop:
        parts += ["qop=auth", f"nc={number}"]
    if challenge.qop or challenge.algorithm.endswith("-SESS"):
        parts.append(f'cnonce="{cnonce}"')
    if challenge.opaque is not None:
        parts.append(f'opaque="{challenge.opaque}"')
    return "Digest " + ", ".join(parts)


@dataclass(frozen=True)
class Request:
    """What to ask. ``timeout`` is seconds for everything together; ``verify`` checks a TLS certificate."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Optional[bytes] = field(default=None, repr=False)
    login: Optional[Login] = None
    timeout: float = 5.0
    verify: bool = True


def _connection(request: Request, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    if parts.scheme == "http" and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=request.timeout)
    if parts.scheme == "https" and parts.hostname:
        context = ssl.create_default_context()
        if not request.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=request.timeout, context=context)
    raise HttpError("not an http address")


class _Exchange:
    """Requests on one connection, all before one deadline."""

    def __init__(self, request: Request, clock: Callable[[], float]) -> None:
        parts = urllib.parse.urlsplit(request.url)
        self.request = request
        self.target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self.connection = _connection(request, parts)
        self._clock = clock
        self._deadline = clock() + request.timeout

    def send(self, extra: Mapping[str, str]) -> Tuple[Answer, List[str]]:
        """Return the answer and its ``WWW-Authenticate`` headers."""
        self._allow()
        headers = {"Accept": "*/*", **self.request.headers, **extra}
        self.connection.request(self.request.method, self.target, self.request.body, headers)
        response = self.connection.getresponse()
        challenges = response.headers.get_all("WWW-Authenticate") or []
        chunks: List[bytes] = []
        size = 0
        while True:
            self._allow()
            chunk = response.read1(_CHUNK)
            if not chunk:
                break
            size += len(chunk)
            if size > BODY_LIMIT:
                raise HttpError(f"status {response.status}, answer is larger than {BODY_LIMIT} bytes")
            chunks.append(chunk)
        found = {name.lower(): value for name, value in response.getheaders()}
        response.close()
        return Answer(response.status, found, b"".join(chunks)), challenges

    def _allow(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise HttpError(f"no answer within {self.request.timeout:g} s")
        self.connection.timeout = left
        if self.connection.sock is not None:
            self.connection.sock.settimeout(left)


def fetch(request: Request, clock: Callable[[], float] = time.monotonic) -> Answer:
    """Send a request, answering a digest challenge if there is a login. Redirects are not followed, no proxy is used.

    Raises:
        HttpError: No connection, no complete answer in time, an answer that is too large.
    """
    try:
        exchange = _Exchange(request, clock)
    except ValueError as error:
        raise HttpError("not an http address") from error
    try:
        answer, challenges = exchange.send({})
        for _attempt in range(2):  # the second is for a nonce that went stale
            if answer.status != http.client.UNAUTHORIZED or request.login is None:
                break
            challenge = choose_challenge(challenges)
            if challenge is None:
                break
            header = authorization(challenge, request.login, request.method, exchange.target, os.urandom(16).hex())
            answer, challenges = exchange.send({"Authorization": header})
            if not any(one.stale for one in map(parse_challenge, challenges) if one is not None):
                break
    except (TimeoutError, socket.timeout) as error:  # one and the same only since Python 3.10
        raise HttpError(f"no answer within {request.timeout:g} s") from error
    except ssl.SSLError as error:
        raise HttpError(f"TLS: {error.reason or 'failed'}") from error
    except OSError as error:
        raise HttpError(str(error.strerror or error)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise HttpError(f"broken answer: {type(error).__name__}") from error
    finally:
        exchange.connection.close()
    return answer
