"""Where things are: the checkout, its private work directory and the user's state directory."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The places of one checkout. `root` is its real path."""

    root: Path

    @cached_property
    def checkout_id(self) -> str:
        """Eight hex digits of the checkout's real path: two checkouts on one engine never share a name."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]

    @property
    def work(self) -> Path:
        """`.bench/`, private to the user: keys, repositories, state of the machines."""
        return self.root / ".bench"

    @property
    def ssh(self) -> Path:
        """Keys, known hosts and the SSH configuration of the embedded bench."""
        return self.work / "ssh"

    @property
    def ssh_config(self) -> Path:
        """What `ssh -F` takes."""
        return self.ssh / "config"

    @property
    def machines(self) -> Path:
        """Record of the machines that were made."""
        return self.work / "machines.json"

    @property
    def inventory(self) -> Path:
        """The embedded bench's inventory, the default."""
        return self.root / "inventories" / "embedded"

    @property
    def stacks(self) -> Path:
        """Systems under test, one folder each."""
        return self.root / "stacks"

    @property
    def results(self) -> Path:
        """One folder per run."""
        return self.root / "results"

    @property
    def state(self) -> Path:
        """What must outlive the checkout's directory: nonces of runs, so that `recover` works from anywhere."""
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return Path(base) / "benchkeeper"

    def stack_names(self) -> tuple[str, ...]:
        """Names of the stacks that exist, sorted."""
        if not self.stacks.is_dir():
            return ()
        return tuple(sorted(entry.name for entry in self.stacks.iterdir() if (entry / "profile.yml").is_file()))

    def stack_folders(self) -> tuple[str, ...]:
        """Names of all folders of stacks, sorted: also of one that is not whole yet."""
        if not self.stacks.is_dir():
            return ()
        return tuple(sorted(entry.name for entry in self.stacks.iterdir() if entry.is_dir()))

    def make_work(self) -> None:
        """Make `.bench/` and its id file; doing it twice changes nothing."""
        self.work.mkdir(mode=0o700, exist_ok=True)
        self.work.chmod(0o700)
        mark = self.work / "id"
        if not mark.is_file() or mark.read_text(encoding="ascii").strip() != self.checkout_id:
            mark.write_text(f"{self.checkout_id}\n", encoding="ascii")
        (self.work / "tmp").mkdir(mode=0o700, exist_ok=True)


def checkout() -> Paths:
    """Return the paths of the checkout this package stands in."""
    return Paths(Path(__file__).resolve().parent.parent)
