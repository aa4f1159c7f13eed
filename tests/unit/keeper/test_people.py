from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client, _keeper_holder

from keeper import __main__ as entry
from keeper import cli, human, units
from keeper.build import build, contents
from tests.unit.keeper.bench import NONCE, Bench, names


def test_a_machine_that_was_never_lent_says_so(bench: Bench) -> None:
    assert human.render("status", bench.call("status")) == "Nothing on this machine was ever lent.\n"
    assert names(bench.state) == []


def test_status_says_who_since_when_what_and_the_one_command(bench: Bench) -> None:
    bench.acquire()
    path = Path(bench.root, "file")
    path.write_text("one")
    bench.guarded("file", "mine", path=str(path), content="two")
    bench.clock.now += 10
    page = human.render("status", bench.call("status"))
    for part in (
        "miner-0: HELD",
        "ann@desk, process 42",
        "(10 s)",
        "in 50 s",
        str(path),
        "the sweep of a test",
        "--run run-1 --force",
    ):
        assert part in page
    explained = human.render("explain", bench.call("status"))
    assert f"by hand: mv {bench.root}/.file.bk-run-1-2 {path}" in explained
    bench.clock.now += 60
    assert "Put it back now:     sudo keeper recover --resource miner-0" in human.render("status", bench.call("status"))
    path.write_text("theirs")
    recovered = human.render("recover", bench.try_call("recover", resource="miner-0")[1])
    assert "NOT restored" in recovered
    assert "both versions are kept" in recovered
    page = human.render("status", bench.call("status"))
    assert "sudo keeper settle mine --resource miner-0 --keep original|current --reason 'why'" in page
    settled = bench.call("settle", resource="miner-0", item="mine", keep="original", reason="ours")
    assert "everything is proven and free" in human.render("settle", settled)
    assert "everything was put back and proven" in human.render("status", bench.call("status"))
    assert "nothing to do" in human.render("recover", bench.call("recover"))


def test_nothing_that_is_told_holds_a_nonce(bench: Bench) -> None:
    bench.acquire()
    told = json.dumps([bench.call("status"), bench.call("evidence", resource="miner-0")])
    stored = b"".join(path.read_bytes() for path in bench.state.rglob("*") if path.is_file())
    assert NONCE not in told
    assert NONCE.encode() not in stored


@pytest.mark.parametrize(
    ("request_", "ended"),
    [
        ({}, False),
        ({"nonce": "x" * 32}, False),
        ({"force": True}, False),
        ({"force": True, "run_id": "run-1"}, True),
        ({"nonce": NONCE}, True),
        ({"fence": {"nonce": NONCE}}, True),
        ({"holder_gone": True, "controller_id": "c2"}, False),
        ({"holder_gone": True, "controller_id": "c1"}, True),
    ],
)
def test_who_may_end_a_live_lease(bench: Bench, request_: Dict[str, Any], ended: bool) -> None:
    bench.acquire()
    code, _answer = bench.try_call("recover", resource="miner-0", **request_)
    assert code == (0 if ended else 75)


def test_recovering_a_run_that_is_over_tells_of_that_run(bench: Bench) -> None:
    bench.acquire()
    bench.call("recover", resource="miner-0", nonce=NONCE)
    bench.acquire(run_id="run-2", nonce="f" * 32)
    answer = bench.call("recover", resource="miner-0", run_id="run-1", nonce=NONCE)
    assert answer["nothing_to_do"]
    assert answer["resources"]["miner-0"]["state"] == "held"
    assert bench.lease().run_id == "run-2"


def test_requests_that_are_none(bench: Bench) -> None:
    assert bench.try_call("dance")[0] == 2
    assert bench.try_call("file")[0] == 2
    assert bench.try_call("status", resource="../x")[0] == 2


# The program


def test_the_program_is_built_the_same_twice_and_runs_without_anything_else(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "keeper", tmp_path / "b"
    assert build(one) == build(two)
    assert one.read_bytes() == two.read_bytes()
    environment = {"PATH": os.environ["PATH"], "BENCHKEEPER_STATE_DIR": str(tmp_path / "state")}
    clean: Any = {"cwd": "/", "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-I", str(one), "version"], check=False, **clean)
    assert done.stdout.startswith("keeper ")
    # Every module that can be needed is inside.
    code = f"import sys; sys.path.insert(0, {str(one)!r})\n" + "".join(
        f"import {name[:-3].replace('/', '.')}\n" for name in contents(Path(__file__).parents[3]) if not name.startswith("__")
    )
    done = subprocess.run([sys.executable, "-I", "-c", code.replace(".__init__", "")], check=False, **clean)
    assert done.stderr == ""


def test_the_program_takes_nothing_but_the_standard_library() -> None:
    for name, source in contents(Path(__file__).parents[3]).items():
        for line in source.decode().splitlines():
            if line.startswith(("import ", "from ")) and not line.startswith("from __future__"):
                top = line.split()[1].split(".")[0]
                assert top in sys.stdlib_module_names or top in ("keeper", "ansible_collections"), f"{name}: {line}"


