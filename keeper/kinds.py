"""What every kind of item shares: how its undo is asked for and answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal

    from keeper.core import GuardedRun

UNDONE = "UNDONE"  # it is as it was before; nothing had to be done
PUT_BACK = "PUT_BACK"  # it was put back
COVERED = "COVERED"  # the undo of another item covers it
CONFLICT = "CONFLICT"  # a third party's state, both versions kept
FAILED = "FAILED"  # it could not be put back, may be tried again


@dataclass(frozen=True)
class Verdict:
    """What became of one item."""

    verdict: str
    why: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do for the item."""
        return self.verdict in (UNDONE, PUT_BACK, COVERED)


@dataclass
class Undo:
    """One item's undo: the run, the token of the restore, and the item."""

    run: GuardedRun
    token: int
    item: _journal.Item

    @property
    def intent(self) -> Mapping[str, Any]:
        """What the INTENT says."""
        return self.item.intent


def identity(run: GuardedRun, stat: Optional[_fsio.Stat]) -> Dict[str, Any]:
    """Return what a directory is recognised by at undo."""
    boot = run.keeper.clock.boot()
    found = {"dev": stat.dev, "ino": stat.ino, "uid": stat.uid} if stat is not None else {}
    return {**found, "boot": f"{boot.boot_id}:{boot.init_start}"}


def same_identity(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two identities are those of one directory. Device numbers may change with a boot, the others do not."""
    keys = ["ino", "uid"] + (["dev"] if recorded.get("boot") == now.get("boot") else [])
    return "ino" in now and all(recorded.get(key) == now.get(key) for key in keys)


def moved(run: GuardedRun, recorded: Mapping[str, Any], directory: _fsio.Directory) -> str:
    """Return why a directory is not the one that was recorded, or nothing."""
    if not same_identity(recorded, identity(run, directory.stat())):
        return f"{directory.path} is not the directory it was (another inode or owner); it is not followed"
    return ""
