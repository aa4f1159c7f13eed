"""What every kind of item shares: how its undo is asked for and answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Optional

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


def identity(stat: Optional[_fsio.Stat]) -> Optional[Mapping[str, int]]:
    """Return what a directory is recognised by at undo."""
    return None if stat is None else {"dev": stat.dev, "ino": stat.ino, "uid": stat.uid}


def moved(recorded: Any, directory: _fsio.Directory) -> str:
    """Return why a directory is not the one that was recorded, or nothing."""
    if recorded != identity(directory.stat()):
        return f"{directory.path} is not the directory it was (another inode or owner); it is not followed"
    return ""
