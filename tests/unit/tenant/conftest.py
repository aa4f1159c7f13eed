"""The tenant's programs stand outside the package: put their folder on the path, as their images do."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

sys.path.insert(0, str(ROOT / "stacks" / "tenant" / "reference"))
