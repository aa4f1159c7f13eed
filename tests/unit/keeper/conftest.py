from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tests.unit.keeper.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
