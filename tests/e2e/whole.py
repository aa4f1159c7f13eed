"""What is proven before a release and not in every test run: an hour is all that a run may take."""

from __future__ import annotations

import os

import pytest

WHOLE = pytest.mark.skipif(os.environ.get("BENCH_WHOLE") != "1", reason="minutes more of the same: BENCH_WHOLE=1 runs it")
