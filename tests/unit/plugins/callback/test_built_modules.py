"""What Ansible builds of modules is kept for exactly what it was built of."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "built_modules_callback", Path(__file__).parents[4] / "plugins" / "callback" / "built_modules.py"
)
assert _spec is not None
assert _spec.loader is not None
built_modules = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(built_modules)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    for folder in ("modules", "module_utils/below"):
        (tmp_path / "plugins" / folder).mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("ansible-core==1\n")
    (tmp_path / "plugins" / "modules" / "one.py").write_text("import x\n")
    (tmp_path / "plugins" / "module_utils" / "below" / "x.py").write_text("y = 1\n")
    return tmp_path / "plugins"


@pytest.mark.parametrize(
    "changed", ["plugins/modules/one.py", "plugins/module_utils/below/x.py", "requirements.lock", "plugins/modules/two.py"]
)
def test_whatever_a_module_is_built_of_makes_another_name(plugins: Path, changed: str) -> None:
    before = built_modules.name_of(plugins, "ZIP_DEFLATED")
    assert before == built_modules.name_of(plugins, "ZIP_DEFLATED")
    assert before != built_modules.name_of(plugins, "ZIP_STORED")
    (plugins.parent / changed).write_text("y = 2\n")
    assert before != built_modules.name_of(plugins, "ZIP_DEFLATED")


def test_a_run_finds_what_was_kept_and_what_is_old_goes(tmp_path: Path) -> None:
    kept = tmp_path / "modules" / "new"
    for name, age in (("old", 4 * 24 * 3600), ("younger", 3600)):
        (tmp_path / "modules" / name).mkdir(parents=True)
        os.utime(tmp_path / "modules" / name, (0, time.time() - age))
    for name in ("run-1", "run-2"):
        (tmp_path / name).mkdir()
        built_modules.lend(tmp_path / name, kept)
    (tmp_path / "run-1" / built_modules.IN_A_RUN / "ping").write_text("packed")
    assert (tmp_path / "run-2" / built_modules.IN_A_RUN / "ping").read_text() == "packed"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["new", "younger"]
    assert kept.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OSError, match="exists"):
        built_modules.lend(tmp_path / "run-1", kept)  # the callback takes this for "not kept"
