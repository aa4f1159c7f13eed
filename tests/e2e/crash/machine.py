"""One machine of the embedded bench, as the battery needs it: asked over SSH, and looked at before and after each case."""

from __future__ import annotations

import contextlib
import json
import random
import re
import secrets
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _holder
from ansible_collections.benchkeeper.core.plugins.plugin_utils import own_connection

from benchkeeper import sshfiles
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PATHS = checkout()
KEEPER = "/usr/local/lib/benchkeeper/keeper"
STATE = "/var/lib/benchkeeper"
GRACE = 10.0  # seconds that a cut hold has to come back
SWEEP = 3.0  # seconds until the sweep has noticed
STOP_BOUND = 12.0  # seconds that an engine call may go on after its client died
BOUND = GRACE + SWEEP + STOP_BOUND + 20.0  # seconds until a machine whose controller died is back; restores here are short
NOBODY = {"controller_id": "another-computer", "host": "desk", "user": "ann", "pid": 2, "start_time": 1}

# What of a machine must be the same after a case. A line each, so that a difference says what it is.
WORLD = r"""
set +e
echo "enabled: $(systemctl list-unit-files --plain --no-legend | awk '$2 == "enabled" {print $1}' | sort | tr '\n' ' ')"
echo "failed: $(systemctl list-units --failed --plain --no-legend | awk '{print $1}' | tr '\n' ' ')"
echo "firewall: $(iptables -S INPUT | tr '\n' ' ')"
echo "mounts: $(awk '$2 ~ "^/(opt|etc|srv|var/lib/benchkeeper)" {print $2}' /proc/mounts | sort -u | tr '\n' ' ')"
echo "containers: $(docker ps -a --format '{{.Names}}={{.Image}}' | sort | tr '\n' ' ')"
echo "networks: $(docker network ls --format '{{.Name}}' | sort | tr '\n' ' ')"
echo "volumes: $(docker volume ls -q | sort | tr '\n' ' ')"
echo "images: $(docker images --format '{{.Repository}}:{{.Tag}}={{.ID}}' | sort | tr '\n' ' ')"
for file in /opt/rigforge/data/worker/xmrig/build/config.json /srv/code/pithead/config.json /srv/code/pithead/.env; do
    test ! -e $file || echo "$file: $(stat -c '%a %U %G' $file) $(sha256sum <$file)"
done
echo "own: $(ls -A /opt /etc/benchkeeper/guards 2>/dev/null | tr '\n' ' ')"
"""
# What a run of ours leaves while it is not over. Nothing of it may be there at the end.
TRACES = r"""
set +e
# A run that is over keeps its key while its files are watched for late writes (ADR 25).
for key in /var/lib/benchkeeper/runs/*/*/key; do
    test ! -e "$key" || { test -e "${key%key}CLOSED" && test -e "${key%key}late.json"; } || echo "$key"
done
systemctl list-units --all --plain --no-legend 'bk-*' 'benchkeeper-lease@*' | awk '{print "unit " $1}'
find /etc /home /opt /root /run /srv /tmp /usr/local /var/lib/benchkeeper -xdev -name '.*.bk-*'
ps -eo args | grep -E '[b]enchkeeper/keeper (call|hold|restore-due|boot|lock-hold|unit-run)'
docker ps -a --format '{{.Label "benchkeeper.run"}} container {{.ID}}' | sed -n '/^ /d; /^bench /d; p'
docker image ls -q benchkeeper/keep | sed 's/^/kept image /'
true
"""


