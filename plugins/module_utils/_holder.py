"""Holds one lease from the controller: a process of its own, with a connection of its own, that lives as long as the run does.

When the watched process is gone, it ends what is left of the run on this computer, too: Ansible's workers run in sessions of their
own, and without their parent they wait for ever to be listened to.

It is started as a program, ``python _holder.py``, and takes two lines of JSON on standard input: ``{argv}``, with which it
connects while the lease is still being asked for, and ``{fence, watch: {pid, start_time}, ttl, state?}`` when it is there; without
the second it ends. It says on standard output how the first connection came out, in one line, and goes on in the background. It
renews only while the watched process exists and is not stopped; when that is gone it closes the connection, which is all that the
machine needs to know. A connection that breaks is made anew until the machine refuses it; then the lease is over, and that is
written down beside the run's state file: a run whose machine was given back behind its back has nothing more to prove.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

CONNECT_LIMIT = 25.0  # seconds until a connection must have said something
BREATH = 0.5  # seconds between two looks at the watched process, where the kernel does not tell of its end
AGAIN = 1.0  # seconds before a broken connection is made anew
ANSWER_LIMIT = 10.0  # seconds until a renewal must be answered, else the connection is taken for dead

GONE, OVER, CUT = "gone", "over", "cut"
MARK = "BENCHKEEPER_STATE"  # environment variable that every process of a run's playbook has: the path of the run's state file
ENDED = ".ended"  # after the path of the state file: which leases ended while the run was alive
_PLAYER = b"ansible-playbook"


def players(mark: str) -> List[int]:
    """Return the processes of playbooks on this computer, main process and workers, whoever their parent is now.

    Args:
        mark: ``NAME=VALUE``, how a variable in the environment of each begins.
    """
    begins = mark.encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # gone, or somebody else's
                marked = any(word.startswith(begins) for word in (entry / "environ").read_bytes().split(b"\0"))
                if marked and _PLAYER in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def end_players(state: str) -> List[int]:
    """Kill what is left of a run's playbook, and return who that was. Whatever they still do is refused by the machines.

    Args:
        state: Path of the run's state file; empty for none.
    """
    ended = players(f"{MARK}={state}") if state else []
    for pid in ended:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return ended


def note_end(state: str, resource: str, why: str) -> None:
    """Write down that a lease ended while its run was alive. A full disk does not matter: the machine refuses the run anyhow."""
    line = json.dumps({"at": time.time(), "resource": resource, "why": why})
    with contextlib.suppress(OSError), Path(f"{state}{ENDED}").open("a", encoding="ascii") as file:
        file.write(line + "\n")


def ends(state: str) -> List[Dict[str, Any]]:
    """Return ``{at, resource, why}`` of the leases of a run that ended while it was alive, its own restore included."""
    found: List[Dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        found.extend(json.loads(line) for line in Path(f"{state}{ENDED}").read_text(encoding="ascii").splitlines())
    return found


class Watched:
    """The process on whose behalf a lease is held."""

    def __init__(self, pid: int, start_time: Optional[int], proc: str = "/proc") -> None:
        self._stat = Path(f"{proc}/{pid}/stat")
        self._started = start_time
        self.descriptor: Optional[int] = None
        opener: Any = getattr(os, "pidfd_open", None)
        if opener is not None and proc == "/proc":
            with contextlib.suppress(OSError):
                self.descriptor = opener(pid)
        if not self.alive and self.descriptor is not None:  # the number had been given to somebody else
            os.close(self.descriptor)
            self.descriptor = None

    def _fields(self) -> Optional[List[str]]:
        try:
            return self._stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None

    @property
    def alive(self) -> bool:
        """Whether it is still the process it was."""
        fields = self._fields()
        return fields is not None and fields[0] not in ("Z", "X") and self._started in (None, int(fields[19]))

    @property
    def stopped(self) -> bool:
        """Whether it is paused: what a paused controller holds runs out like what a dead one held."""
        fields = self._fields()
        return fields is not None and fields[0] in ("T", "t")


class Connection:
    """One connection to the keeper of a machine, as ``keeper hold`` speaks over it."""

    def __init__(self, argv: List[str]) -> None:
        pipe = subprocess.PIPE
        # In a session of its own: a Ctrl-C for the run is not for the one who watches over it.
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
        self._waiting = b""
        self.ended = False

    @property
    def descriptor(self) -> int:
        """What becomes readable when something was said."""
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        return self._process.stdout.fileno()

    def say(self, document: Mapping[str, Any]) -> None:
        """Send one line; a connection that is gone is noticed by its end."""
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(document).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def heard(self) -> List[Dict[str, Any]]:
        """Return the lines that came, without waiting; what is no JSON object (a greeting of the machine) is passed over."""
        chunk = os.read(self.descriptor, 65536)
        self.ended = not chunk
        *lines, self._waiting = (self._waiting + chunk).split(b"\n")
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if isinstance(document, dict):
                    found.append(document)
        return found

    def close(self) -> None:
        """End the connection: first its input, which is what the machine looks at, then the process."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Holder:
    """Holds a lease over one connection after the other.

    Args:
        argv: What makes a connection.
        first: One that was made already.
        spec: ``{fence, watch, ttl}``.
        report: Takes the outcome of the first connection: ``{held}``, or what the keeper said, or ``{msg}``.
    """

    def __init__(self, argv: List[str], first: Optional[Connection], spec: Mapping[str, Any], report: Any) -> None:
        self._argv = argv
        self._first = first
        self._fence = spec["fence"]
        self._watched = Watched(int(spec["watch"]["pid"]), spec["watch"].get("start_time"))
        self._every = max(0.2, float(spec["ttl"]) / 4.0)
        self._ttl = float(spec["ttl"])
        self._report = report
        self._reported = False
        self._ever = False
        self.last: Dict[str, Any] = {}

    def run(self) -> str:
        """Hold until the end; return why it came: ``gone`` (the run), ``over`` (the lease), ``cut`` (for longer than its time)."""
        lost = time.monotonic()
        while True:
            outcome, held = self._connect()
            if held:
                self._ever, lost = True, time.monotonic()
            if outcome != CUT:
                return outcome
            if not self._reported:
                self._tell({"msg": "the connection that holds the lease could not be made"})
                return CUT
            if time.monotonic() - lost > self._ttl:
                return CUT
            time.sleep(AGAIN)
            if not self._watched.alive:
                return GONE

    @property
    def held(self) -> bool:
        """Whether the lease was ever held."""
        return self._ever

    def _tell(self, document: Mapping[str, Any]) -> None:
        if not self._reported:
            self._reported = True
            self._report(dict(document))

    def _connect(self) -> tuple[str, bool]:
        """Hold over one connection; return how it ended, and whether it ever held."""
        try:
            connection, self._first = self._first or Connection(self._argv), None
        except OSError as error:
            self._tell({"msg": f"{self._argv[0]}: {error.strerror}"})
            return OVER, False
        try:
            connection.say({"fence": dict(self._fence)})
            return self._serve(connection)
        finally:
            connection.close()

    def _serve(self, connection: Connection) -> tuple[str, bool]:
        held = False
        answer_by: Optional[float] = time.monotonic() + CONNECT_LIMIT
        renew_at = time.monotonic() + self._every
        sources = [one for one in (connection.descriptor, self._watched.descriptor) if one is not None]
        while True:
            ready, _, _ = select.select(sources, [], [], BREATH)
            if not self._watched.alive:
                return GONE, held
            for said in connection.heard() if connection.descriptor in ready else ():
                if "held" in said:
                    held, answer_by = True, None
                    self._tell(said)
                elif "renewed" in said:
                    answer_by = None
                elif "over" in said or "left" in said or "error" in said:
                    self.last = said
                    self._tell(said)
                    return OVER, held
            now = time.monotonic()
            if connection.ended or (answer_by is not None and now >= answer_by):
                return CUT, held
            if held and now >= renew_at and not self._watched.stopped:
                connection.say({"renew": True})
                renew_at = now + self._every
                answer_by = answer_by or now + ANSWER_LIMIT


