"""A playbook of a case's own, played as a person does, that can be killed."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.crash.machine import PATHS

if TYPE_CHECKING:
    from tests.e2e.crash.machine import Machine


class Play:
    """One play on one machine, as root, that begins by taking the machine's lease.

    Args:
        folder: Where the playbook is written.
        machine: The machine.
        lease: Whether the lease is taken; else the play only looks.
        ttl: Seconds that the lease lasts.
    """

    def __init__(self, folder: Path, machine: Machine, *, lease: bool = True, ttl: float = 60) -> None:
        self.folder = folder
        self.machine = machine
        self.run_id = f"crash-{secrets.token_hex(4)}"
        self.nonce = secrets.token_hex(16)
        mine: dict[str, Any] = {"resource": machine.name, "run_id": self.run_id, "nonce": self.nonce}
        self.lease = {**mine, "token": "{{ taken.token }}"}
        self.tasks: list[dict[str, Any]] = []
        if lease:
            self.task("lease", "taken", **mine, ttl=ttl)

    def plain(self, module: str, register: str = "", *, keywords: dict[str, Any] | None = None, **options: Any) -> None:
        """Add a task."""
        told = {"register": register} if register else {}
        self.tasks.append({"name": f"{len(self.tasks)} {module}", module: options, **told, **(keywords or {})})

    def task(self, module: str, register: str = "", *, keywords: dict[str, Any] | None = None, **options: Any) -> None:
        """Add a task of this collection."""
        self.plain(f"benchkeeper.core.{module}", register, keywords=keywords, **options)

    def start(self) -> subprocess.Popen[str]:
        """Play it in a session of its own, so that the whole group can be killed."""
        path = self.folder / "play.yml"
        play = {"name": "A case", "hosts": self.machine.name, "gather_facts": False, "become": True, "tasks": self.tasks}
        path.write_text(json.dumps([play]), encoding="utf-8")  # JSON is YAML
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PATHS.root / "ansible.cfg")}
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(PATHS.inventory), str(path)]
        return subprocess.Popen(
            argv,
            cwd=PATHS.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def to_the_end(self, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Play it to its end."""
        process = self.start()
        out, _err = process.communicate(timeout=timeout)
        print(out)
        return subprocess.CompletedProcess(process.args, process.returncode, out, "")

    @staticmethod
    def here(path: str) -> bool:
        """Whether something is on this computer."""
        return Path(path).exists()
