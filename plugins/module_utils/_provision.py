# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a baseline on a machine of our own: directories, files, links, units, commands, waits."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import random
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

RECORDS = Path("/var/lib/benchkeeper-baseline")
TAIL = 1200


class FailedError(Exception):
    """A step could not be done; the text says which and why."""


def wanted_mode(step: Mapping[str, Any], default: str) -> int:
    """Return a step's mode as a number; modes are written as octal strings."""
    return int(str(step.get("mode", default)), 8)


def must_write(step: Mapping[str, Any], on_disk: bytes | None, recorded: str | None) -> bool:
    """Tell whether a file is to be written.

    An ordinary file is compared with what is there. A file with `once` is completed by a program after us, so only our own text
    counts: it is written when it is missing, or when the text differs from the one recorded at the last writing.
    """
    if on_disk is None:
        return True
    if step.get("once"):
        return recorded != digest(step["content"])
    return on_disk != str(step["content"]).encode()


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def touches(paths: Sequence[str], changed: Sequence[str]) -> bool:
    """Tell whether one of the changed files is one of the paths or below it."""
    return any(file == path or file.startswith(path.rstrip("/") + "/") for path in paths for file in changed)


class Provisioner:
    """Walks through steps and remembers what it did."""

    def __init__(self, name: str, *, dry_run: bool, records: Path = RECORDS) -> None:
        """Read the record of last time, if there is one."""
        self.dry_run = dry_run
        self.did: List[str] = []
        self._changed: List[str] = []
        self._record = records / f"{name}.json"
        self._texts: Dict[str, str] = {}
        with suppress(OSError, ValueError):
            self._texts = dict(json.loads(self._record.read_text(encoding="utf-8")))

    def walk(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Do every step; raise FailedError at the first that cannot be done."""
        kinds = {"dir": self._dir, "file": self._file, "link": self._link, "unit": self._unit}
        kinds |= {"command": self._command, "wait": self._wait}
        for step in steps:
            kind = str(step.get("kind"))
            if kind not in kinds:
                raise FailedError(f"unknown kind of step: {kind}")
            try:
                kinds[kind](step)
            except (OSError, KeyError, ValueError) as error:
                raise FailedError(f"{kind} {step.get('path') or step.get('dest') or step.get('name') or ''}: {error}") from error

    def _own(self, path: Path, step: Mapping[str, Any], mode: int) -> bool:
        """Give a path its owner and mode; tell whether that changed anything."""
        uid = pwd.getpwnam(str(step.get("owner", "root"))).pw_uid
        gid = grp.getgrnam(str(step.get("group", "root"))).gr_gid
        status = path.stat()
        if (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (uid, gid, mode):
            return False
        if not self.dry_run:
            os.chown(path, uid, gid)
            path.chmod(mode)
        return True

    def _dir(self, step: Mapping[str, Any]) -> None:
        path, mode = Path(step["path"]), wanted_mode(step, "0755")
        missing = [each for each in (path, *path.parents) if not each.exists()]
        if missing and not self.dry_run:
            path.mkdir(parents=True)
            for each in missing:
                self._own(each, step, mode)
        if missing or self._own(path, step, mode):
            self.did.append(f"dir {path}")

    def _file(self, step: Mapping[str, Any]) -> None:
        path, mode = Path(step["dest"]), wanted_mode(step, "0644")
        on_disk = path.read_bytes() if path.is_file() else None
        if not must_write(step, on_disk, self._texts.get(str(path))):
            if not step.get("once") and self._own(path, step, mode):
                self.did.append(f"file {path}")
            return
        self.did.append(f"file {path}")
        self._changed.append(str(path))
        if self.dry_run:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(str(step["content"]).encode())
            self._own(Path(partial), step, mode)
            Path(partial).rename(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        self._texts[str(path)] = digest(step["content"])
        self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._record.write_text(json.dumps(self._texts, indent=1), encoding="utf-8")

    def _link(self, step: Mapping[str, Any]) -> None:
        path, target = Path(step["path"]), str(step["target"])
        if path.is_symlink() and str(path.readlink()) == target:
            return
        self.did.append(f"link {path}")
        if not self.dry_run:
            path.unlink(missing_ok=True)
            path.symlink_to(target)

    def _unit(self, step: Mapping[str, Any]) -> None:
        name = str(step["name"])
        shown = self._systemctl("show", "-p", "ActiveState,UnitFileState,NeedDaemonReload", name)
        now = dict(line.partition("=")[::2] for line in shown.splitlines())
        actions: List[Tuple[str, ...]] = []
        fresh = touches(step.get("restart_for") or [], self._changed)
        if fresh or now.get("NeedDaemonReload") == "yes":
            actions.append(("daemon-reload",))
        if step.get("enabled") and now.get("UnitFileState") != "enabled":
            actions.append(("enable", name))
        running = now.get("ActiveState") in {"active", "activating", "reloading"}
        if step.get("state") == "started" and (fresh or not running):
            actions.append(("restart", name))
        elif step.get("state") == "stopped" and running:
            actions.append(("stop", name))
        for action in actions:
            self.did.append(f"systemctl {' '.join(action)}")
            if not self.dry_run:
                self._systemctl(*action)

    def _systemctl(self, *arguments: str) -> str:
        code, said = _run({"argv": ["systemctl", *arguments], "timeout": 60})
        if code:
            raise FailedError(f"systemctl {' '.join(arguments)}: {said.strip()[-TAIL:]}")
        return said

    def _command(self, step: Mapping[str, Any]) -> None:
        if step.get("creates") and Path(step["creates"]).exists():
            return
        began = time.monotonic()
        if not self.dry_run:
            code, said = _run(step)
            if code:
                raise FailedError(f"{_shown(step)} ended with {code}: {said.strip()[-TAIL:]}")
        self.did.append(f"command {_shown(step)} ({time.monotonic() - began:.1f} s)")

    def _wait(self, step: Mapping[str, Any]) -> None:
        deadline = time.monotonic() + float(step.get("timeout", 60))
        while not self.dry_run:
            code, said = _run({**step, "timeout": max(1.0, deadline - time.monotonic())})
            if code == 0 and str(step.get("contains", "")) in said:
                return
            if time.monotonic() >= deadline:
                limit = step.get("timeout", 60)
                raise FailedError(f"{_shown(step)} was not good within {limit} s (last: {code}): {said.strip()[-TAIL:]}")
            time.sleep(random.uniform(0.3, 0.7))  # noqa: S311 -- jitter, not a secret


def _shown(step: Mapping[str, Any]) -> str:
    return " ".join(str(word) for word in step["argv"])[:100]


def _run(step: Mapping[str, Any]) -> Tuple[int, str]:
    argv = [str(word) for word in step["argv"]]
    user = step.get("user")
    if user:
        # A login environment of the user's own, without a terminal and without a password.
        argv = ["runuser", "-u", str(user), "--", "env", f"HOME={pwd.getpwnam(str(user)).pw_dir}", *argv]
    try:
        done = subprocess.run(
            argv,
            check=False,
            cwd=step.get("cwd") or "/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=float(step.get("timeout", 60)),
        )
    except subprocess.TimeoutExpired:
        return 124, f"no end within {step.get('timeout', 60)} s"
    return done.returncode, done.stdout.decode(errors="replace")
