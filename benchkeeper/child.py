"""Children that clean up after themselves: an interrupted parent waits for them instead of killing them."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


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