class Machine:
    """A machine by name. What is asked of it is asked as root."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.place = f"/opt/crash-{secrets.token_hex(3)}"
        self.used: set[str] = set()  # resources of which a case made leases

    # Asking

    def argv(self, *words: str) -> list[str]:
        """What runs words on it as root."""
        return sshfiles.command(PATHS, self.name, "sudo " + shlex.join(words))

    def alone(self, *words: str) -> list[str]:
        """The same, over a connection that nobody shares."""
        argv = self.argv(*words)
        return [argv[0], *own_connection.ALONE, *argv[1:]]

    def run(self, *words: str, text: str = "", timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a program on it."""
        return subprocess.run(
            self.argv(*words), input=text, capture_output=True, text=True, errors="replace", check=False, timeout=timeout
        )

    def sh(self, script: str, timeout: float = 90) -> str:
        """Run a script that must succeed; return what it printed, without the last line end."""
        done = self.run("sh", "-euc", script, timeout=timeout)
        assert done.returncode == 0, f"{self.name}: {script}: {done.returncode}: {done.stdout[-1000:]} {done.stderr[-1000:]}"
        return done.stdout.removesuffix("\n")

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """Ask its keeper; return the answer with the exit code in ``code``. An answer that is none is a failure."""
        return answer(self.run(KEEPER, "call", verb, text=json.dumps(request)))

    def must(self, verb: str, **request: Any) -> dict[str, Any]:
        """Ask its keeper for something that it has to do."""
        found = self.ask(verb, **request)
        assert found["code"] == 0, (verb, found)
        return found

    def start(self, verb: str, **request: Any) -> Asked:
        """Ask its keeper something that takes a while."""
        return Asked(self.argv(KEEPER, "call", verb), request)

    # Looking

    def status(self, resource: str = "") -> dict[str, Any]:
        """Return how a resource stands."""
        name = resource or self.name
        rows = self.must("status")["leases"]
        return next((row for row in rows if row["resource"] == name), {"resource": name, "state": "free", "items": []})

    def until(self, what: str, ready: Callable[[], Any], seconds: float) -> Any:
        """Look until something is true, and return it; jittered."""
        end = time.monotonic() + seconds
        while True:
            found = ready()
            if found:
                return found
            assert time.monotonic() < end, f"{self.name}: not within {seconds:g} s: {what}; {self.status()}"
            time.sleep(random.uniform(0.1, 0.3))  # noqa: S311 - jitter, not a secret

    def until_state(self, state: str, seconds: float, resource: str = "") -> dict[str, Any]:
        """Wait until a lease is in a state."""
        begun = time.monotonic()
        found: dict[str, Any] = self.until(state, lambda: _in(self.status(resource), state), seconds)
        return {**found, "waited": round(time.monotonic() - begun, 1)}

    def until_unit(self, pattern: str, seconds: float = 20) -> None:
        """Wait until a unit of a pattern runs, looking on the machine itself: it may run for a moment only."""
        turns = int(seconds * 20)
        look = f"for turn in $(seq {turns}); do systemctl -q is-active '{pattern}' && exit 0; sleep 0.05; done; exit 1"
        self.sh(look, timeout=seconds + 60)

    def read(self, path: str) -> str:
        """Return a file's contents, without the last line end."""
        return self.sh(f"cat -- {shlex.quote(path)}")

    def write(self, path: str, text: str) -> None:
        """Put a file there as somebody else would; not by us."""
        done = self.run("sh", "-euc", f"cat >{shlex.quote(path)}", text=text)
        assert done.returncode == 0, done.stderr

    def names(self) -> list[str]:
        """Return what is in the case's own directory, hidden files too."""
        return self.sh(f"cd {self.place} && find . -mindepth 1 | sort").split()

    def world(self) -> dict[str, str]:
        """Return what has to be as it was after a case."""
        rows = (line.partition(": ") for line in self.sh(WORLD).splitlines())
        return {key: value for key, _, value in rows}

    def traces(self) -> list[str]:
        """Return what is left of runs."""
        rows = [row for row in self.must("status")["leases"] if row["state"] != "free"]
        held = [f"{row['resource']} is {row['state']}: {row['reason']}" for row in rows]
        return [*held, *self.sh(TRACES).splitlines()]

    def processes(self, text: str) -> list[str]:
        """Return the processes whose command line has a text; who asks has it, too, but spelled otherwise."""
        return self.run("pgrep", "-fa", f"[{text[0]}]{re.escape(text[1:])}").stdout.splitlines()

    def tidy(self) -> bool:
        """Whether nothing is left of runs."""
        return not self.traces()

    # Before and after a case

    def begin(self) -> None:
        """Make the case's own directory."""
        self.sh(f"mkdir -m 0755 {self.place}")

    def give_back(self) -> None:
        """Take everything away that a case left, whatever happened; what a good case leaves is only its directory."""
        for row in self.must("status")["leases"]:
            if row["state"] == "free":
                continue
            self.ask("recover", resource=row["resource"], run_id=row.get("run_id"), force=True)
            for item in self.status(row["resource"]).get("items", []):
                if item["state"] == "conflict":
                    self.ask("settle", resource=row["resource"], item=item["item"], keep="current", reason="the case failed")
            if self.status(row["resource"])["state"] != "free":  # its state is damaged: the next case needs a machine all the same
                self.sh(f"rm -rf {STATE}/leases/{row['resource']} {STATE}/runs/*/{row['resource']}")
        self.sh(f"umount -R {self.place} 2>/dev/null || true; rm -rf {self.place}")
        for name in self.used - {self.name}:  # only cases have resources by such names
            places = " ".join(f"{STATE}/{folder}/{name}" for folder in ("leases", "tokens", "queue", "runs/*"))
            self.sh(f"rm -rf {places} {STATE}/restore-{name}.lock; rmdir {STATE}/runs/* 2>/dev/null || true")

    # Lending

    def lend(self, resource: str = "", **more: Any) -> Loan:
        """Take a lease."""
        return Loan(self, resource or self.name, **more)


