"""`./bench signals`: runs that are interrupted at random moments, and killed; each time everything must come back.

INT, TERM and HUP go to the supervisor, which must recover by itself and end with 128+n. kill -9 goes to the supervisor,
to ansible-playbook and to both; then `./bench recover`, typed in another directory, must finish the restore, and find
nothing to do the second time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _holder

from benchkeeper import inventory
from benchkeeper.console import say
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchkeeper.options import SignalsOptions

GENTLE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLED = ("supervisor", "ansible-playbook", "group")
FIRST_MOMENT = 3.0  # seconds after the start; before that nothing is leased
LIMIT = 900.0  # seconds for a run and its recovery


@dataclass(frozen=True)
class Row:
    """How one interruption came out."""

    what: str
    moment: float
    exit_code: int
    good: bool
    why: str
    seconds: float


def start(paths: Paths, stack: str, log: int, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start a run of `main` in the background, with further environment variables."""
    command = [sys.executable, "-m", "benchkeeper", "e2e", "main", "--stack", stack, *words]
    # A session of its own, so that the whole group can be killed without this process.
    return subprocess.Popen(
        command, cwd=paths.root, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **variables}
    )


def _status(paths: Paths) -> dict[str, object]:
    command = [sys.executable, "-m", "benchkeeper", "status", "--json"]
    done = subprocess.run(command, cwd=paths.root, check=True, capture_output=True, timeout=60)
    found = json.loads(done.stdout)
    return found if isinstance(found, dict) else {}


def held(paths: Paths) -> list[str]:
    """Return what a run that is over left: leases that are not free, processes here; and machines that could not be asked."""
    document = _status(paths)
    leases, machines = document.get("leases"), document.get("machines")
    rows = leases if isinstance(leases, list) else []
    running = {str(one["name"]) for one in machines if one["state"] == "running"} if isinstance(machines, list) else set()
    known = inventory.read(paths.inventory, plain=True)
    made = inventory.made(paths.machines) or frozenset(known.machines)
    lent = [name for name in (*known.miners, *known.benches) if name in made]
    silent = [f"{name} is not running, nobody knows" for name in lent if name not in running]
    left = [f"process {pid} of a run is left" for pid in _holder.players(f"BENCHKEEPER_EVENTS={paths.results}/")]
    return [*silent, *left, *(f"{row['resource']} {row['state']}" for row in rows if row["state"] != "free")]


def shell_code(code: int) -> int:
    """Return an exit code as a shell says it: a signal that came before our handlers kills, and Python says so with a minus."""
    return 128 - code if code < 0 else code


def children_of(pid: int) -> list[int]:
    """Return the pids of ansible-playbook main processes below a process."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
            if b"ansible-playbook" in words and parent == pid:
                found.append(int(path.name))
    return found


def _wait(process: subprocess.Popen[bytes], moment: float) -> bool:
    """Wait until the moment; False when the run ended before."""
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        return True
    return False


def gentle(paths: Paths, stack: str, number: signal.Signals, log: int, moment: float) -> Row:
    """Send one signal to the supervisor and judge how it ends."""
    begun = time.monotonic()
    process = start(paths, stack, log)
    if not _wait(process, moment):
        return Row(number.name, moment, process.returncode, False, "the run ended before the signal", time.monotonic() - begun)
    process.send_signal(number)
    code = shell_code(process.wait(LIMIT))
    left = held(paths)
    why = "; ".join([*([f"exit {code}, not {128 + number}"] if code != 128 + number else []), *left])
    return Row(number.name, moment, code, not why, why or "everything back", time.monotonic() - begun)


def killed(paths: Paths, stack: str, what: str, log: int, moment: float) -> Row:
    """Kill -9 a part of the controller, then recover twice from another directory."""
    begun = time.monotonic()
    process = start(paths, stack, log)
    if not _wait(process, moment):
        return Row(f"KILL {what}", moment, process.returncode, False, "the run ended before the kill", time.monotonic() - begun)
    players = children_of(process.pid)
    victims = {"supervisor": [process.pid], "ansible-playbook": players, "group": [process.pid, *players]}[what]
    if what == "group":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    code = process.wait(LIMIT)
    problems = [] if victims else ["there was nothing to kill"]
    with tempfile.TemporaryDirectory(prefix="benchkeeper-elsewhere-") as elsewhere:
        command = [str(paths.root / "bench"), "recover"]
        first = subprocess.run(command, cwd=elsewhere, check=False, stdout=log, stderr=log, timeout=LIMIT)
        second = subprocess.run(command, cwd=elsewhere, check=False, capture_output=True, text=True, timeout=LIMIT)
    if first.returncode:
        problems.append(f"recover ended with {first.returncode}")
    if second.returncode or "nothing to do" not in (second.stdout + second.stderr).lower():
        problems.append(f"the second recover ended with {second.returncode} and did not say that there is nothing to do")
    problems += held(paths)
    why = "; ".join(problems)
    return Row(f"KILL {what}", moment, code, not why, why or "everything back, second recover a no-op", time.monotonic() - begun)


def last_good(paths: Paths, stack: str) -> dict[str, Any]:
    """Return the result of the newest good run of a stack here, empty when there is none."""
    for path in sorted(paths.results.glob("2*/result.json"), reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(path.read_text(encoding="utf-8"))
            if (found["verdict"], found["mode"], found["stack"]) == ("good", "targeted", stack) and found["phases"]:
                return dict(found)
    return {}


def usual_seconds(paths: Paths, stack: str, log: int) -> float:
    """Return how long a healthy run takes here: what the last good one took, or one that is run now."""
    last = last_good(paths, stack)
    if last:
        seconds = sum(float(phase["seconds"]) for phase in last["phases"])
        say("signals", f"the last good run took {seconds:.0f} s")
        return seconds
    begun = time.monotonic()
    process = start(paths, stack, log)
    code = process.wait(LIMIT)
    say("signals", f"an undisturbed run takes {time.monotonic() - begun:.0f} s and ends with {code}")
    return time.monotonic() - begun


def run_signals(options: SignalsOptions) -> int:
    """Interrupt runs and print the table; 0 when each came back, else 4."""
    paths = checkout()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    dice = random.Random(seed)  # noqa: S311 - the same moments again for the same seed
    say("signals", f"seed {seed}")
    log = os.open(paths.work / "signals.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        latest = usual_seconds(paths, options.stack, log) * 0.85
        plan: list[tuple[str, Callable[[float], Row]]] = []
        for turn in range(options.count):
            number = GENTLE[turn % len(GENTLE)]
            plan.append((number.name, functools.partial(gentle, paths, options.stack, number, log)))
        if options.count >= len(GENTLE):
            plan += [(f"KILL {what}", functools.partial(killed, paths, options.stack, what, log)) for what in KILLED]
        rows: list[Row] = []
        for name, act in plan:
            moment = dice.uniform(FIRST_MOMENT, max(FIRST_MOMENT + 1, latest))
            say("signals", f"{len(rows) + 1}/{len(plan)} {name} after {moment:.1f} s")
            rows.append(act(moment))
            say("signals", f"{'ok' if rows[-1].good else 'NOT AS EXPECTED'}: exit {rows[-1].exit_code}, {rows[-1].why}")
    finally:
        os.close(log)
    print(f"seed {seed}\n{'what':<22} after s  exit  seconds  outcome")
    for row in rows:
        print(
            f"{row.what:<22} {row.moment:>7.1f}  {row.exit_code:>4}  {row.seconds:>7.0f}  {'ok' if row.good else 'BAD'}: {row.why}"
        )
    return 0 if all(row.good for row in rows) else 4
