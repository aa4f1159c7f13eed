"""How a module talks to the keeper of its host: one JSON request on standard input, one JSON answer back."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional, Protocol, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._looking import look_context

__all__ = ["LEASE_OPTION", "PROGRAM", "KeeperError", "call", "guarded", "look_context", "program_sha256", "recover", "spent"]

PROGRAM = "/usr/local/lib/benchkeeper/keeper"
PLACE = "/run/benchkeeper"
# What the hold of a lease answers, see keeper/served.py.
HELD = ("command", "created", "engine", "file", "look", "service", "snapshot", "tree")
_GREETING_WAIT = 5.0  # seconds until a hold that does not greet is passed by
UNPROVEN = 4  # exit code of an answer that says: not everything is back
_LAST_WORDS = 400
_WORK = ("engine", "command", "call", "service")  # kinds of change whose undo is mostly the product's own time

# Only the nonce is secret: were the whole lease, Ansible would blot out the host's name in every result.
LEASE_OPTION: Dict[str, Any] = {
    "type": "dict",
    "required": True,
    "options": {
        "resource": {"type": "str", "required": True},
        "run_id": {"type": "str", "required": True},
        "nonce": {"type": "str", "required": True, "no_log": True},
        "token": {"type": "int", "required": True, "no_log": False},
    },
}

_spent = [0.0]

Run = Callable[[List[str], bytes], Tuple[int, bytes, bytes]]


class KeeperError(Exception):
    """The keeper refused or failed.

    Attributes:
        answer: What it said, ``{error: {kind, message}, busy?, lease?}``; empty when it said nothing readable.
    """

    def __init__(self, message: str, answer: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.answer = dict(answer)


class Module(Protocol):
    """What is used of AnsibleModule."""

    params: Dict[str, Any]

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """End the module as failed."""


def _run(argv: List[str], request: bytes) -> Tuple[int, bytes, bytes]:
    done = subprocess.run(argv, input=request, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


def ask_hold(verb: str, request: Mapping[str, Any], place: str = PLACE) -> Optional[Tuple[int, bytes, bytes]]:
    """Let the process that holds the lease here answer a guarded call, which spares the start of a program.

    Returns:
        Exit code, answer and last words as of a program; None when nobody answers there, and nothing was asked.
    """
    resource = (request.get("fence") or {}).get("resource")
    if verb not in HELD or not isinstance(resource, str) or "/" in resource:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_GREETING_WAIT)
        try:
            line.connect(f"{place}/{resource}.sock")
            if not line.recv(1):
                return None
        except OSError:  # no hold, one that just ended, or one that is stopped
            return None
        line.settimeout(None)
        # From here on it may act: who it was that died is told, and nobody else is asked the same.
        out = b""
        try:
            line.sendall(json.dumps({"verb": verb, "request": request}).encode("utf-8"))
            line.shutdown(socket.SHUT_WR)
            while True:
                chunk = line.recv(1024 * 1024)
                if not chunk:
                    break
                out += chunk
            said = json.loads(out)
            return int(said["code"]), json.dumps(said["answer"]).encode("utf-8"), b""
        except (OSError, ValueError, KeyError, TypeError):
            return -9, b"", b"the process that answered for the hold of this lease died"


def call(verb: str, request: Mapping[str, Any], run: Run = _run) -> Dict[str, Any]:
    """Ask the keeper for one thing and return its answer.

    An answer that says "not restored" or "not proven" is an answer, too, and is returned.

    Args:
        verb: What to do, see ``keeper call``.
        request: What it is to be done with; it travels on standard input only.
        run: How a program is run.

    Raises:
        KeeperError: When it refuses, fails, or is not installed.
    """
    begun = time.monotonic()
    try:
        held = ask_hold(verb, request) if run is _run else None
        code, out, err = held or run([sys.executable, PROGRAM, "call", verb], json.dumps(request).encode("utf-8"))
    except OSError as error:
        raise KeeperError(f"the keeper could not be run: {error.strerror}", {}) from error
    took = time.monotonic() - begun
    try:
        answer = json.loads(out)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        said = err.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][-_LAST_WORDS:]
        missing = "" if Path(PROGRAM).exists() else f"; {PROGRAM} is not there"
        # Whether it holds anything only it can say, so no run exchanges it.
        page = "docs/runbooks/unproven-host.md, 'If the keeper does not start'"
        raise KeeperError(f"the keeper ended with {code} and no answer{missing}: {said}; see {page}", {})
    if "error" in answer or code not in (0, UNPROVEN):
        raise KeeperError(str((answer.get("error") or {}).get("message") or f"ended with {code}"), answer)
    _spent[0] += max(0.0, took - work_seconds(verb, answer))
    return {**answer, "keeper_wall": spent()}


def work_seconds(verb: str, answer: Mapping[str, Any]) -> float:
    """Return how long what the keeper was asked for took by itself: a program, the engine, a look, signs of life."""
    if verb == "command":
        return float(answer.get("seconds") or 0.0)
    if verb in ("snapshot", "look"):
        return float((answer.get("snapshot") or {}).get("seconds") or 0.0)
    if verb == "engine":
        return sum(float(one.get("seconds") or 0.0) for one in answer.get("calls") or ())
    parts = (answer.get("resources") or {}).values() if verb == "recover" else ()
    undone = [one for part in parts for one in part.get("items") or () if one.get("kind") in _WORK]
    proofs = sum(float(part.get("proof_seconds") or 0.0) for part in parts)
    return proofs + sum(float(one.get("seconds") or 0.0) for one in undone)


def spent() -> float:
    """Return the seconds that this module's calls cost because of the keeper: all of their time but the work itself."""
    return round(_spent[0], 3)


def guarded(module: Module, verb: str, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Make a guarded call for a module with option ``lease``; end the module as failed when it is refused."""
    try:
        return call(verb, {"fence": dict(module.params["lease"]), **request})
    except KeeperError as error:
        module.fail_json(msg=str(error), **error.answer)


def recover(request: Mapping[str, Any], run: Run = _run) -> Dict[str, Any]:
    """Put one resource back and prove it; return how it went with what the run left for a reader.

    Args:
        request: ``{resource, run_id?, nonce?, force?, holder_gone?, begin?}``; with ``begin`` it is only set off.
        run: How a program is run.

    Raises:
        KeeperError: Somebody else holds it, or the keeper cannot tell.
    """
    answer = call("recover", {**request, "evidence": True}, run)["resources"][request["resource"]]
    return {"state": "free", "items": [], "failures": [], **answer, "keeper_wall": spent()}


def program_sha256(path: str = PROGRAM) -> Optional[str]:
    """Return the digest of the installed keeper, None when there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None
