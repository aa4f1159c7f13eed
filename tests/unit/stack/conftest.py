"""The reference stack's programs stand outside the package: put their folders on the path, as their images do."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "stacks" / "pithead" / "reference"
FOLDERS = ["lib", "build", "build/p2pool", "build/tari", "build/xmrig-proxy", "build/socket-proxy", "dashboard"]

sys.path[:0] = [str(REFERENCE / folder) for folder in FOLDERS] + [str(ROOT / "stacks" / "pithead" / "embedded" / "pool")]
