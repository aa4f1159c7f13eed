from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _probes_host
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_host import GUARD_TEXT, Ran, parse_listeners, parse_unit
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import boot_identity, take

if TYPE_CHECKING:
    from pathlib import Path

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0D05 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 3 1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A
"""
SHOWN = """\
LoadState=loaded
UnitFileState=enabled
FragmentPath={fragment}
DropInPaths={dropin}
ActiveState=active
SubState=running
MainPID=612
StateChangeTimestampMonotonic=1203200000
NRestarts=2
Result=success
"""


def look(context: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    document = take({"it": spec}, {"run_id": "r", "host": "h", **(context or {})})
    return {part: document[part].get("it") for part in ("invariant", "observed", "errors")}


def test_listeners_are_read() -> None:
    assert parse_listeners(TCP, "tcp") == {"tcp 0.0.0.0:3333", "tcp 127.0.0.1:8000"}
    assert parse_listeners(TCP6, "tcp") == {"tcp [::]:22", "tcp [::1]:80"}


def test_sockets_and_boot_come_from_proc(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for name, text in {
        "net/tcp": TCP,
        "sys/kernel/random/boot_id": "ab-cd\n",
        "1/stat": "1 (a) b) (c) S " + " ".join(map(str, range(4, 40))),
    }.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text, "utf-8")
    assert look({"root": str(tmp_path)}, kind="sockets")["invariant"] == {"listen": ["tcp 0.0.0.0:3333", "tcp 127.0.0.1:8000"]}
    assert boot_identity(str(tmp_path)) == {"boot_id": "ab-cd", "pid1_start": 22}
    assert boot_identity("/nowhere") == {"boot_id": None, "pid1_start": None}


def test_a_unit_is_told_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fragment, dropin = tmp_path / "x.service", tmp_path / "over.conf"
    fragment.write_text("[Service]\n", "utf-8")
    dropin.write_text("[Service]\n", "utf-8")
    shown = SHOWN.format(fragment=fragment, dropin=dropin)
    monkeypatch.setattr(_probes_host, "run", lambda _argv: Ran(0, shown.encode(), b"", 0.01))
    seen = look(kind="unit", unit="x.service")
    assert {key: seen["invariant"][key] for key in ("load", "enabled", "active")} == {
        "load": "loaded",
        "enabled": "enabled",
        "active": "active",
    }
    assert len(seen["invariant"]["fragment_fp"]) == 64
    assert list(seen["invariant"]["dropins"]) == [str(dropin)]
    assert seen["observed"] == {
        "active": "active",
        "sub": "running",
        "result": "success",
        "pid": 612,
        "since": 1203.2,
        "restarts": 2,
    }


def test_the_guard_of_the_last_boot_is_no_difference_unless_somebody_wrote_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the sweep: after a power cut the unit of a borrowed miner was never equal again."""
    guard = tmp_path / "x.service.d" / "50-benchkeeper.conf"
    guard.parent.mkdir()
    shown = SHOWN.format(fragment=tmp_path / "none", dropin=guard)
    monkeypatch.setattr(_probes_host, "run", lambda _argv: Ran(0, shown.encode(), b"", 0.01))
    for text, told in ((GUARD_TEXT, []), (GUARD_TEXT + "[Service]\nExecStart=/bin/evil\n", [str(guard)])):
        guard.write_text(text, "utf-8")
        monkeypatch.setattr(_probes_host, "GENERATED", f"{tmp_path}/")
        assert list(look(kind="unit", unit="x.service")["invariant"]["dropins"]) == told
        monkeypatch.setattr(_probes_host, "GENERATED", "/run/systemd/generator/")
        assert list(look(kind="unit", unit="x.service")["invariant"]["dropins"]) == [str(guard)], "it would outlive the boot"


def test_a_unit_that_is_not_there_is_told() -> None:
    shown = parse_unit("LoadState=not-found\nActiveState=inactive\nMainPID=0\n")
    assert shown["load"] == "not-found"
    assert shown["fragment"] == ""


@pytest.mark.parametrize("unit", ["-H host", "--all", "x;y", "$(id).service"])
def test_an_odd_unit_is_refused(unit: str) -> None:
    assert look(kind="unit", unit=unit)["errors"] == "not a unit's name"


def test_git_tells_commit_branch_and_differences(tmp_path: Path) -> None:
    def git(*args: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, "-C", str(tmp_path), *args], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    assert look(kind="git", path=str(tmp_path))["invariant"] == {"exists": True, "head": None, "branch": "main", "dirty": []}
    for name in ("a", "b", "c c"):
        (tmp_path / name).write_text(name, "utf-8")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    clean = look(kind="git", path=str(tmp_path))["invariant"]
    assert (len(clean["head"]), clean["branch"], clean["dirty"]) == (40, "main", [])
    (tmp_path / "a").write_text("changed", "utf-8")
    git("mv", "b", "renamed")
    (tmp_path / "new one").write_text("", "utf-8")
    git("config", "core.fsmonitor", "touch ran; true")
    dirty = look(kind="git", path=str(tmp_path))["invariant"]["dirty"]
    assert dirty == [".M a", "?? new one", "R. renamed"]
    assert not (tmp_path / "ran").exists()
    assert look(kind="git", path=str(tmp_path / ".git"))["invariant"] == {"exists": False}
    git("checkout", "-q", "--detach")
    assert look(kind="git", path=str(tmp_path))["invariant"]["branch"] is None


def test_a_command_is_judged_by_its_code() -> None:
    seen = look(kind="command", argv=["sh", "-c", "echo out; echo err >&2; exit 3"], keep_output=True)["observed"]
    assert (seen["rc"], seen["stdout"], seen["stderr"]) == (3, "out\n", "err\n")
    assert "stdout" not in look(kind="command", argv=["true"])["observed"]


def test_a_command_gets_a_small_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEBODYS_TOKEN", "x")
    seen = look(kind="command", argv=["env"], env={"MINE": "1"}, keep_output=True)["observed"]
    assert "SOMEBODYS" not in seen["stdout"]
    assert "MINE=1" in seen["stdout"]


def test_a_command_prints_json() -> None:
    seen = look(kind="command", argv=["echo", '{"summary": {"fail": 0}, "x": 1}'], json=True, keep=["summary"])["observed"]
    assert seen["json"] == {"summary": {"fail": 0}}
    assert look(kind="command", argv=["echo", "x"], json=True)["observed"]["not_json"] is True


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    started = time.monotonic()
    seen = look(kind="command", argv=["sh", "-c", "sleep 60 & sleep 60"], timeout=0.2)
    assert seen["errors"] == "sh: not finished after 0.2 s"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"argv": ["/no/such/program"]}, "/no/such/program: no such file or directory"),
        ({"argv": ["true"], "user": "nobody-like-that"}, "no user nobody-like-that"),
        ({"argv": "true"}, "argv is a list of texts"),
        ({"argv": ["true"], "cwd": "/no/such"}, "true: no such file or directory"),
        ({}, "the probe needs 'argv'"),
    ],
)
def test_a_command_that_cannot_start_says_why(spec: dict[str, Any], reason: str) -> None:
    assert look(kind="command", **spec)["errors"] == reason
