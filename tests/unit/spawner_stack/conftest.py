"""The stand-in's programs stand outside the package: put their folder on the path, as their image does."""

from __future__ import annotations

import sys
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[3] / "stacks" / "spawner" / "reference"
sys.path.insert(0, str(REFERENCE))
