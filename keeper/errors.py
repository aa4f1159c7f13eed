"""What the keeper answers when it does not do what it was asked: a kind for programs, a sentence for people."""

from __future__ import annotations

from typing import Any, Dict

USAGE = "usage"
UNFIT = "unfit"
FENCE = "fence"
CONFLICT = "conflict"
UNPROVEN = "unproven"
BUSY = "busy"
FAILED = "failed"
EXIT_CODES = {USAGE: 2, UNFIT: 2, FENCE: 3, CONFLICT: 3, UNPROVEN: 4, BUSY: 75, FAILED: 1}


class KeeperError(Exception):
    """A refusal or failure that the caller is told about.

    Args:
        kind: usage, unfit (a file or host is not what it should be), fence (no longer your lease), conflict (a third
            party's), unproven, busy, failed.
        message: One sentence for a person, without secrets.
        details: More keys of the answer.
    """

    def __init__(self, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details

    @property
    def exit_code(self) -> int:
        """Exit code of the program."""
        return EXIT_CODES[self.kind]

    def document(self) -> Dict[str, Any]:
        """Return the answer as it is printed."""
        return {**self.details, "error": {"kind": self.kind, "message": str(self)}}
