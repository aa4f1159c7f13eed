"""The ZMQ probe against a publisher made of the bytes that libzmq sends."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take

if TYPE_CHECKING:
    from collections.abc import Iterator

GREETING = b"\xff" + b"\0" * 7 + b"\x01\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" * 32
BLOCK = b'json-minimal-chain_main:{"first_height":7}'


def ready(kind: bytes) -> bytes:
    properties = b"".join(
        bytes([len(key)]) + key + len(value).to_bytes(4, "big") + value
        for key, value in ((b"Socket-Type", kind), (b"Identity", b""))
    )
    body = b"\x05READY" + properties
    return bytes([4, len(body)]) + body


def frame(body: bytes, *, long: bool = False) -> bytes:
    return (b"\x02" + len(body).to_bytes(8, "big") if long else bytes([0, len(body)])) + body


@contextlib.contextmanager
def publisher(*parts: bytes, subscribed: list[bytes] | None = None) -> Iterator[int]:
    """Send the greeting, then each part after what the other side says: its greeting, READY, subscription."""
    server = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _address = server.accept()
            with connection:
                connection.sendall(parts[0])
                connection.recv(64, socket.MSG_WAITALL)
                for part in parts[1:]:
                    heard = connection.recv(4096)
                    if subscribed is not None:
                        subscribed.append(heard)
                    connection.sendall(part)
                done.wait(5)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        done.set()
        server.close()
        thread.join(5)


def look(port: int, **spec: Any) -> dict[str, Any]:
    probe = {"kind": "zmq", "host": "127.0.0.1", "port": port, "topic": "json-minimal-chain_main", "timeout": 2, **spec}
    return take({"zmq": probe}, {})


def test_a_publisher_is_known_by_its_handshake_alone() -> None:
    with publisher(GREETING, ready(b"XPUB")) as port:
        assert look(port)["observed"]["zmq"] == {"publishes": True, "socket": "XPUB", "version": "3.1"}


@pytest.mark.parametrize("message", [frame(BLOCK), frame(BLOCK, long=True), b"\x04\x05\x04PING" + frame(BLOCK)])
def test_the_first_message_is_waited_for_and_only_its_topic_told(message: bytes) -> None:
    heard: list[bytes] = []
    with publisher(GREETING, ready(b"PUB"), message, subscribed=heard) as port:
        document = look(port, message=True)
    assert document["observed"]["zmq"]["message"] == "json-minimal-chain_main"
    assert heard[-1].endswith(b"\x00\x18\x01json-minimal-chain_main")


def test_a_publisher_that_stays_silent_is_told_from_one_that_is_not_there() -> None:
    with publisher(GREETING, ready(b"PUB")) as port:
        assert look(port, message=True, timeout=0.3)["observed"]["zmq"]["message"] == ""


def test_another_kind_of_socket_publishes_nothing() -> None:
    with publisher(GREETING, ready(b"REP")) as port:
        assert look(port)["observed"]["zmq"]["publishes"] is False


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(64),), "speaks no ZMTP"),
        ((GREETING.replace(b"NULL\0", b"CURVE"),), "asks for credentials"),
        ((GREETING, b"\x04\x08\x05ERROR\x01x"), "the peer refused"),
        ((GREETING, b"\x04\x0b\x05READY\x0bSock"), "broken answer"),
        ((GREETING, b"\x02" + b"\xff" * 8), "a frame of"),
    ],
)
def test_what_is_no_publisher_is_an_error_with_a_reason(parts: tuple[bytes, ...], why: str) -> None:
    with publisher(*parts) as port:
        document = look(port)
    assert why in document["errors"]["zmq"]
    assert "zmq" not in document["observed"]


def _hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_a_connection_that_is_dropped_or_refused_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=_hang_up, args=[server], daemon=True).start()
        assert look(port)["errors"]["zmq"] in ("the peer ended the connection", "connection reset by peer")
    assert "refused" in look(port)["errors"]["zmq"]


def test_nobody_waits_longer_than_asked() -> None:
    with publisher(b"\xff") as port:
        assert look(port, timeout=0.2)["errors"]["zmq"] == "no handshake in time"
