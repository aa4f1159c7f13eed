"""F15, F22: what a person or a program may type and where it may be typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.crash.machine import PATHS, wish

if TYPE_CHECKING:
    from tests.e2e.crash.machine import Machine

NAMES = [
    "x; rm -rf /",
    "--upload-pack=touch MARK",
    "x';touch${IFS}MARK;'",
    "$(touch MARK)",
    "`touch MARK`",
    "{{ lookup('pipe', 'touch MARK') }}",
    "../../etc",
    "a\nb",
    "a\x1b]0;title\x07b",
    "main\u202e",
    "x" * 4096,
    "-oProxyCommand=touch MARK",
    "",
]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What is there if anything of a name was executed."""
    return tmp_path / "executed"


def refused(bench: Any, *words: str) -> str:
    """Type something that must be refused for what it is; return what was said."""
    done = bench.run(*words, timeout=60)
    said: str = done.stdout + done.stderr
    assert done.returncode == 2, (words, said)
    assert "Traceback" not in said
    assert all(character.isprintable() or character == "\n" for character in said), ascii(said)
    assert said.isascii()
    assert len(said) < 3000
    return said


@pytest.mark.case(
    "F15",
    tier="machine",
    oracle="hostile names of branches, hosts, stacks and runs are refused with 2 and an escaped message; nothing is "
    "executed or lent",
)
def test_hostile_names_on_the_command_line(bench: Any, miner: Machine, mark: Path) -> None:
    before = sorted(path.name for path in PATHS.results.glob("2*"))
    others = (
        ("e2e", "main", "--miners={}"),
        ("e2e", "main", "--stack={}"),
        ("recover", "--host={}"),
        ("recover", "--run={}"),
        ("e2e", "main", "-e", "bench_origin=$({}"),
        ("logs", "--host={}"),
    )
    for number, text in enumerate(NAMES):
        name = text.replace("MARK", str(mark))
        refused(bench, "e2e", "--", name)
        refused(bench, "e2e", name)
        for words in (others[number % len(others)], others[(number + 2) % len(others)]):
            refused(bench, *words[:-1], words[-1].replace("{}", name).replace("$(", "{{ "))
    assert sorted(path.name for path in PATHS.results.glob("2*")) == before
    assert not mark.exists()
    assert not Path("/tmp/p").exists()


@pytest.mark.case(
    "F15",
    tier="machine",
    oracle="the keeper refuses hostile names of resources, runs, items and paths, and makes nothing",
)
def test_hostile_names_in_requests_to_the_keeper(miner: Machine) -> None:
    loan = miner.lend()
    mark = f"{miner.place}/executed"
    for text in [*NAMES, "a\x00b", "a/b", ".", ".."]:
        name = text.replace("MARK", mark)
        for request in ({"resource": name}, {"run_id": name}):
            found = miner.ask("acquire", **{**wish("miner-1"), **request})
            assert (found["code"], found["error"]["kind"]) == (2, "usage"), (name, found)
        for wrong in ({"item": name}, {"group": name or " "}):
            found = loan.call("file", **{"item": "mine", "path": f"{miner.place}/file", "content": "x", **wrong})
            assert (found["code"], found["error"]["kind"]) == (2, "usage"), (wrong, found)
        found = loan.call("service", "mine", unit=name, state="stopped")
        assert found["code"] == 2, (name, found)
    paths = ("relative", "/opt/../etc/passwd", "//etc/passwd", "/etc/./passwd", "", "/", f"{miner.place}/", f"{miner.place}/a\x00b")
    for path in paths:
        found = loan.call("file", "mine", path=path, content="x")
        assert (found["code"], found["error"]["kind"]) == (2, "usage"), (path, found)
    miner.sh(f"ln -s /etc {miner.place}/etc; chown -h ops:ops {miner.place}/etc")
    found = loan.call("file", "mine", path=f"{miner.place}/etc/crash-executed", content="x")
    assert found["code"] == 2, found
    assert miner.run("test", "-e", "/etc/crash-executed").returncode == 1
    assert miner.must("release", fence=loan.fence)["released"]
    assert miner.names() == ["./etc"]
    loan.is_over()


@pytest.mark.case(
    "F15",
    tier="machine",
    oracle="plain ansible-playbook with a hostile branch ends before anything is lent, and executes nothing",
)
@pytest.mark.parametrize("text", ["$(touch MARK)", "--upload-pack=touch MARK", "x';touch${IFS}MARK;'", "../../etc"])
def test_a_hostile_branch_with_plain_ansible(miner: Machine, mark: Path, text: str) -> None:
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "playbooks/e2e.yml", "-e"]
    values = {"branch": text.replace("MARK", str(mark)), "miners": ["miner-1"]}
    done = subprocess.run([*argv, json.dumps(values)], cwd=PATHS.root, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode != 0
    assert not mark.exists()
    assert "branch" in done.stdout
    assert miner.status()["state"] == "free"


QUIET = {"TERM": "dumb", "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}


@pytest.mark.case(
    "F22",
    tier="machine",
    oracle="with output closed, full, or in ASCII a run ends as ever, with whole results and no traceback",
)
@pytest.mark.parametrize("output", ["closed", "full", "ascii"])
def test_a_run_whose_output_goes_nowhere(bench: Any, miner: Machine, tmp_path: Path, output: str) -> None:
    where = {"closed": ">&- 2>&-", "full": ">/dev/full 2>/dev/full", "ascii": f">{tmp_path}/out 2>{tmp_path}/err"}[output]
    command = f"exec {PATHS.root}/bench e2e main --mode check --miners miner-1 {where}"
    environment = {**os.environ, **QUIET}
    done = subprocess.run(["sh", "-c", command], cwd="/", env=environment, check=False, timeout=400, stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    result = bench.result()
    assert (result["verdict"], result["mode"]) == ("good", "check")
    assert result["counts"]["pass"] > 20
    if output == "ascii":
        said = (tmp_path / "out").read_bytes() + (tmp_path / "err").read_bytes()
        assert b"Traceback" not in said
        assert b"good" in said


@pytest.mark.case(
    "F22",
    tier="machine",
    oracle="a keeper whose answer cannot be printed has done what it was asked, and one in another language knows every path",
)
def test_a_keeper_whose_answer_goes_nowhere(miner: Machine) -> None:
    path = f"{miner.place}/\u00fcmlaut \U0001f600.json"
    miner.write(path, "theirs\n")
    loan = miner.lend(ttl=300)
    loan.looking_at(path)
    environment = "env -i LANG=C LC_ALL=C PATH=/usr/bin:/bin"
    ask = f"{environment} /usr/local/sbin/keeper call file"
    request = {"fence": loan.fence, "item": "mine", "path": path, "content": "\u00f6urs\n"}
    for where in (">/dev/full", ">&-", "| true"):
        miner.run("sh", "-c", f"{ask} {where}", text=json.dumps(request))
        assert miner.read(path) == "\u00f6urs"
    told = miner.run("sh", "-c", f"{environment} /usr/local/sbin/keeper status")
    assert told.returncode == 0
    assert "Traceback" not in told.stderr
    miner.run("sh", "-c", f"{environment} /usr/local/sbin/keeper recover --run {loan.run_id} --force >/dev/full")
    assert miner.read(path) == "theirs"
    loan.is_over()
