from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]

# A job in the background of a shell ignores the interrupt, and so does what it starts: here it must not.
PARENT = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, {root!r})
    from benchkeeper import child
    script = "trap 'sleep 1; echo put back; exit 7' INT; echo ready; while :; do sleep 0.1; done"
    try:
        child.run(["bash", "-c", script])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_an_interrupted_child_has_the_time_to_put_things_back() -> None:
    code = textwrap.dedent(PARENT.format(root=str(ROOT)))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    os.kill(parent.pid, signal.SIGINT)
    try:
        rest, _ = parent.communicate(timeout=20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)  # whatever is left of it must not keep the test waiting
    assert parent.returncode == 0
    assert rest == "put back\ninterrupted\n"


def test_an_exit_code_is_passed_on() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchkeeper import child; sys.exit(child.run(['false']))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
