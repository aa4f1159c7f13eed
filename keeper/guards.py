"""Units that read guarded files: they do not start at a boot before the file is back (see `install`)."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, List

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal

from keeper.errors import USAGE, KeeperError

if TYPE_CHECKING:
    from keeper.core import Keeper
    from keeper.store import RunDir

ETC = "/etc/benchkeeper"
FOLDER = "guards"  # below it: on the root filesystem, where it can be read before anything is mounted
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,240}\.(?:service|socket|timer|path)\Z")


def check_unit(unit: object) -> str:
    """Return the name of a unit that reads a guarded file. Raises KeeperError(usage)."""
    if not isinstance(unit, str) or unit.startswith("-") or not _UNIT.match(unit):
        raise KeeperError(USAGE, f"not a unit name with its suffix: {unit!r}")
    return unit


def add(files: _fsio.Files, unit: str) -> None:
    """Let a unit wait for boot stage 1, durably; no reload is needed, since it counts at the next boot only."""
    for parent, name in (_fsio.split(ETC), (ETC, FOLDER)):
        with _fsio.opened(files, parent) as directory:
            if directory.stat(name) is None:
                directory.mkdir(name, 0o755, os.geteuid(), os.getegid())
                directory.sync()
    with _fsio.opened(files, f"{ETC}/{FOLDER}") as directory:
        if directory.stat(unit) is None:
            directory.create(unit, _fsio.Content(b"", 0o644, os.geteuid(), os.getegid()))
            directory.sync(unit)
            directory.sync()


def remove(keeper: Keeper, units: List[str], cleaned: RunDir) -> None:
    """Let the units of a run that is cleaned up start at a boot as ever, but those that another run's files still need."""
    wanted = set()
    for resource in keeper.store.resources():
        for run in keeper.store.open_runs(resource):
            if run.path == cleaned.path:
                continue  # what was confirmed in it stays open for ever
            with contextlib.suppress(_journal.JournalError, OSError):
                wanted |= {one.intent.get("unit") for one in run.items() if one.kind == "file" and one.open}
    with contextlib.suppress(FileNotFoundError), _fsio.opened(keeper.store.files, f"{ETC}/{FOLDER}") as directory:
        for unit in units:
            if unit not in wanted:
                with contextlib.suppress(FileNotFoundError):
                    directory.unlink(unit)
        directory.sync()
    for parent, name in ((ETC, FOLDER), _fsio.split(ETC)):
        with contextlib.suppress(OSError), _fsio.opened(keeper.store.files, parent) as directory:
            directory.rmdir(name)  # only when it is empty
