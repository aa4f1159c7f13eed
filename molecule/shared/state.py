"""Make the state file of a scenario's run, or take it up again, and print the run id.

The holder is the molecule process. It lives from converge to cleanup, so nobody takes a lease away between two steps; once it is
dead, everybody may. The file of an earlier molecule is replaced: the next lease of its hosts puts back first what its run left.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder


def molecule() -> int:
    """Return the molecule process above this one, the topmost process of the session where somebody runs the playbook by hand."""
    pid = found = os.getppid()
    while pid > 1:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2]
        if any(Path(os.fsdecode(word)).name == "molecule" for word in words):
            return pid
        found, pid = pid, int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return found


def main(path: Path) -> int:
    """Write the file unless its holder lives; print the run id."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = {}
    if not state or _keeper_holder.is_gone(state["holder"]):
        run_id = f"{datetime.now(tz=timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        names = {"nonce": secrets.token_hex(16), "canary": f"bkcanary{secrets.token_hex(12)}"}
        state = {"run_id": run_id, **names, "holder": _keeper_holder.describe(molecule())}
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(state, file)
    sys.stdout.write(state["run_id"])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
