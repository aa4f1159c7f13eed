"""Probes of the host itself: git, unit, sockets, command. None of them changes anything."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import pwd
import re
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Set

from ansible_collections.benchkeeper.core.plugins.module_utils._probes import Context, ProbeError, Seen, Spec, need
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_files import describe, probe_file, select
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import why

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OUTPUT_LIMIT = 256 * 1024  # bytes of a command's output that are looked at
SHOWN = 16 * 1024  # characters of it that travel
_LISTEN = "0A"  # the kernel's number for LISTEN in /proc/net/tcp
_UNIT = re.compile(r"[A-Za-z0-9@._:\\-]+\Z")


class Ran:
    """A finished command: ``rc`` (minus the signal that ended it), ``stdout``, ``stderr``, ``seconds``."""

    def __init__(self, rc: int, stdout: bytes, stderr: bytes, seconds: float) -> None:
        self.rc = rc
        self.stdout = stdout.decode("utf-8", "replace")
        self.stderr = stderr.decode("utf-8", "replace")
        self.seconds = seconds


def run(
    argv: Sequence[str],
    *,
    user: Optional[str] = None,
    cwd: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    timeout: float = 10.0,
) -> Ran:
    """Run a command with a small environment of its own, as a user, in a session of its own.

    Raises:
        ProbeError: It cannot be started, or did not end in ``timeout`` seconds (its whole group is killed then).
    """
    account = _account(user)
    surroundings = {"PATH": _PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    identity: Dict[str, Any] = {}
    if account is not None:
        surroundings.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
        if account.pw_uid != os.geteuid():
            groups = os.getgrouplist(account.pw_name, account.pw_gid)
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    surroundings.update(env or {})
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=surroundings,
            start_new_session=True,
            **identity,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        raise ProbeError(f"{argv[0]}: {reason}") from error
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise ProbeError(f"{argv[0]}: not finished after {timeout:g} s") from error
    return Ran(process.returncode, stdout[:OUTPUT_LIMIT], stderr[:OUTPUT_LIMIT], time.monotonic() - started)


def _account(user: Optional[str]) -> Optional[pwd.struct_passwd]:
    try:
        return pwd.getpwnam(user) if user else None
    except KeyError as error:
        raise ProbeError(f"no user {user}") from error


def probe_command(_name: str, spec: Spec, context: Context) -> Seen:
    """``command {argv, cwd?, user?, env?, timeout?, keep_output?, json?, keep?}``: a command that only looks.

    Observes ``rc``, ``seconds``; with ``keep_output`` the redacted ``stdout`` and ``stderr``; with ``json`` the kept
    part of what it printed.
    """
    argv = need(spec, "argv")
    if isinstance(argv, str) or not all(isinstance(part, str) for part in argv):
        raise ProbeError("argv is a list of texts")
    ran = run(
        argv,
        user=spec.get("user"),
        cwd=spec.get("cwd"),
        env=spec.get("env"),
        timeout=float(spec.get("timeout", 10.0)),
    )
    seen: Dict[str, Any] = {"rc": ran.rc, "seconds": round(ran.seconds, 3)}
    if spec.get("keep_output"):
        seen["stdout"] = context.redactor.text(ran.stdout)[-SHOWN:]
        seen["stderr"] = context.redactor.text(ran.stderr)[-SHOWN:]
    if spec.get("json"):
        try:
            seen["json"] = select(json.loads(ran.stdout), spec.get("keep", "*"), context)
        except ValueError:
            seen["not_json"] = True
    return Seen(observed=seen)


def _git_status(raw: str) -> Dict[str, Any]:
    """Read ``git status --porcelain=v2 --branch -z``."""
    seen: Dict[str, Any] = {"head": None, "branch": None, "dirty": []}
    records = iter(raw.split("\0"))
    for record in records:
        if record.startswith("# branch.oid "):
            oid = record[13:]
            seen["head"] = None if oid == "(initial)" else oid
        elif record.startswith("# branch.head "):
            name = record[14:]
            seen["branch"] = None if name == "(detached)" else name
        elif record.startswith("1 "):
            seen["dirty"].append(f"{record.split(' ', 8)[1]} {record.split(' ', 8)[8]}")
        elif record.startswith("2 "):
            seen["dirty"].append(f"{record.split(' ', 9)[1]} {record.split(' ', 9)[9]}")
            next(records, None)  # where it was renamed from
        elif record.startswith("u "):
            seen["dirty"].append(f"{record.split(' ', 10)[1]} {record.split(' ', 10)[10]}")
        elif record.startswith("? "):
            seen["dirty"].append(f"?? {record[2:]}")
    seen["dirty"].sort()
    return seen


def probe_git(_name: str, spec: Spec, _context: Context) -> Seen:
    """``git {path, user?, timeout?}``: commit, branch and what differs from it. git runs as the directory's owner."""
    path = str(need(spec, "path"))
    seen = describe(path)
    if seen is None or describe(os.path.join(path, ".git")) is None:  # noqa: PTH118 - a text, not a path
        return Seen({"exists": False})
    # The repository belongs to somebody else: neither its hooks nor its monitor may run, its index is not refreshed.
    argv = [
        *("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", path),
        *("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal"),
    ]
    ran = run(argv, user=str(spec.get("user") or seen["owner"]), timeout=float(spec.get("timeout", 10.0)))
    if ran.rc != 0:
        raise ProbeError(f"git: rc {ran.rc}: {ran.stderr.strip()[:120]}")
    return Seen({"exists": True, **_git_status(ran.stdout)})


