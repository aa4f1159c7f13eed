from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
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


def _told(script: str, last: int) -> tuple[str, float]:
    call = f"child.run_told(['bash', '-c', {script!r}], {last})"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchkeeper import child; print({call})"
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout, time.monotonic() - begun


def test_output_goes_on_as_it_comes_and_its_end_is_told() -> None:
    said, _ = _told("echo one; echo two >&2; printf three; exit 3", 2)
    assert said == "one\ntwo\nthree(3, ['two', 'three'])\n"


def test_a_daemon_that_keeps_the_output_open_is_not_waited_for() -> None:
    said, took = _told("sleep 30 & echo $!", 5)
    pid = int(said.splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    assert said == f"{pid}\n(0, ['{pid}'])\n"
    assert took < 15
