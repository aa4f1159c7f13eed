"""Guarded calls that a hold answers: a copy of a program that is loaded already costs a few milliseconds, a new one many.

Whoever calls connects to a socket that only root reaches, waits for one byte, sends ``{"verb": ..., "request": {...}}``, closes its
side and reads ``{"code": ..., "answer": {...}}``. Each call runs in a process of its own, as one that was started for it would: it
outlives the hold, passes the same fence, and its death is nobody else's. What is no guarded call is not answered here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from typing import Callable, Dict, Mapping, Optional

PLACE = "/run/benchkeeper"
VERBS = ("command", "created", "engine", "file", "look", "service", "snapshot", "tree")
GREETING = b"\n"
_LIMIT = 16 * 1024 * 1024
_PATIENCE = 30.0  # seconds that a caller may take to send what it wants
_WAITING = 32  # callers

Answer = Callable[[str, Mapping[str, object]], "tuple[int, Mapping[str, object]]"]


def place_of(resource: str) -> str:
    """Return where the calls of a resource are answered."""
    return f"{PLACE}/{resource}.sock"


class Served:
    """The socket of one hold. Without a place for it there is none, and callers start a program of their own.

    Args:
        path: Where the socket is to be; whatever an older hold left there is taken away.
        answer: Runs one verb; returns exit code and answer, and never raises.
    """

    def __init__(self, path: str, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._identity: Optional[os.stat_result] = None
        self._socket: Optional[socket.socket] = None
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - as the rest of this, which is loaded in every hold
            listening.bind(path)
            self._identity = os.stat(path)  # noqa: PTH116
            listening.listen(_WAITING)
            listening.setblocking(False)
        except OSError:
            listening.close()
        else:
            self._socket = listening
        finally:
            os.umask(mask)

    def descriptors(self) -> list[int]:
        """Return what to wait on, nothing when there is no socket."""
        return [] if self._socket is None else [self._socket.fileno()]

    def answer_all(self) -> None:
        """Let a process of its own answer everybody who waits now."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        while self._socket is not None:
            try:
                caller, _address = self._socket.accept()
            except OSError:
                return
            with caller:
                try:
                    child = os.fork()
                except OSError:  # no process to be had: the caller sees no greeting and starts its own, if it can
                    continue
                if child == 0:
                    self._be_the_copy(caller)

    def _be_the_copy(self, caller: socket.socket) -> None:
        """Answer one caller and end. The connection that the hold stands for must not stay open because of us."""
        code = 1
        try:
            os.setsid()
            for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(one, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            if self._socket is not None:
                self._socket.close()
            code = self._converse(caller)
        finally:
            broken = sys.exc_info()[1]
            if broken is not None:
                with contextlib.suppress(OSError):
                    caller.sendall(_spelled(1, {"error": {"kind": "failed", "message": f"{type(broken).__name__}: {broken}"}}))
            os._exit(code)

    def _converse(self, caller: socket.socket) -> int:
        caller.setblocking(True)
        caller.settimeout(_PATIENCE)
        caller.sendall(GREETING)
        raw = b""
        while len(raw) <= _LIMIT:
            chunk = caller.recv(1024 * 1024)
            if not chunk:
                break
            raw += chunk
        if not raw:  # it gave up waiting for the greeting
            return 0
        asked: Dict[str, object] = json.loads(raw)
        verb, request = str(asked.get("verb")), asked.get("request")
        caller.settimeout(None)
        if verb in VERBS and isinstance(request, dict):
            said = _spelled(*self._answer(verb, request))
        else:
            said = _spelled(2, {"error": {"kind": "usage", "message": f"a hold answers {', '.join(VERBS)}, not {verb!r}"}})
        with contextlib.suppress(OSError):  # what was done is done, whether anybody can be told or not
            caller.sendall(said)
        return 0

    def close(self) -> None:
        """Answer nobody any more; what another hold has put in our place stays."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        with contextlib.suppress(OSError):
            now = os.stat(self._path)  # noqa: PTH116
            if self._identity is not None and (now.st_dev, now.st_ino) == (self._identity.st_dev, self._identity.st_ino):
                os.unlink(self._path)  # noqa: PTH108


def _spelled(code: int, answer: Mapping[str, object]) -> bytes:
    return json.dumps({"code": code, "answer": answer}, sort_keys=True).encode("ascii")


def load() -> None:
    """Load what calls need, so that no copy has to."""
    import concurrent.futures.thread  # noqa: F401, PLC0415
    import random  # noqa: F401, PLC0415

    from ansible_collections.benchkeeper.core.plugins.module_utils import _redact, _snapshot  # noqa: F401, PLC0415

    from keeper import verbs  # noqa: F401, PLC0415
