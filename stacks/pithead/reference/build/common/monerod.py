"""monerod's JSON-RPC with digest authentication: it answers 401 with two challenges (MD5, MD5-sess); the first is used."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import secrets
import threading
from typing import Any

JSON = "application/json"


class NodeError(Exception):
    """The node refused a call; `code` is its JSON-RPC error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Node:
    """A client that keeps its connection and reuses the server's nonce, so that a call costs one round trip."""

    def __init__(self, host: str, port: int, user: str, password: str, timeout: float = 5.0) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self._login = (user, password)
        self._connection: http.client.HTTPConnection | None = None
        self._challenge: dict[str, str] = {}
        self._count = 0
        self._lock = threading.Lock()

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """Call a method whose result is an object; gives it. Errors as `call_plain`."""
        result = self.call_plain(method, params)
        return result if isinstance(result, dict) else {}

    def call_plain(self, method: str, params: Any = None) -> Any:
        """Call a method; gives its result. OSError or http.client.HTTPException: cannot ask. NodeError: it said no."""
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": "0", "method": method}
        if params is not None:
            body["params"] = params
        with self._lock:
            try:
                answer = self._post("/json_rpc", json.dumps(body).encode())
            except (OSError, http.client.HTTPException):
                self.close()
                raise
        if "error" in answer:
            failure = answer["error"]
            raise NodeError(int(failure.get("code", 0)), str(failure.get("message", "unknown error")))
        return answer.get("result")

    def close(self) -> None:
        """Drop the connection and the nonce."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._challenge = None, {}

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        for _attempt in range(3):  # a kept connection may have been closed, a kept nonce may be stale
            fresh = self._connection is None
            try:
                status, headers, data = self._send(path, body)
            except (http.client.HTTPException, OSError):
                self.close()
                if fresh:
                    raise
                continue
            if status != http.client.UNAUTHORIZED:
                break
            self._challenge = parse_challenge(headers)
            self._count = 0
        if status != http.client.OK:
            message = f"monerod answered {status}"
            raise http.client.HTTPException(message)
        parsed = json.loads(data)
        if not isinstance(parsed, dict):
            message = "monerod answered no JSON object"
            raise http.client.HTTPException(message)
        return parsed

    def _send(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        headers = {"Content-Type": JSON}
        if self._challenge:
            self._count += 1
            headers["Authorization"] = digest_header(self._challenge, self._login, path, self._count, secrets.token_hex(8))
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.getheader("WWW-Authenticate", ""), response.read()


def parse_challenge(header: str) -> dict[str, str]:
    """Read the first Digest challenge of a header that may hold several."""
    found: dict[str, str] = {}
    for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', header):
        if name in found:
            break
        found[name] = quoted or plain
    return found


def digest_header(challenge: dict[str, str], login: tuple[str, str], path: str, count: int, cnonce: str) -> str:
    """Build the Authorization header of a POST for a challenge with qop=auth and MD5; `login` is user and password."""
    user, password = login
    realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
    ha1 = _md5(f"{user}:{realm}:{password}")
    response = _md5(f"{ha1}:{nonce}:{count:08x}:{cnonce}:auth:{_md5(f'POST:{path}')}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{path}", algorithm=MD5, qop=auth, '
        f'nc={count:08x}, cnonce="{cnonce}", response="{response}"'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
