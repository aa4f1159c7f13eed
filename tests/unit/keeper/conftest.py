from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from tests.unit.keeper.bench import Bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
