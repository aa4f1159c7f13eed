# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the programs that Ansible builds of its modules from one run to the next."""

from __future__ import annotations

DOCUMENTATION = """
name: built_modules
type: aggregate
short_description: Keep what Ansible builds of modules from one run to the next
version_added: 0.1.0
description:
  - Ansible packs each module with what it imports before it sends it to a host, once a run. Reading and packing take longer
    than most modules work. This keeps what was packed beside O(local_tmp), in a folder named after everything it was made of.
  - Whatever cannot be kept is packed anew, as without this.
author: Benchkeeper maintainers
requirements:
  - Enabled in C(callbacks_enabled).
options:
  local_tmp:
    description: Where Ansible keeps what it needs for one run; what outlives the run is kept beside it.
    type: path
    default: ~/.ansible/tmp
    ini: [{section: defaults, key: local_tmp}]
    env: [{name: ANSIBLE_LOCAL_TEMP}]
"""

import contextlib
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as ansible_version

PLUGINS = Path(__file__).resolve().parent.parent
FORGET = 3 * 24 * 3600.0  # seconds
IN_A_RUN = "ansiballz_cache"  # where Ansible looks, below its directory for one run (executor/module_common.py)


def name_of(plugins: Path, *more: str) -> str:
    """Return a name for everything that modules are built of: our own, Ansible's, what was installed beside it, and Python."""
    digest = hashlib.sha256("\0".join((ansible_version, sys.version, *more)).encode())
    lock = plugins.parent / "requirements.lock"
    for path in [lock, *sorted((plugins / "modules").glob("*.py")), *sorted((plugins / "module_utils").rglob("*.py"))]:
        with contextlib.suppress(FileNotFoundError):
            digest.update(f"\0{path.relative_to(plugins.parent)}\0{path.stat().st_mode}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def lend(run: Path, kept: Path) -> None:
    """Let one run's directory use what is kept, and forget what older sources were built to: no run of them can still go on."""
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(kept)
    for other in kept.parent.iterdir():
        if other.stat().st_mtime < time.time() - FORGET:
            shutil.rmtree(other, ignore_errors=True)
    (run / IN_A_RUN).symlink_to(kept)


class CallbackModule(CallbackBase):  # type: ignore[misc] # ansible-core has no types
    """Acts once, before the first task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "benchkeeper.core.built_modules"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002
        """Lend the run what is kept; without it modules are built as ever."""
        run = Path(constants.DEFAULT_LOCAL_TMP)
        with contextlib.suppress(OSError):
            lend(run, run.parent.parent / "modules" / name_of(PLUGINS, str(constants.DEFAULT_MODULE_COMPRESSION)))
