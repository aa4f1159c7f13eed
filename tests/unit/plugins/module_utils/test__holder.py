"""The holder as a process: it says how it began, renews, and lets go with the process that it watches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _holder, _keeper_holder

if TYPE_CHECKING:
    from collections.abc import Iterator

# A keeper's end in a few lines: writes down what it hears; its behaviour is the first argument.
KEEPER = """
import json, sys, time
kind, log = sys.argv[1], open(sys.argv[2], "a")
def note(what):
    log.write(json.dumps(what) + "\\n"); log.flush()
def say(what):
    print(json.dumps(what), flush=True)
print("Welcome to this machine")
open(sys.argv[2] + ".here", "w").close()
line = sys.stdin.readline()
if not line:
    note("end of input"); sys.exit(0)
note({"first": json.loads(line)})
if kind == "refuses":
    say({"error": {"kind": "fence", "message": "stale"}}); sys.exit(3)
if kind == "dumb":
    time.sleep(600)
say({"held": 1})
if kind == "breaks":
    sys.exit(0)
count = 0
for line in sys.stdin:
    note(json.loads(line)); say({"renewed": "later"}); count += 1
    if kind == "leaves":
        say({"left": "later"}); break
    if kind == "over" and count == 2:
        say({"over": "free"}); break
note("end of input")
"""
FENCE = {"resource": "miner-0", "run_id": "run-1", "nonce": "0123456789abcdef", "token": 1}


def eventually(ready: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        select_nothing = 0.02
        time.sleep(select_nothing)
    raise AssertionError("it did not come")


class Scene:
    def __init__(self, place: Path) -> None:
        self.log = place / "heard"
        self.log.touch()
        self.watched = subprocess.Popen(["sleep", "600"])

    def spec(self, kind: str, ttl: float = 0.8) -> Dict[str, Any]:
        watch = _keeper_holder.describe(self.watched.pid)
        argv = [sys.executable, "-c", KEEPER, kind, str(self.log)]
        return {"argv": argv, "fence": FENCE, "watch": {key: watch[key] for key in ("pid", "start_time")}, "ttl": ttl}

    def start(self, kind: str, **more: Any) -> Dict[str, Any]:
        given = {**self.spec(kind), **more}
        lines = json.dumps({"argv": given.pop("argv")}) + "\n" + json.dumps(given) + "\n"
        argv = [sys.executable, _holder.__file__]
        done = subprocess.run(argv, input=lines, capture_output=True, text=True, timeout=60, check=True)
        assert "0123456789abcdef" not in " ".join(argv) + done.stdout + done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    @property
    def heard(self) -> List[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.watched.kill()
    made.watched.wait()


def test_it_says_that_it_holds_and_renews_until_its_run_is_gone(scene: Scene) -> None:
    assert scene.start("holds") == {"held": 1}
    assert scene.heard[0] == {"first": {"fence": FENCE}}
    eventually(lambda: scene.heard.count({"renew": True}) >= 2)
    scene.watched.kill()
    scene.watched.wait()
    eventually(lambda: scene.heard[-1] == "end of input", 3.0)


def test_it_connects_before_there_is_a_lease_and_lets_go_when_there_is_none(scene: Scene) -> None:
    argv = [sys.executable, _holder.__file__]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as early:
        assert early.stdin is not None
        early.stdin.write(json.dumps({"argv": scene.spec("holds")["argv"]}).encode() + b"\n")
        early.stdin.flush()
        eventually(lambda: scene.log.with_suffix(".here").exists())
        assert scene.heard == []
        assert early.communicate(timeout=10)[0] == b""
    eventually(lambda: scene.heard == ["end of input"])


def test_with_its_run_what_is_left_of_the_playbook_ends(scene: Scene, tmp_path: Path) -> None:
    state = str(tmp_path / "run-1.json")
    worker = subprocess.Popen(
        ["bash", "-c", "exec -a ansible-playbook sleep 60"],
        env={"PATH": os.environ["PATH"], _holder.MARK: state},
        start_new_session=True,
    )
    try:
        scene.start("holds", state=state)
        assert worker.poll() is None
        scene.watched.kill()
        scene.watched.wait()
        assert worker.wait(15) == -signal.SIGKILL
    finally:
        worker.kill()
        worker.wait()


def test_a_zombie_holds_nothing(scene: Scene) -> None:
    scene.start("holds")
    scene.watched.kill()
    os.waitid(os.P_PID, scene.watched.pid, os.WEXITED | os.WNOWAIT)
    eventually(lambda: scene.heard[-1] == "end of input", 3.0)


def test_a_paused_run_renews_nothing(scene: Scene) -> None:
    scene.start("holds")
    eventually(lambda: scene.heard.count({"renew": True}) >= 1)
    scene.watched.send_signal(signal.SIGSTOP)
    eventually(lambda: _holder.Watched(scene.watched.pid, None).stopped)
    before = len(scene.heard) + 1  # one may be on its way
    time.sleep(1.0)
    assert len(scene.heard) <= before
    scene.watched.send_signal(signal.SIGCONT)
    eventually(lambda: len(scene.heard) > before)


def test_a_connection_that_breaks_is_made_again(scene: Scene) -> None:
    assert scene.start("breaks", ttl=30) == {"held": 1}
    eventually(lambda: len([one for one in scene.heard if "first" in one]) >= 2)


def test_it_ends_with_the_lease(scene: Scene) -> None:
    scene.start("over", ttl=0.4)
    eventually(lambda: scene.heard.count({"renew": True}) == 2)
    time.sleep(_holder.AGAIN + 0.5)
    assert len([one for one in scene.heard if "first" in one]) == 1


def test_a_lease_that_ends_while_the_run_is_alive_is_written_down(scene: Scene, tmp_path: Path) -> None:
    state = str(tmp_path / "run-1.json")
    scene.start("over", ttl=0.4, state=state)
    (one,) = eventually(lambda: _holder.ends(state))
    assert (one["resource"], one["why"]) == ("miner-0", "the machine gave itself back (free)")
    assert time.time() - 60 < one["at"] < time.time() + 1
    assert FENCE["nonce"] not in Path(state + _holder.ENDED).read_text()


def test_what_was_let_go_or_never_held_or_ended_with_its_run_is_not(scene: Scene, tmp_path: Path) -> None:
    state = str(tmp_path / "run-1.json")
    scene.start("leaves", ttl=0.4, state=state)
    scene.start("refuses", state=state)
    scene.start("holds", state=state)
    scene.watched.kill()
    scene.watched.wait()
    eventually(lambda: scene.heard[-1] == "end of input", 3.0)
    assert _holder.ends(state) == []


def test_why_a_lease_ended() -> None:
    assert _holder.why(_holder.OVER, {"error": {"kind": "fence", "message": "stale"}}) == "stale"
    assert "longer than the lease lives" in _holder.why(_holder.CUT, {"renewed": "x"})
    assert "(quarantined)" in _holder.why(_holder.OVER, {"over": "quarantined"})


def test_a_refusal_and_a_program_that_is_not_there_are_told(scene: Scene) -> None:
    assert scene.start("refuses")["error"]["message"] == "stale"
    assert "No such file" in scene.start("holds", argv=["/does/not/exist"])["msg"]
    assert "could not be made" in scene.start("holds", argv=["true"])["msg"]


def test_a_number_that_was_given_to_somebody_else_is_not_watched(scene: Scene) -> None:
    spec = scene.spec("holds")
    spec["watch"]["start_time"] -= 1
    watched = _holder.Watched(spec["watch"]["pid"], spec["watch"]["start_time"])
    assert not watched.alive
    assert watched.descriptor is None


def test_a_connection_that_says_nothing_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_holder, "CONNECT_LIMIT", 0.5)
    told: List[Any] = []
    spec = scene.spec("dumb")
    assert _holder.Holder(spec["argv"], None, spec, told.append).run() == _holder.CUT
    assert "could not be made" in told[0]["msg"]


def test_what_is_left_of_a_runs_playbook_is_ended_and_nothing_else(tmp_path: Path) -> None:
    state = str(tmp_path / "run-1.json")

    def start(name: str, **variables: str) -> subprocess.Popen[bytes]:
        # In a session of its own, as workers are: no group and no parent tells whose it is.
        return subprocess.Popen(
            ["bash", "-c", f"exec -a '{name}' sleep 60"], env={"PATH": os.environ["PATH"], **variables}, start_new_session=True
        )

    ours = start("ansible-playbook", BENCHKEEPER_STATE=state)
    others = [
        start("ansible-playbook", BENCHKEEPER_STATE=str(tmp_path / "run-2.json")),
        start("ansible-playbook"),
        start("ssh", BENCHKEEPER_STATE=state),
    ]
    try:
        deadline = time.monotonic() + 10
        while _holder.players(f"{_holder.MARK}={state}") != [ours.pid] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert _holder.end_players("") == []
        assert _holder.end_players(state) == [ours.pid]
        assert ours.wait(10) == -signal.SIGKILL
        assert [one.poll() for one in others] == [None, None, None]
    finally:
        for one in (ours, *others):
            one.kill()
            one.wait()
