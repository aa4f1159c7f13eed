"""The program inside a unit: runs one described program as its user and leaves a durable result."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import pwd
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO, Deque, Dict, List, Set

HEAD_LIMIT = 4 * 1024 * 1024  # bytes of output kept from the beginning,
TAIL_LIMIT = 1024 * 1024  # and from the end; what is between is dropped and counted
_GRACE = 10.0
_DRAIN = 1.0  # seconds for what is still in a pipe when the program ended; a child of it may keep the pipe for ever
_STOPPING = 5.0  # seconds that a program which is stopped has to end before what it made is noted
_CHUNK = 65536
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Output:
    """One stream of a program, written to a file of bounded size."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: BinaryIO = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._head = 0
        self._tail: Deque[bytes] = deque()
        self._tail_size = 0
        self._dropped = 0

    def take(self, chunk: bytes) -> None:
        """Take a piece."""
        if not self._tail and self._head + len(chunk) <= HEAD_LIMIT:
            self._file.write(chunk)
            self._file.flush()
            self._head += len(chunk)
            return
        self._tail.append(chunk)
        self._tail_size += len(chunk)
        while self._tail_size - len(self._tail[0]) > TAIL_LIMIT:
            self._dropped += len(self._tail[0])
            self._tail_size -= len(self._tail.popleft())

    def close(self) -> None:
        """Write what was held back, durably. A full disk costs output, never the result."""
        with contextlib.suppress(OSError):
            if self._dropped:
                self._file.write(b"\n[... %d bytes dropped ...]\n" % self._dropped)
            self._file.write(b"".join(self._tail))
            self._file.flush()
            os.fsync(self._file.fileno())
        with contextlib.suppress(OSError):
            self._file.close()


def environment(spec: Dict[str, Any], account: pwd.struct_passwd) -> Dict[str, str]:
    """Return the environment of the program: a fixed small one, what was asked for, and the mark of the unit."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": "/bin/sh",
        **spec["env"],
        "BENCHKEEPER_UNIT": spec["unit"],
    }


def _become(account: pwd.struct_passwd, cwd: str) -> None:
    """Become the user, in the child, just before the program starts."""
    os.setsid()
    if os.geteuid() == 0:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.umask(0o022)
    os.chdir(cwd)


def _start(spec: Dict[str, Any]) -> subprocess.Popen[bytes]:
    account = pwd.getpwnam(spec["user"])
    return subprocess.Popen(
        spec["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=None,
        env=environment(spec, account),
        preexec_fn=lambda: _become(account, spec["cwd"]),  # noqa: PLW1509 - no threads in this program
        close_fds=True,
    )


def _pump(process: subprocess.Popen[bytes], spec: Dict[str, Any], outputs: List[Output]) -> bool:
    """Move bytes until the program ended; return whether it was ended by its time limit."""
    deadline = time.monotonic() + spec["timeout"]
    killed_at = 0.0
    pending = memoryview(spec["stdin"].encode("utf-8", "surrogateescape"))
    streams = [process.stdout, process.stderr]
    with selectors.DefaultSelector() as selector:
        for stream, output in zip(streams, outputs):
            assert stream is not None  # noqa: S101 - asked for above
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, output)
        assert process.stdin is not None  # noqa: S101 - asked for above
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        bell = _bell()
        selector.register(bell, selectors.EVENT_READ)
        ended_at = 0.0
        while True:
            now = time.monotonic()
            if process.poll() is not None:
                ended_at = ended_at or now
                if now - ended_at > _DRAIN or not any(key.data for key in selector.get_map().values()):
                    break
            elif now >= deadline and not killed_at:
                killed_at = now
                _signal(process, signal.SIGTERM)
            elif killed_at and now - killed_at > _GRACE:
                _signal(process, signal.SIGKILL)
            pending = _move(selector, bell, pending)
    return bool(killed_at)


def _move(selector: selectors.BaseSelector, bell: socket.socket, pending: memoryview) -> memoryview:
    """Wait a moment for whatever is ready and move its bytes; return what is still to be fed."""
    for key, _events in selector.select(0.1):
        pipe: Any = key.fileobj
        if pipe is bell:
            bell.recv(_CHUNK)
        elif key.data is None:
            pending = _feed(selector, pipe, pending)
        elif not _take(pipe, key.data):
            selector.unregister(pipe)
    return pending


def _bell() -> socket.socket:
    """Return what becomes readable when a child ends: pipes may close long before, or after."""
    bell, rope = socket.socketpair()
    for one in (bell, rope):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # without a handler nothing is written
    signal.set_wakeup_fd(rope.detach(), warn_on_full_buffer=False)
    return bell


def _take(pipe: Any, output: Output) -> bool:
    chunk = os.read(pipe.fileno(), _CHUNK)
    if chunk:
        output.take(chunk)
    return bool(chunk)


def _feed(selector: selectors.BaseSelector, stream: Any, pending: memoryview) -> memoryview:
    try:
        pending = pending[os.write(stream.fileno(), pending[:_CHUNK]) :] if pending else pending
    except BlockingIOError:
        return pending
    except OSError:
        pending = pending[:0]
    if not pending:
        selector.unregister(stream)
        with contextlib.suppress(OSError):
            stream.close()
    return pending


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, number)


def write_result(path: str, result: Dict[str, Any]) -> None:
    """Leave the result durably: it is complete or not there."""
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="ascii") as file:
        json.dump(result, file)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
    folder = os.open(str(Path(path).parent), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _matching(watch: Dict[str, Any]) -> Set[str]:
    with contextlib.suppress(OSError):
        return {one.name for one in Path(watch["dir"]).iterdir() if fnmatch.fnmatchcase(one.name, watch["pattern"])}
    return set()


def _look(spec: Dict[str, Any]) -> Dict[str, Set[str]]:
    """Return the names that are there before the program starts."""
    return {key: set(one["before"]) | _matching(one) for key, one in (spec.get("watch") or {}).items()}


def _note(spec: Dict[str, Any], before: Dict[str, Set[str]]) -> None:
    """Leave durably which names came while the program ran."""
    if before:
        with contextlib.suppress(OSError):
            write_result(spec["seen"], {key: sorted(_matching(spec["watch"][key]) - names) for key, names in before.items()})


def main(path: str) -> int:
    """Run the program described in a file."""
    spec = json.loads(Path(path).read_text(encoding="ascii"))
    started = time.monotonic()
    outputs = [Output(spec["out"]), Output(spec["err"])]
    timed_out = False
    process = None
    before = _look(spec)

    def stop(number: int, _frame: Any) -> None:
        # Stopped from outside: no result, so that nobody takes this for the program's own end.
        if process is not None:
            _signal(process, signal.SIGTERM)
            if before:  # what it still makes while it ends is its own, too
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOPPING)
        _note(spec, before)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        process = _start(spec)
        timed_out = _pump(process, spec, outputs)
        rc = process.wait()
        _note(spec, before)
    except (OSError, KeyError, subprocess.SubprocessError) as error:
        outputs[1].take(f"{spec['argv'][0]}: {getattr(error, 'strerror', None) or error}\n".encode())
        rc = 127
        _note(spec, before)
    for output in outputs:
        output.close()
    if timed_out:
        rc = 124
    write_result(
        spec["result"],
        {"rc": rc if rc >= 0 else 128 - rc, "seconds": time.monotonic() - started, "timed_out": timed_out},
    )
    return 0