class Asked:
    """A question to a keeper that is not answered yet."""

    def __init__(self, argv: list[str], request: Mapping[str, Any]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(dict(request)))
        self.process.stdin.close()
        self.process.stdin = None

    def answer(self, timeout: float = 90) -> dict[str, Any]:
        """Wait for the answer."""
        out, err = self.process.communicate(timeout=timeout)
        return answer(subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err))

    def kill(self) -> None:
        """The one who asked dies."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):  # not to the end: whoever shares the connection has them, too
            if stream is not None:
                stream.close()


class Loan:
    """A lease with what its run knows: a small controller, of which the case decides how it dies."""

    def __init__(self, machine: Machine, resource: str, **more: Any) -> None:
        self.machine = machine
        self.resource = resource
        self.wish = wish(resource, **more)
        self.run_id = str(self.wish["run_id"])
        machine.used.add(resource)
        self.given = machine.must("acquire", **self.wish)
        self.fence = {**{key: self.wish[key] for key in ("resource", "run_id", "nonce")}, "token": self.given["token"]}

    def look(self, **probes: Any) -> None:
        """Take the look from before."""
        self.machine.must("snapshot", fence=self.fence, probes=probes, proof={"deadline": 10})

    def looking_at(self, *paths: str) -> None:
        """Take the look from before with the contents of files."""
        self.look(**{f"file{number}": {"kind": "file", "path": path} for number, path in enumerate(paths)})

    def call(self, verb: str, item: str, **request: Any) -> dict[str, Any]:
        """Make a guarded call, whatever comes of it."""
        return self.machine.ask(verb, fence=self.fence, item=item, **request)

    def does(self, verb: str, item: str, **request: Any) -> dict[str, Any]:
        """Make a guarded call that must succeed."""
        found = self.call(verb, item, **request)
        assert found["code"] == 0, (verb, item, found)
        return found

    def starts(self, verb: str, item: str, **request: Any) -> Asked:
        """Make a guarded call that takes a while."""
        return self.machine.start(verb, fence=self.fence, item=item, **request)

    def recover(self) -> dict[str, Any]:
        """Put everything back, as the run itself does."""
        return self.machine.ask("recover", resource=self.resource, run_id=self.run_id, nonce=self.wish["nonce"])

    def is_refused(self, path: str = "") -> str:
        """Try to write with the fence of this lease; it must be refused for it. Return the reason."""
        late = self.call("file", "late", path=path or f"{self.machine.place}/late", content="late")
        assert (late["code"], late["error"]["kind"]) == (3, "fence"), late
        return str(late["error"]["message"])

    def evidence(self) -> dict[str, Any]:
        """Return what the run left for a reader."""
        return self.machine.must("evidence", resource=self.resource, run_id=self.run_id)

    def is_over(self, seconds: float = 15) -> dict[str, Any]:
        """The lease is free, the run is closed and proven, its journal can be read, its nonce stands nowhere."""
        self.machine.until_state("free", seconds, self.resource)
        self.machine.until("the run is closed", lambda: self.evidence()["closed"], 15)
        found = self.evidence()
        assert (found["proof"] or {}).get("proven"), found["proof"]
        assert "UNREADABLE" not in {record["type"] for record in found["journal"]}
        nonce = self.wish["nonce"]
        assert self.machine.run("grep", "-rlF", nonce, STATE, "/run/benchkeeper").stdout == ""
        return found

    def hold(self, controller: int) -> None:
        """Hold the lease by a connection of its own on behalf of a process, as module lease does."""
        argv = self.machine.alone(KEEPER, "hold")
        watch = {"pid": controller, "start_time": None}
        lines = [json.dumps(one) for one in ({"argv": argv}, {"fence": self.fence, "watch": watch, "ttl": self.wish["ttl"]})]
        told = subprocess.run(
            [sys.executable, _holder.__file__],
            input="\n".join([*lines, ""]),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert json.loads(told.stdout).get("held"), told.stdout


def wish(resource: str, **more: Any) -> dict[str, Any]:
    """Return a request for a lease that was never made before."""
    mine = {"run_id": f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}", "nonce": secrets.token_hex(16)}
    return {"resource": resource, **mine, "ttl": 60, "holder": NOBODY, **more}


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a keeper said, with its exit code in ``code``. Whoever says nothing, or a traceback, is broken."""
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    assert isinstance(found, dict), f"no answer, exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return {**found, "code": done.returncode}


def _in(row: dict[str, Any], state: str) -> dict[str, Any]:
    return row if row["state"] == state else {}


@contextlib.contextmanager
def controller() -> Iterator[subprocess.Popen[bytes]]:
    """A process on whose behalf leases are held; it does nothing else, so that it can be killed at any boundary."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
