"""A connection of one's own to a task's host: not shared with others, with the words that Ansible itself would use.

What holds a lease must end when its controller ends, and what confirms a change must prove that one can still come in: neither
may ride on a connection that somebody else keeps open.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _holder, _keeper_client

# The first word on a setting counts, so these come before whatever the inventory says.
ALONE = (
    *("-o", "ControlMaster=no"),
    *("-o", "ControlPath=none"),
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
)
HOLD_LIMIT = 60.0  # seconds until the holder must have said how it began


def words(connection: Any, command: str) -> Optional[List[str]]:
    """Return what runs a command on a connection's host, over a connection of its own.

    Args:
        connection: An Ansible connection, with the become plugin of its task.
        command: A shell command without anything secret in it.

    Returns:
        The argv; None where there is no such way: another kind of connection, or one that asks for a password.
    """
    become = getattr(connection, "become", None)
    if become is not None:
        if become.get_option("become_pass"):
            return None
        command = become.build_become_command(command, connection._shell)  # noqa: SLF001 - what Ansible's own actions use
    transport = str(getattr(connection, "transport", ""))
    if transport == "local":
        return ["/bin/sh", "-c", command]
    if transport != "ssh" or connection.get_option("password"):
        return None
    executable = str(connection.get_option("ssh_executable"))
    built = connection._build_command(executable, "ssh", connection.host, command)  # noqa: SLF001 - nothing public knows it all
    argv = [word.decode("utf-8", "surrogateescape") for word in built]
    return [argv[0], *ALONE, *argv[1:]]


def keeper_words(connection: Any, verb: str, interpreter: str) -> Optional[List[str]]:
    """Return what runs the keeper of a connection's host, see ``words``."""
    return words(connection, f"{interpreter} {_keeper_client.PROGRAM} {verb}")


def interpreter(task: Any, task_vars: Optional[Mapping[str, Any]]) -> str:
    """Return the Python of a task's host: the one that its inventory names, else the distribution's."""
    known: Mapping[str, Any] = task_vars or {}
    if task.delegate_to:
        known = (known.get("ansible_delegated_vars") or {}).get(task.delegate_to) or {}
    named = str(known.get("ansible_python_interpreter") or "")
    return named if named.startswith("/") else "/usr/bin/python3"


class Holding:
    """A connection that is made while its lease is still being asked for."""

    def __init__(self, argv: List[str]) -> None:
        self._process = _process([sys.executable, _holder.__file__], separate=True)
        assert self._process.stdin is not None  # noqa: S101 - asked for
        self._process.stdin.write(json.dumps({"argv": argv}).encode("utf-8") + b"\n")
        self._process.stdin.flush()

    def hold(self, fence: Mapping[str, Any], watch: Mapping[str, Any], ttl: float) -> Dict[str, Any]:
        """Hold a lease in the background from now on; return what the keeper said first, or ``{msg}``."""
        watched = {key: watch[key] for key in ("pid", "start_time")}
        spec = {"fence": dict(fence), "watch": watched, "ttl": ttl, "state": os.environ.get(_holder.MARK, "")}
        return _answer(self._process, spec)

    def drop(self) -> None:
        """Let go of it; nothing is held."""
        self._process.communicate(b"")


def call(argv: List[str], request: Mapping[str, Any]) -> Dict[str, Any]:
    """Ask the keeper one thing over a connection of its own; return its answer, or ``{msg}``."""
    with _process(argv, separate=False) as process:
        return _answer(process, request)


def _process(argv: List[str], *, separate: bool) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    # The environment of a worker holds what Ansible was given, and what is started here outlives it.
    environment = {key: os.environ[key] for key in ("HOME", "PATH", "USER", "SSH_AUTH_SOCK", "LANG") if key in os.environ}
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd="/", start_new_session=separate)


def _answer(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> Dict[str, Any]:
    try:
        out, err = process.communicate(json.dumps(request).encode("utf-8") + b"\n", timeout=HOLD_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"msg": f"no answer within {HOLD_LIMIT:g} s"}
    for line in reversed(out.splitlines()):
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                return document
    return {"msg": err.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][-300:] or f"ended with {process.returncode}"}
