"""A checkout whose state and engine are made up: nothing of this user's is read or written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchkeeper.paths import Paths
from tests.unit.owned.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[Paths]:
    """The paths of a checkout whose engine is `world`, over a socket."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "checkout").mkdir()
    with world.on(tmp_path) as socket:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
        yield Paths(tmp_path / "checkout")
