"""Where the stand-in's programs stand; pytest has the folder on its path (pyproject.toml), as their image does."""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[3] / "stacks" / "spawner" / "reference"
