"""Servers for tests: recorded HTTP dialogues, a digest-protected RPC, an engine on a unix socket."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import re
import socketserver
import tarfile
import threading
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[3] / "golden" / "mining"
Reply = tuple[int, list[tuple[str, str]], bytes]


@dataclass(frozen=True)
class Recorded:
    """One recorded call: curl's arguments, and every response it got."""

    args: str
    replies: tuple[Reply, ...]


def recorded(file: str) -> list[Recorded]:
    """Read ``### ARGS``, responses, ``### curl_rc``."""
    text = (GOLDEN / file).read_text("utf-8")
    calls = []
    for args, said in re.findall(r"^### (?!curl_rc)(.*?)\n(.*?)\n?### curl_rc", text, re.MULTILINE | re.DOTALL):
        replies = []
        for one in re.split(r"^(?=HTTP/1\.1 \d)", said, flags=re.MULTILINE):
            head, _blank, body = one.partition("\n\n")
            lines = head.splitlines()
            if not lines or not lines[0].startswith("HTTP/"):
                continue
            pairs = [line.split(": ", 1) for line in lines[1:]]
            headers = [(name, value) for name, value in pairs if name.lower() not in ("content-length", "connection")]
            replies.append((int(lines[0].split()[1]), headers, body.encode()))
        calls.append(Recorded(args, tuple(replies)))
    return calls


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Callable[[_Handler, bytes], Reply]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, reply = type(self).answer(self, body)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(reply)
            self.wfile.flush()

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "local"


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_where: object) -> None:
        """A client that gave up is none of our business."""


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_where: object) -> None:
        """A client that gave up is none of our business."""


@contextlib.contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving(answer: Callable[[Any, bytes], Reply]) -> Iterator[str]:
    """Serve HTTP on a free port; yields the address."""
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    server = _Server(("127.0.0.1", 0), handler)
    with _running(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def _field(header: str, name: str) -> str:
    match = re.search(rf'\b{name}="?([^",]*)', header)
    return match[1] if match else ""


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what the protocol asks for


def _digest_is_right(header: str, method: str, login: str) -> bool:
    user, _colon, password = login.partition(":")
    secret = _md5(f"{user}:{_field(header, 'realm')}:{password}")
    if _field(header, "algorithm").lower() == "md5-sess":
        secret = _md5(f"{secret}:{_field(header, 'nonce')}:{_field(header, 'cnonce')}")
    proof = ":".join(_field(header, name) for name in ("nonce", "nc", "cnonce", "qop"))
    return _field(header, "response") == _md5(f"{secret}:{proof}:{_md5(method + ':' + _field(header, 'uri'))}")


@dataclass
class Node:
    """Answers as the recorded monerod: its two challenges, refusals and results. Checks the digest for real."""

    login: str = "user:pass"
    chain: dict[int, str] = field(default_factory=dict)  # hashes by height, instead of the recorded single block
    stale: bool = False  # call the first nonce stale
    nonces: list[str] = field(default_factory=list)
    calls: list[Recorded] = field(default_factory=lambda: recorded("monerod/rpc.raw.txt"))

    def __call__(self, handler: Any, body: bytes) -> Reply:
        header = handler.headers.get("Authorization")
        if header is None:
            return self._unauthorized()
        if self.stale and len(self.nonces) == 1:
            return self._unauthorized(stale="true")
        if _field(header, "nonce") != self.nonces[-1] or not _digest_is_right(header, handler.command, self.login):
            return self._unauthorized()
        if handler.path == "/get_info":
            return self._recorded(r"--digest -u user:pass \S+/get_info")
        request = json.loads(body)
        if self.chain and "header" in request["method"]:
            return 200, [("Content-Type", "application/json")], json.dumps(_header(request, self.chain)).encode()
        known = any(f'"method":"{request["method"]}"' in one.args for one in self.calls)
        return self._recorded(f'.*"method":"{request["method"] if known else "nope"}".*')

    def _recorded(self, args: str) -> Reply:
        return next(one.replies[-1] for one in self.calls if re.fullmatch(args, one.args))

    def _unauthorized(self, stale: str = "false") -> Reply:
        self.nonces.append(f"nonce{len(self.nonces)}")
        status, headers, body = next(one.replies[0] for one in self.calls if one.replies[0][0] == 401)
        fresh = [(n, v.replace("<NONCE>", self.nonces[-1]).replace("stale=false", f"stale={stale}")) for n, v in headers]
        return status, fresh, body


def _header(request: dict[str, Any], chain: dict[int, str]) -> dict[str, Any]:
    height = request.get("params", {}).get("height", max(chain))
    if height not in chain:
        return {"id": "0", "jsonrpc": "2.0", "error": {"code": -2, "message": f"Requested block height: {height} greater"}}
    return {"id": "0", "jsonrpc": "2.0", "result": {"block_header": {"height": height, "hash": chain[height]}, "status": "OK"}}


def miner() -> Callable[[Any, bytes], Reply]:
    """Answer as the recorded miner with a token."""
    calls = recorded("xmrig-http/raw.txt")

    def answer(handler: Any, _body: bytes) -> Reply:
        header = handler.headers.get("Authorization")
        given = "" if header is None else header if header == "Bearer TOKEN" else "Bearer wrong"
        for one in calls:
            asked = re.search(r"Bearer (?:TOKEN|wrong)", one.args)
            if one.args.endswith(":8080" + handler.path) and (asked[0] if asked else "") == given and "-X" not in one.args:
                return one.replies[-1]
        return 404, [], b"{}"

    return answer


@dataclass
class FakeEngine:
    """A container engine that answers from a table ``"METHOD /path" -> JSON or bytes or (status, message)``."""

    table: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    headers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    events: list[list[dict[str, Any]]] = field(default_factory=list)  # one list for each connection

    def answer(self, handler: Any, _body: bytes) -> Reply:
        path, _mark, query = handler.path.partition("?")
        self.calls.append(f"{handler.command} {path}?{urllib.parse.unquote(query)}")
        if path == "/events":
            told = self.events.pop(0) if self.events else []
            return 200, [], b"".join(json.dumps(event).encode() + b"\n" for event in told)
        key = f"{handler.command} {path}"
        reply = self.table.get(key, (404, f"no such thing: {path}"))
        reply = reply() if callable(reply) else reply
        if isinstance(reply, tuple):
            return reply[0], [], json.dumps({"message": reply[1]}).encode()
        raw = reply if isinstance(reply, bytes) else b"" if reply is None else json.dumps(reply).encode()
        return 200, self.headers.get(key, []), raw

    @contextlib.contextmanager
    def on(self, path: Path) -> Iterator[str]:
        """Serve on a socket below a directory; yields the socket's path."""
        handler = type("Handler", (_Handler,), {"answer": staticmethod(self.answer)})
        socket = str(path / "engine.sock")
        with _running(_UnixServer(socket, handler)):
            yield socket


def archive(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return what the engine sends for a file."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.uid, member.type = len(content), 0o640, 7, kind
        tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def stat_header(**stat: Any) -> list[tuple[str, str]]:
    """Return the header in which the engine describes it."""
    return [("X-Docker-Container-Path-Stat", base64.b64encode(json.dumps(stat).encode()).decode())]
