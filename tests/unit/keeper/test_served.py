"""What a hold answers: each call in a process of its own, and nobody is asked twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Optional

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client

from keeper import served
from keeper.served import Served

ROOT = Path(__file__).parents[3]
HOLD = """
import os, select, sys, time
from keeper.served import Served
def answer(verb, request):
    if request.get("die"):
        os.kill(os.getpid(), 9)
    if request.get("bug"):
        raise RuntimeError("no such thing")
    time.sleep(request.get("wait", 0))
    return 4, {"verb": verb, "pid": os.getpid(), "item": request.get("item"), "size": len(request.get("text", ""))}
hold = Served(sys.argv[1], answer)
print("ready", flush=True)
while True:
    select.select(hold.descriptors(), [], [])
    hold.answer_all()
"""
FENCE = {"resource": "miner-0"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A hold that answers in a directory."""
    process = start(tmp_path)
    yield tmp_path
    process.kill()
    process.communicate()


def start(place: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join((str(ROOT), str(ROOT / "collections")))
    argv = [sys.executable, "-c", HOLD, str(place / "miner-0.sock")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    (place / "pid").write_text(str(process.pid))
    return process


def ask(place: Path, verb: str = "command", **request: object) -> Optional[tuple[int, bytes, bytes]]:
    return _keeper_client.ask_hold(verb, {"fence": FENCE, **request}, str(place))


def test_client_and_hold_agree_on_what_is_asked() -> None:
    assert _keeper_client.HELD == served.VERBS
    assert served.place_of("miner-0") == f"{_keeper_client.PLACE}/miner-0.sock"


def test_every_call_has_a_process_of_its_own(place: Path) -> None:
    pids = set()
    for item in ("a", "b"):
        said = ask(place, item=item, text="x" * 300_000)
        assert said is not None
        assert b'"size": 300000' in said[1]
        assert f'"item": "{item}"'.encode() in said[1]
        assert (said[0], said[2]) == (4, b"")
        pids.add(said[1].partition(b'"pid": ')[2].partition(b",")[0])
    assert len(pids) == 2
    assert (place / "pid").read_bytes() not in pids


def test_a_call_outlives_the_hold(place: Path) -> None:
    script = (
        "import sys; from ansible_collections.benchkeeper.core.plugins.module_utils._keeper_client import ask_hold;"
        "print(ask_hold('file', {'fence': {'resource': 'miner-0'}, 'wait': 1.0, 'item': 'x'}, sys.argv[1]))"
    )
    path = os.pathsep.join((str(ROOT), str(ROOT / "collections")))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as asking:
        hold = int((place / "pid").read_text())
        deadline = time.monotonic() + 10
        while not children(hold) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert children(hold), "it is being answered"
        os.kill(hold, signal.SIGKILL)
        out, _err = asking.communicate(timeout=10)
    assert b'"item": "x"' in out


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def test_what_is_no_guarded_call_is_not_answered(place: Path) -> None:
    assert ask(place, "recover") is None, "it is not even asked"
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place / "miner-0.sock"))
        line.sendall(b'{"verb": "confirm", "request": {}}')
        line.shutdown(socket.SHUT_WR)
        said = line.makefile("rb").read()
    assert said.startswith(b'\n{"answer": {"error": {"kind": "usage"')


def test_a_call_that_dies_is_told_and_nobody_else_is_asked(place: Path) -> None:
    assert ask(place, die=True) == (-9, b"", b"the process that answered for the hold of this lease died")
    broken = ask(place, bug=True)
    assert broken is not None
    assert (broken[0], b"RuntimeError: no such thing" in broken[1]) == (1, True)
    assert ask(place) is not None, "the hold itself goes on"


def test_without_a_hold_a_program_has_to_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keeper_client, "_GREETING_WAIT", 0.2)
    assert ask(tmp_path) is None, "no socket"
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / "miner-0.sock"))
        assert ask(tmp_path) is None, "nobody listens"
        stopped.listen()
        assert ask(tmp_path) is None, "a hold that is stopped does not greet"
    assert _keeper_client.ask_hold("file", {"fence": {"resource": "../miner-0"}}, str(tmp_path / "x")) is None


def test_a_newer_hold_takes_the_place_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "miner-0.sock"
    older = Served(str(path), lambda _verb, _request: (0, {}))
    newer = Served(str(path), lambda _verb, _request: (0, {}))
    older.close()
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600
    newer.close()
    assert not path.exists()


def test_where_there_is_no_place_for_it_the_hold_holds_all_the_same(tmp_path: Path) -> None:
    nowhere = Served(str(tmp_path / "not" / "there.sock"), lambda _verb, _request: (0, {}))
    assert nowhere.descriptors() == []
    nowhere.answer_all()
    nowhere.close()
