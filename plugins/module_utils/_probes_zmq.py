"""Probe zmq: whether a publisher speaks, and whether it publishes. ZMTP 3.0 with the NULL mechanism, written out.

Format: rfc.zeromq.org/spec/23. A greeting of 64 bytes each way, a READY command each way, then frames: a byte of flags (1 more
follows, 2 long size, 4 command), a size of 1 or 8 bytes, the body. A subscription is a frame with 1 before the topic.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any, Callable, Dict, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._probes import Context, ProbeError, Seen, Spec, need
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import why

TIMEOUT = 5.0
FRAME_LIMIT = 16 * 1024 * 1024  # bytes; a block announced in full may be large
_MORE, _LONG, _COMMAND = 1, 2, 4
_GREETING = 64
_OURS = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
_PUBLISHERS = ("PUB", "XPUB")
_TOPIC_SHOWN = 80  # characters


class _Peer:
    """A connection with one deadline for everything."""

    def __init__(self, address: Tuple[str, int], timeout: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deadline = clock() + timeout
        self._socket = socket.create_connection(address, timeout=timeout)

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._allow()
        self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Return so many bytes. EOFError: the peer ended the connection; TimeoutError: too late."""
        parts = []
        while size:
            self._allow()
            part = self._socket.recv(min(size, 65536))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def frame(self) -> Tuple[int, bytes]:
        flags = self.read(1)[0]
        size = struct.unpack(">Q", self.read(8))[0] if flags & _LONG else self.read(1)[0]
        if size > FRAME_LIMIT:
            raise ProbeError(f"a frame of {size} bytes")
        return flags, self.read(size)

    def _allow(self) -> None:
        left = self._deadline - self._clock()
        if left <= 0:
            raise socket.timeout
        self._socket.settimeout(left)


def _kind(ready: bytes) -> str:
    """Return the peer's socket type out of its READY command; the names of properties are not case sensitive."""
    name, rest = ready[1 : 1 + ready[0]], ready[1 + ready[0] :]
    if name != b"READY":
        raise ProbeError("the peer refused: no READY")
    while rest:
        key, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        (size,) = struct.unpack(">I", rest[:4])
        value, rest = rest[4 : 4 + size], rest[4 + size :]
        if key.lower() == b"socket-type":
            return value.decode("ascii", "replace")
    return ""


def _greet(peer: _Peer) -> Dict[str, Any]:
    peer.send(_OURS)
    theirs = peer.read(_GREETING)
    if theirs[0] != 0xFF or theirs[9] != 0x7F or theirs[10] < 3:
        raise ProbeError("what answers speaks no ZMTP 3")
    if theirs[12:32].rstrip(b"\0") != b"NULL":
        raise ProbeError("it asks for credentials")
    peer.send(bytes([_COMMAND, len(_READY)]) + _READY)
    flags, body = peer.frame()
    if not flags & _COMMAND or not body:
        raise ProbeError("the peer is not ready")
    return {"socket": _kind(body), "version": f"{theirs[10]}.{theirs[11]}"}


def _first_message(peer: _Peer, topic: bytes) -> str:
    """Subscribe and return the topic of the first message; empty when none came in time."""
    peer.send(bytes([0, len(topic) + 1]) + b"\x01" + topic)
    try:
        while True:
            flags, body = peer.frame()
            if not flags & _COMMAND:
                return body[:_TOPIC_SHOWN].split(b":", 1)[0].decode("ascii", "replace")
    except (socket.timeout, TimeoutError):  # one and the same only since Python 3.10
        return ""


def probe_zmq(_name: str, spec: Spec, _context: Context) -> Seen:
    """``zmq {host, port, topic, message?, timeout?}``: a publisher, asked as a subscriber does.

    Observes ``publishes`` (the peer is a publisher), ``socket`` and ``version``; with ``message`` also the topic of the first
    message that comes within ``timeout`` seconds, empty when none does. No handshake is an error of the probe.
    """
    address = (str(need(spec, "host")), int(need(spec, "port")))
    topic = str(need(spec, "topic")).encode("ascii")
    peer = None
    try:
        peer = _Peer(address, float(spec.get("timeout", TIMEOUT)), time.monotonic)
        seen = _greet(peer)
        seen["publishes"] = seen["socket"] in _PUBLISHERS
        if spec.get("message"):
            seen["message"] = _first_message(peer, topic)
    except (socket.timeout, TimeoutError) as error:
        raise ProbeError("no handshake in time") from error
    except EOFError as error:
        raise ProbeError("the peer ended the connection") from error
    except (struct.error, IndexError) as error:
        raise ProbeError("broken answer") from error
    except OSError as error:
        raise ProbeError(why(error)) from error
    finally:
        if peer is not None:
            peer.close()
    return Seen(observed=seen)
