"""The controller side of Benchkeeper: set-up, supervisor, report."""

from __future__ import annotations

import sys
from pathlib import Path

# The pure logic that controller and machines share lives in the collection; it works in place, without being installed.
_COLLECTIONS = str(Path(__file__).resolve().parent.parent / "collections")
if _COLLECTIONS not in sys.path:
    sys.path.append(_COLLECTIONS)
