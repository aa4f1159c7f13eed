"""Children that clean up after themselves: an interrupted parent waits for them instead of killing them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_PIECE = 1 << 16
_KEPT = 1 << 17


def run(command: Sequence[str], **options: Any) -> int:
    """Run a command that has to put things back when it is interrupted; return its exit code (negative: killed by that signal).

    `subprocess.run` kills its child a quarter of a second after a Ctrl-C, which would be a kill -9 of a supervisor at work. This
    passes the interrupt on once, waits for the child to end, and only then lets the interrupt through.

    Raises:
        KeyboardInterrupt: after the child has ended.
    """
    early: list[int] = []
    # An interrupt while the child is being made would leave it behind, unknown to us: it is noted, and passed on once there is one.
    before = signal.signal(signal.SIGINT, lambda number, _frame: early.append(number))
    try:
        process = subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    interrupted = bool(early)
    if interrupted:
        process.send_signal(signal.SIGINT)
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            if not interrupted:
                process.send_signal(signal.SIGINT)
            interrupted = True
            continue
        if interrupted:
            raise KeyboardInterrupt
        return code


def run_told(command: Sequence[str], last: int, **options: Any) -> tuple[int, list[str]]:
    """As `run`, its output on ours as it comes; return its exit code and the last lines of that output (at most `last`).

    A daemon that it leaves behind with its output open is not waited for longer than a second.

    Raises:
        KeyboardInterrupt: after the child has ended.
    """
    kept = bytearray()
    reading, writing = os.pipe()

    def relay() -> None:
        with os.fdopen(reading, "rb", buffering=0) as stream:
            # Not by lines: dots and dialogs of a tool must show at once.
            while piece := stream.read(_PIECE):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                kept.extend(piece)
                del kept[:-_KEPT]

    sys.stdout.flush()
    relaying = threading.Thread(target=relay, daemon=True)
    relaying.start()
    try:
        code = run(command, stdout=writing, stderr=subprocess.STDOUT, **options)
    finally:
        os.close(writing)
        relaying.join(timeout=1)
    lines = bytes(kept).decode("utf-8", "replace").splitlines()
    return code, [line.rstrip() for line in lines[-last:]]