def test_what_a_person_types_to_announce_a_reboot(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("BENCHKEEPER_STATE_DIR", str(bench.state))
    monkeypatch.setattr(cli, "real_keeper", lambda _root: bench.keeper)
    monkeypatch.setattr(cli, "state_directory", lambda: str(bench.state))
    monkeypatch.setenv("SUDO_USER", "ann")
    bench.acquire()
    assert cli.main(["expect-reboot", "--within", "90", "--resource", "miner-0"]) == 0
    assert "keeps it over one reboot if it is back by" in capsys.readouterr().out
    assert bench.lease().expect_reboot["by"] == "ann"
    assert cli.main(["expect-reboot", "--within", "90", "--resource", "other-0"]) == 2
    assert capsys.readouterr().out == "keeper: nothing to announce a reboot for: other-0 is free, a reboot changes nothing\n"
    assert cli.main(["expect-reboot", "--within", "90", "--resource", "../x"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["expect-reboot"])


@pytest.mark.parametrize(
    ("words", "looks"),
    [
        (["call", "status"], True),
        (["call", "evidence"], True),
        (["status", "--json"], True),
        (["explain"], True),
        (["version"], True),
        (["call", "acquire"], False),
        (["settle", "status", "--keep", "original"], False),
        (["recover"], False),
        (["unit-run", "status"], False),
        (["call"], False),
        ([], False),
    ],
)
def test_what_only_looks(words: List[str], looks: bool) -> None:
    assert entry.only_looks(words) is looks


def test_looking_never_unpacks_the_program_but_uses_what_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, cache = tmp_path / "keeper", tmp_path / "run"
    build(program)
    monkeypatch.setattr(entry, "INSTALLED", str(program.resolve()))
    monkeypatch.setattr(entry, "CACHE", str(cache))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "lstat", lambda path: os.stat_result([*Path(path).stat()[:4], 0, *Path(path).stat()[5:10]]))
    assert entry.unpacked(str(program), make=False) == str(program)
    assert not cache.exists()
    cache.mkdir(0o700)
    assert entry.unpacked(str(program), make=False) == str(program)
    assert names(cache) == []
    place = entry.unpacked(str(program))
    assert Path(place, "__main__.py").is_file()
    assert entry.unpacked(str(program), make=False) == place


# The module's side


def test_answers_and_refusals_of_the_keeper() -> None:
    asked: List[Tuple[List[str], bytes]] = []

    def run(argv: List[str], request: bytes) -> Tuple[int, bytes, bytes]:
        asked.append((argv, request))
        return outcome

    outcome: Tuple[int, bytes, bytes] = (0, b'{"token": 3}', b"")
    assert _keeper_client.call("renew", {"fence": {"nonce": "s"}}, run)["token"] == 3
    assert asked[0][0][1:] == [_keeper_client.PROGRAM, "call", "renew"]
    outcome = (4, b'{"restored": false}', b"")
    assert _keeper_client.call("restore", {}, run)["restored"] is False
    outcome = (75, b'{"busy": {"run_id": "r"}, "error": {"kind": "busy", "message": "taken"}}', b"")
    with pytest.raises(_keeper_client.KeeperError, match="taken") as caught:
        _keeper_client.call("acquire", {}, run)
    assert caught.value.answer["busy"] == {"run_id": "r"}
    outcome = (1, b"", b"Traceback\nMemoryError: no\n")
    with pytest.raises(_keeper_client.KeeperError, match="MemoryError: no"):
        _keeper_client.call("acquire", {}, run)


def test_a_holder_is_gone_only_if_it_lived_here_and_is_dead() -> None:
    here = _keeper_holder.describe(os.getpid())
    assert not _keeper_holder.is_gone(here)
    assert _keeper_holder.is_gone({**here, "start_time": 1})
    assert not _keeper_holder.is_gone({**here, "start_time": 1, "controller_id": "elsewhere"})
    assert not _keeper_holder.is_gone({**here, "start_time": None})
    assert not _keeper_holder.is_gone({})
    child = subprocess.Popen(["sleep", "60"])
    dead = _keeper_holder.describe(child.pid)
    assert not _keeper_holder.is_gone(dead)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert _keeper_holder.is_gone(dead)  # a zombie holds nothing
    child.wait()
    assert _keeper_holder.is_gone(dead)


def test_the_nonce_of_a_run_is_found_where_the_user_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    runs = tmp_path / "benchkeeper" / "runs"
    runs.mkdir(parents=True)
    (runs / "run-1.json").write_text('{"run_id": "run-1", "nonce": "n1"}')
    (runs / "run-2.json").write_text("half")
    several = tmp_path / "several.json"
    several.write_text('{"run-3": {"nonce": "n3"}}')
    assert _keeper_holder.nonce_of("run-1") == "n1"
    assert _keeper_holder.nonce_of("run-1", str(runs / "run-1.json")) == "n1"
    assert _keeper_holder.nonce_of("run-3", str(several)) == "n3"
    for unknown in ("run-2", "run-4", "", "../run-1"):
        assert _keeper_holder.nonce_of(unknown) == ""
    assert _keeper_holder.nonce_of("run-9", str(runs / "run-1.json")) == ""


def test_units_belong_to_exactly_one_resource() -> None:
    unit = units.unit_name("miner-1", 2, "3")
    assert unit == "bk-miner-1-2-3.service"
    assert units.is_unit_of("miner-1", unit)
    assert units.is_unit_of("miner-1", "bk-miner-1-2-u3.service")
    assert not units.is_unit_of("miner", unit)
    assert not units.is_unit_of("miner-1", "bk-miner-1-2.service")
