"""One playbook in a process of its own, through ansible-runner: scrubbed environment, values in a file, cancelled by us alone.

ansible-runner takes over INT and TERM when it is given no cancel callback, and its private data hold the whole environment:
both are answered here. Nothing that it writes outlives the playbook, but for its redacted output.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible_runner
from ansible_collections.benchkeeper.core.plugins.module_utils import _holder
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

from benchkeeper import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# What a playbook may see of our environment: where things are and how a person's SSH works. Nothing else, so no secret by accident.
ALLOWED = ("HOME", "PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "TERM", "TMPDIR", "SSH_AUTH_SOCK", "XDG_STATE_HOME")
ALLOWED_PREFIXES = ("LC_",)
CANCEL_POLL = 0.5  # seconds: how often ansible-runner asks whether to cancel


@dataclass(frozen=True)
class Play:
    """What is played.

    Attributes:
        playbook: Absolute path.
        inventory: Absolute path.
        root: The checkout; ansible.cfg is there.
        values: Extra vars; they travel in a file of mode 0600.
        private: Directory for ansible-runner, removed afterwards.
        events: File for the events of our callback.
        state_file: The run's state file; only its path travels.
        secrets: Values that must not be in the output that is kept.
        verbose: How often -v was given.
    """

    playbook: Path
    inventory: Path
    root: Path
    values: Mapping[str, Any] = field(repr=False)
    private: Path
    events: Path
    state_file: Path | None = None
    secrets: Sequence[str] = field(default=(), repr=False)
    verbose: int = 0


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment a playbook may see."""
    return {name: value for name, value in environment.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}


@contextmanager
def _scrubbed() -> Iterator[None]:
    """Let ansible-runner, which copies ours, see the allowed environment only."""
    before = dict(os.environ)
    kept = allowed(before)
    # The environment's programs first: ansible-playbook must be the pinned one.
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    os.environ.clear()
    os.environ.update(kept)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _variables(play: Play) -> dict[str, str]:
    values = {
        "ANSIBLE_CONFIG": str(play.root / "ansible.cfg"),
        # ansible-runner turns this off where nothing is said, and what it says outweighs ansible.cfg.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "BENCHKEEPER_EVENTS": str(play.events),
    }
    if play.state_file is not None:
        values[_holder.MARK] = str(play.state_file)
    return values


class Player:
    """A playbook that plays in the background of this process.

    Args:
        play: What is played.
    """

    def __init__(self, play: Play) -> None:
        self._play = play
        self._cancel = threading.Event()
        play.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        play.private.chmod(0o700)
        values = play.private / "vars.json"
        with os.fdopen(os.open(values, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(dict(play.values), file)
        words = ["-e", f"@{values}", *(["-" + "v" * play.verbose] if play.verbose else [])]
        with _scrubbed():
            self._thread, self._runner = ansible_runner.run_async(
                private_data_dir=str(play.private),
                project_dir=str(play.root),
                playbook=str(play.playbook),
                inventory=str(play.inventory),
                envvars=_variables(play),
                cmdline=shlex.join(words),
                settings={"pexpect_timeout": CANCEL_POLL},
                suppress_env_files=True,
                quiet=True,
                ident="run",
                event_handler=lambda _event: False,  # our own callback is the one that writes events
                cancel_callback=self._cancel.is_set,
            )

    @property
    def running(self) -> bool:
        """Whether it still plays."""
        return bool(self._thread.is_alive())

    @property
    def code(self) -> int | None:
        """Exit code of ansible-playbook; None when a signal ended it, or it plays still."""
        code = self._runner.rc
        return code if isinstance(code, int) and not self._cancel.is_set() else None

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it came."""
        self._thread.join(seconds)
        return not self.running

    def stop(self, patience: float = 15.0) -> None:
        """End ansible-playbook and all that it started here, workers in sessions of their own, too."""
        own = processes.descendants(os.getpid())
        players = {pid: begun for pid, begun in own.items() if _is_player(pid)}
        processes.end(players)
        self._cancel.set()
        self._thread.join(patience)
        processes.end(own, grace=1.0)

    def close(self, log: Path | None) -> str:
        """Remove ansible-runner's private data; keep its output, redacted, in ``log``. Return what secret the raw output held."""
        leak = ""
        output = self._play.private / "artifacts" / "run" / "stdout"
        if log is not None and output.is_file():
            raw = output.read_bytes()
            hits = Redactor(self._play.secrets, shapes=False).scan(raw)
            if hits:
                leak = f"Ansible's output held a secret {len(hits)} times; redacted"
            log.write_text(Redactor(self._play.secrets).text(raw.decode("utf-8", "replace")), encoding="utf-8")
        shutil.rmtree(self._play.private, ignore_errors=True)
        return leak


def _is_player(pid: int) -> bool:
    try:
        return b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def play_through(play: Play, beat: Callable[[], None], log: Path | None) -> int | None:
    """Play to the end without being stoppable, calling ``beat`` several times a second; return the exit code."""
    player = Player(play)
    while not player.wait(0.2):
        beat()
    beat()
    player.close(log)
    return player.code
