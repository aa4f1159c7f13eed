"""Part of a keeper that only `./bench crash --sweep` builds: at one boundary of the journal it dies, or stops and waits.

Order (JSON, /run/benchkeeper-strike.json, mode 0600): ``{resource, kind, at, act}``. ``at`` is one of

- ``intent``  the change is journaled and not made
- ``change``  it is made and not journaled as done
- ``done``    it is journaled as done
- ``undo``    it is put back and not journaled as put back
- ``undone``  it is journaled as put back

``act`` is ``kill`` (this process dies by SIGKILL) or ``wait`` (it stops until somebody lets it go on, or the machine dies). An
order is carried out once. Whoever gave it reads the process id from /run/benchkeeper-strike.fifo.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any, Dict

from keeper.store import RunDir

ORDER = Path("/run/benchkeeper-strike.json")
CALL = Path("/run/benchkeeper-strike.fifo")
BEFORE = {"DONE": "change", "UNDONE": "undo"}
AFTER = {"INTENT": "intent", "DONE": "done", "UNDONE": "undone"}

_append = RunDir.append


def _kind(run: RunDir, fields: Dict[str, Any]) -> str:
    """Return the kind of the item that a record is about."""
    ref = fields.get("ref")
    return str(fields.get("kind") or next((one.kind for one in run.items() if one.seq == ref), ""))


def strike(run: RunDir, kind: str, at: str) -> None:
    """Carry the order out if this is its boundary."""
    try:
        order = json.loads(ORDER.read_bytes())
    except (OSError, ValueError):
        return
    if (order["resource"], order["kind"], order["at"]) != (run.resource, kind, at):
        return
    ORDER.unlink()
    with contextlib.suppress(OSError):  # nobody listens any more: then he sees from the lease what became of it
        call = os.open(CALL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(call, f"{os.getpid()}\n".encode())
        os.close(call)
    os.kill(os.getpid(), signal.SIGKILL if order["act"] == "kill" else signal.SIGSTOP)


def append(run: RunDir, record_type: str, **fields: Any) -> Any:
    """Write a record, and carry out an order that stands before or after it."""
    if record_type in BEFORE:
        strike(run, _kind(run, fields), BEFORE[record_type])
    record = _append(run, record_type, **fields)
    if record_type in AFTER:
        strike(run, _kind(run, fields), AFTER[record_type])
    return record


RunDir.append = append  # type: ignore[method-assign]
