"""What the keeper puts on a machine, and takes away again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_host import GUARD_DROPIN, GUARD_TEXT

from keeper import guards, install
from keeper.errors import KeeperError

if TYPE_CHECKING:
    from tests.unit.keeper.bench import Bench


@pytest.mark.parametrize("systemd", [True, False])
def test_installing_twice_changes_nothing_and_uninstalling_leaves_nothing(bench: Bench, tmp_path: Path, systemd: bool) -> None:
    root = str(tmp_path / "root")
    nobody: Any = None
    assert install.install(nobody, systemd=systemd, root=root)
    assert install.installed(systemd=systemd, root=root)
    assert not install.install(nobody, systemd=systemd, root=root)
    program = Path(root + install.PROGRAM)
    program.parent.mkdir(parents=True)
    program.touch()
    removed = install.uninstall(bench.keeper, nobody, systemd=systemd, root=root)
    assert install.PROGRAM in removed
    assert [path for path in Path(root).rglob("*") if path.is_file()] == []
    assert not install.installed(systemd=systemd, root=root)


def test_nothing_is_taken_away_while_anything_is_leased(bench: Bench, tmp_path: Path) -> None:
    bench.acquire()
    nobody: Any = None
    install.install(nobody, systemd=True, root=str(tmp_path))
    with pytest.raises(KeeperError, match=r"held for run run-1 of ann; nothing was changed"):
        install.uninstall(bench.restart(), nobody, systemd=True, root=str(tmp_path))
    assert install.installed(systemd=True, root=str(tmp_path))


def test_a_unit_that_reads_a_guarded_file_waits_for_stage_one(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    etc = tmp_path / "etc" / "benchkeeper"
    etc.parent.mkdir()
    monkeypatch.setattr(guards, "ETC", str(etc))
    path = bench.root / "config.json"
    path.write_text("{}")
    bench.acquire()
    bench.guarded("file", "mine", path=str(path), content="[]", unit="xmrig.service")
    assert [one.name for one in (etc / "guards").iterdir()] == ["xmrig.service"]
    generator = tmp_path / "generator"
    generator.write_text(install.UNITS[install.GENERATOR].replace("/etc/benchkeeper", str(etc)))
    (etc / "guards" / "not a unit; rm -rf x").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["sh", str(generator), str(out), str(out), str(out)], check=True)
    made = [str(one.relative_to(out)) for one in out.rglob("*") if one.is_file()]
    assert made == ["xmrig.service.d/50-benchkeeper.conf"]
    assert (out / made[0]).read_text() == GUARD_TEXT, "what the probe of a unit knows it by"
    assert made[0].endswith(GUARD_DROPIN)
    (etc / "guards" / "not a unit; rm -rf x").rmdir()
    bench.call("recover", resource="miner-0", force=True, run_id="run-1")
    assert not etc.exists(), "nothing is left of it"
    subprocess.run(["sh", str(generator), str(tmp_path / "x"), "", ""], check=True)


@pytest.mark.parametrize("unit", ["", "-x.service", "a/b.service", "xmrig", 7, "x.mount", "../x.service", "x y.service"])
def test_what_is_no_unit_guards_nothing(bench: Bench, unit: Any) -> None:
    bench.acquire()
    code, answer = bench.try_call("file", fence=bench.fence, item="a", path=str(bench.root / "f"), content="x", unit=unit)
    assert (code, answer["error"]["kind"]) == (2, "usage")


def test_the_guards_survive_a_power_cut_before_the_change(tmp_path: Path) -> None:
    from tests.unit.keeper.memory import MemoryFiles  # noqa: PLC0415

    files = MemoryFiles()
    files.put("/etc/hosts", b"")
    guards.add(files, "xmrig.service")
    import random  # noqa: PLC0415

    for seed in range(20):
        files.power_cut(random.Random(seed))  # noqa: S311
        with _fsio.opened(files, "/etc/benchkeeper/guards") as directory:
            assert directory.names() == ["xmrig.service"]


def test_every_unit_is_made_of_sections_and_settings() -> None:
    for path, text in install.UNITS.items():
        if path == install.GENERATOR:
            continue
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines[0] == "[Unit]"
        assert all(line.startswith("[") or "=" in line for line in lines)


def test_a_change_that_is_confirmed_leaves_no_guard(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    etc = tmp_path / "etc" / "benchkeeper"
    etc.parent.mkdir()
    monkeypatch.setattr(guards, "ETC", str(etc))
    bench.acquire()
    bench.guarded("file", "mine", path=str(bench.root / "f"), content="x", unit="xmrig.service")
    assert [one.name for one in (etc / "guards").iterdir()] == ["xmrig.service"]
    bench.call("confirm", fence=bench.fence)
    assert not etc.exists(), "nothing is left of it"