def main() -> int:
    """Connect, read what to hold, say how it began, and go on in the background."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read, "rb") as told:
            sys.stdout.buffer.write(told.read())
        return 0
    os.close(read)
    os.setsid()
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)

    def report(document: Mapping[str, Any]) -> None:
        os.write(write, json.dumps(document).encode("ascii") + b"\n")
        os.close(write)

    argv = [str(word) for word in json.loads(sys.stdin.buffer.readline())["argv"]]
    first = None
    with contextlib.suppress(OSError):  # it is tried again, and told, when there is something to hold
        first = Connection(argv)
    line = sys.stdin.buffer.readline()
    os.dup2(nowhere, 0)
    if not line.endswith(b"\n"):  # there is no lease
        if first is not None:
            first.close()
        return 0
    spec = json.loads(line)
    holder, state = Holder(argv, first, spec, report), str(spec.get("state") or "")
    outcome = holder.run()
    if outcome == GONE:
        end_players(state)
    elif state and holder.held and "left" not in holder.last:
        note_end(state, str(spec["fence"].get("resource") or ""), why(outcome, holder.last))
    return 0


def why(outcome: str, said: Mapping[str, Any]) -> str:
    """Return in words why a lease ended that the run did not give back."""
    error = said.get("error")
    if isinstance(error, Mapping):
        return str(error.get("message") or "refused")
    if outcome == CUT:
        return "nobody could reach the machine for longer than the lease lives"
    return f"the machine gave itself back ({said.get('over') or 'over'})"


if __name__ == "__main__":
    sys.exit(main())