# What the generator of keeper/install.py gives a unit that reads a borrowed file; a test compares the two.
GENERATED = "/run/systemd/generator/"  # in memory; the same text anywhere else would outlive the boot, and is a difference
GUARD_DROPIN = ".d/50-benchkeeper.conf"
GUARD_TEXT = "[Unit]\nRequires=benchkeeper-boot.service\nAfter=benchkeeper-boot.service\n"

_PROPERTIES = {
    "LoadState": "load",
    "UnitFileState": "enabled",
    "FragmentPath": "fragment",
    "DropInPaths": "dropins",
    "ActiveState": "active",
    "SubState": "sub",
    "MainPID": "pid",
    "StateChangeTimestampMonotonic": "since",
    "NRestarts": "restarts",
    "Result": "result",
}


def parse_unit(raw: str) -> Dict[str, str]:
    """Read ``systemctl show``: our names for its properties, empty where it does not know one."""
    shown = dict(line.partition("=")[::2] for line in raw.splitlines() if "=" in line)
    return {ours: shown.get(theirs, "") for theirs, ours in _PROPERTIES.items()}


def _is_guard(path: str) -> bool:
    """Whether a drop-in is what the keeper's generator made at the last boot for a unit that reads a borrowed file.

    It is in memory and goes with the next boot, or with the next time that systemd reads its units.
    """
    if not (path.startswith(GENERATED) and path.endswith(GUARD_DROPIN)):
        return False
    try:
        return Path(path).read_bytes() == GUARD_TEXT.encode("ascii")
    except OSError:
        return False


def probe_unit(name: str, spec: Spec, context: Context) -> Seen:
    """``unit {unit}``: what is installed and whether it runs. ``since`` is in seconds of the monotonic clock."""
    unit = str(need(spec, "unit"))
    if not _UNIT.match(unit) or unit.startswith("-"):
        raise ProbeError("not a unit's name")
    ran = run(["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", unit])
    if ran.rc != 0:
        raise ProbeError(f"systemctl: rc {ran.rc}: {ran.stderr.strip()[:120]}")
    shown = parse_unit(ran.stdout)
    invariant: Dict[str, Any] = {key: shown[key] for key in ("load", "enabled", "fragment", "active")}
    if shown["fragment"]:
        file = probe_file(name, {"path": shown["fragment"]}, context).invariant or {}
        invariant["fragment_fp"] = file.get("fp")
    invariant["dropins"] = {
        path: (probe_file(name, {"path": path}, context).invariant or {}).get("fp")
        for path in sorted(shown["dropins"].split())
        if not _is_guard(path)
    }
    observed = {
        "active": shown["active"],
        "sub": shown["sub"],
        "result": shown["result"],
        "pid": int(shown["pid"] or 0),
        "since": int(shown["since"] or 0) / 1e6,
        "restarts": int(shown["restarts"] or 0),
    }
    return Seen(invariant, observed)


def parse_listeners(raw: str, protocol: str) -> Set[str]:
    """Read ``/proc/net/tcp`` or ``tcp6``: the listening addresses, such as ``tcp 0.0.0.0:3333`` or ``tcp [::]:22``."""
    found = set()
    for line in raw.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            found.add(f"{protocol} {_endpoint(fields[1])}")
    return found


def _endpoint(text: str) -> str:
    address, _colon, port = text.partition(":")
    # The kernel prints each 32-bit word in the byte order of the machine.
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    parsed = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    return f"[{parsed}]:{int(port, 16)}" if parsed.version == 6 else f"{parsed}:{int(port, 16)}"


def probe_sockets(_name: str, _spec: Spec, context: Context) -> Seen:
    """``sockets {}``: the addresses that somebody listens on in the host's network."""
    try:
        listening = parse_listeners(_proc_net(context, "tcp"), "tcp")
    except OSError as error:
        raise ProbeError(why(error)) from error
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        listening |= parse_listeners(_proc_net(context, "tcp6"), "tcp")
    return Seen({"listen": sorted(listening)})


def _proc_net(context: Context, file: str) -> str:
    return Path(f"{context.root}/proc/net/{file}").read_text("ascii")
