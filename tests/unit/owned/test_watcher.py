"""A supervisor is killed, and what it made goes; the watcher is killed too, and the next command does it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _holder, _owned_dirs, _owned_runs
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import RealFiles

from benchkeeper import owned, owned_processes, processes, watcher
from benchkeeper.errors import BusyError, UnfitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchkeeper.paths import Paths
    from tests.unit.owned.world import World

# A supervisor in a few lines: begins a run, is watched over, makes a directory, starts a command of the run, and stays or ends.
SUPERVISOR = """
import json, subprocess, sys, time
from pathlib import Path
from benchkeeper import owned, watcher
from benchkeeper.paths import Paths
run = owned.begin(Paths(Path(sys.argv[1])), "spawner")
watch = watcher.watch(run)
command = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={"PATH": "/bin", **run.environment},
                           start_new_session=True)
print(json.dumps({"labels": run.labels, "file": str(run.file), "watcher": watch.pid, "command": command.pid,
                  "directory": run.state_directory()}), flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "keep":
        run.keep()
    if word == "end":
        run.end(); watch.dismiss()
    if word == "close":
        watch._process.stdin.close()
    print("ok", flush=True)
"""


def eventually(ready: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


class Supervisor:
    def __init__(self, paths: Paths) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SUPERVISOR, str(paths.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.labels: dict[str, str] = said["labels"]
        self.lease, self.directory = Path(said["file"]), Path(said["directory"])
        self.watcher, self.command = int(said["watcher"]), int(said["command"])
        self.log = self.lease.parent / "watcher.log"
        self.known = {pid: processes.start_time(pid) or 0 for pid in (self.watcher, self.command)}

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def watched_over(self) -> bool:
        return self.watcher in processes.alive(self.known)

    def working(self) -> bool:
        return self.command in processes.alive(self.known)

    def close(self) -> None:
        processes.send(self.known, signal.SIGKILL)  # first: the command holds the other end of a pipe that is read to its end
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def supervisor(paths: Paths) -> Iterator[Supervisor]:
    one = Supervisor(paths)
    yield one
    one.close()


def fill(world: World, labels: dict[str, str]) -> None:
    net = world.net("net", labels)
    for number in range(3):
        world.box(f"box-{number}", labels, nets=(net,))
    world.vol("vol", labels)
    world.box("stranger", {"galaxy.backend": "1"})


def only_the_stranger(world: World) -> bool:
    return [box["name"] for box in world.boxes.values()] == ["stranger"] and not world.nets and not world.vols


def test_kill_9_of_the_supervisor_leaves_nothing(world: World, supervisor: Supervisor) -> None:
    fill(world, supervisor.labels)
    assert supervisor.working()
    supervisor.kill()
    eventually(lambda: not supervisor.lease.exists())
    assert only_the_stranger(world)
    assert not supervisor.directory.exists()
    eventually(lambda: not supervisor.working())
    eventually(lambda: not supervisor.watched_over())
    assert "nothing of it is left" in supervisor.log.read_text()


def test_signals_for_the_supervisors_group_and_for_itself_do_not_end_the_watcher(world: World, supervisor: Supervisor) -> None:
    fill(world, supervisor.labels)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(supervisor.watcher, number)
    os.killpg(supervisor.process.pid, signal.SIGTERM)
    supervisor.process.wait()
    eventually(lambda: not supervisor.lease.exists())
    assert only_the_stranger(world)


def test_kill_9_of_the_supervisors_whole_group_leaves_nothing(world: World, supervisor: Supervisor) -> None:
    fill(world, supervisor.labels)
    os.killpg(supervisor.process.pid, signal.SIGKILL)
    supervisor.process.wait()
    eventually(lambda: not supervisor.lease.exists())
    assert only_the_stranger(world)


def test_nothing_is_touched_while_the_supervisor_lives(world: World, supervisor: Supervisor, paths: Paths) -> None:
    fill(world, supervisor.labels)
    supervisor.say("close")  # whoever is told nothing any more has not been told that it is over
    before = world.names()
    assert watcher.sweep_left_over(paths).clean
    assert (world.names(), supervisor.watched_over(), supervisor.working()) == (before, True, True)
    supervisor.kill()
    eventually(lambda: not supervisor.lease.exists())


def test_kill_9_of_supervisor_and_watcher_is_cleaned_up_by_the_next_command(
    world: World, supervisor: Supervisor, paths: Paths
) -> None:
    fill(world, supervisor.labels)
    os.kill(supervisor.watcher, signal.SIGKILL)
    supervisor.kill()
    eventually(lambda: not supervisor.watched_over())
    assert len(world.boxes) == 4
    assert watcher.sweep_left_over(paths).clean
    assert only_the_stranger(world)
    assert not supervisor.directory.exists()
    assert not supervisor.lease.exists()
    assert not supervisor.working()


def test_a_run_that_ends_by_itself_dismisses_its_watcher(world: World, supervisor: Supervisor) -> None:
    fill(world, supervisor.labels)
    supervisor.say("end")
    assert only_the_stranger(world)
    eventually(lambda: not supervisor.watched_over())
    assert supervisor.process.poll() is None
    assert not supervisor.lease.exists()


def test_a_kept_run_stays(world: World, supervisor: Supervisor) -> None:
    fill(world, supervisor.labels)
    supervisor.say("keep")
    supervisor.kill()
    eventually(lambda: not supervisor.watched_over())
    assert len(world.boxes) == 4
    assert supervisor.lease.exists()
    assert "it is kept" in supervisor.log.read_text()


def test_an_engine_that_is_away_for_a_while_is_waited_for(world: World, supervisor: Supervisor) -> None:
    fill(world, supervisor.labels)
    world.down = True
    supervisor.kill()
    eventually(lambda: "no engine" in supervisor.log.read_text() and supervisor.lease.exists())
    world.down = False
    eventually(lambda: not supervisor.lease.exists())
    assert only_the_stranger(world)


# What it holds is said, or nothing is made


def test_a_watcher_says_what_it_holds(paths: Paths) -> None:
    run = owned.begin(paths, "spawner")
    watch = watcher.watch(run)
    assert watch.said == {"watching": run.labels, "roots": list(run.lease.roots)}
    run.forget()
    watch.dismiss()
    eventually(lambda: processes.start_time(watch.pid) is None)


def test_without_an_engine_there_is_no_watcher(paths: Paths, world: World) -> None:
    world.down = True
    with pytest.raises(UnfitError, match="no watcher over the run: engine: 503"):
        watcher.watch(owned.begin(paths, "spawner"))


def test_without_a_lease_there_is_no_watcher(paths: Paths) -> None:
    run = owned.begin(paths, "spawner")
    run.forget()
    with pytest.raises(UnfitError, match="there is no lease"):
        watcher.watch(run)


def test_a_watcher_that_says_nothing_is_not_relied_on(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(UnfitError, match="it said nothing"):
        watcher.watch(owned.begin(paths, "spawner"))


def test_a_watcher_that_was_killed_is_noticed_and_another_one_can_be_had(paths: Paths) -> None:
    run = owned.begin(paths, "spawner")
    first = watcher.watch(run)
    assert first.alive
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: not first.alive)
    first.dismiss()
    second = watcher.watch(run)
    run.forget()
    second.dismiss()


# Without processes


def test_the_end_is_seen_where_the_kernel_does_not_tell_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(_holder, "BREATH", 0.05)
    read, write = os.pipe()
    for dies in (True, False):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        watched = _holder.Watched(child.pid, processes.start_time(child.pid))
        assert watched.descriptor is None
        if dies:
            child.kill()
        else:
            os.write(write, b"done\n")
        assert watcher.wait(watched, read) is dies
        child.kill()
        child.communicate()
    os.close(read)
    os.close(write)


def test_a_kept_run_is_taken_over_and_its_first_watcher_lets_go(paths: Paths, world: World) -> None:
    run = owned.begin(paths, "spawner")
    world.box("box", run.labels)
    with pytest.raises(BusyError, match="alive, not kept"):
        owned.take_over(paths, run.lease.run)
    with pytest.raises(UsageError, match="no run"):
        owned.take_over(paths, "20260131T120000Z-000000")
    with pytest.raises(BusyError, match="already"):
        owned.begin(paths, "spawner", run_id=run.lease.run)
    run.keep(60)
    dead = dataclasses.replace(run.lease, holder={**run.lease.holder, "start_time": 1})
    _owned_runs.write(run.file.parent, dead)
    again = owned.take_over(paths, run.lease.run)
    assert (again.labels, again.lease.kept_until) == (run.labels, 0.0)
    assert watcher.clean_up(run.file, dead, lambda _seconds: None) == 0
    assert len(world.boxes) == 1
    assert again.end().clean
    assert world.boxes == {}


def test_a_create_that_was_under_way_is_seen_by_a_later_look(paths: Paths, world: World) -> None:
    run = owned.begin(paths, "spawner")
    world.box("box", run.labels)
    pauses = []

    def sleep(_seconds: float) -> None:
        pauses.append(len(world.boxes))
        if len(pauses) == 2:
            world.box("late", run.labels)

    assert watcher.clean_up(run.file, run.lease, sleep) == 0
    assert world.boxes == {}
    assert len(pauses) == 5, "three looks in a row found nothing"
    assert not run.file.exists()


def test_what_cannot_be_removed_is_tried_until_the_time_is_over(
    paths: Paths, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = owned.begin(paths, "spawner")
    world.refused["list container"] = (500, "broken")
    clock = [0.0]
    monkeypatch.setattr(watcher.time, "monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    assert watcher.clean_up(run.file, run.lease, sleep) == 1
    assert run.file.exists(), "the lease stays for the sweep of a later command"
    assert "given up: engine: 500: " in capsys.readouterr().out


def test_a_lease_that_was_taken_away_is_looked_after_once(paths: Paths, world: World) -> None:
    run = owned.begin(paths, "spawner")
    run.forget()
    pauses: list[float] = []
    assert watcher.clean_up(run.file, run.lease, pauses.append) == 0
    assert pauses == []
    world.box("box", run.labels)
    assert watcher.clean_up(run.file, run.lease, pauses.append) == 0
    assert (world.boxes, len(pauses)) == ({}, 1)


def test_a_run_ends_with_a_proof(paths: Paths, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned.time, "sleep", lambda _seconds: None)
    run = owned.begin(paths, "spawner")
    first, second = run.state_directory(), run.state_directory()
    assert first != second
    world.box("box", run.labels, binds=(first,))
    world.refused["remove container"] = (500, "no")
    outcome = run.end()
    assert ([one["name"] for one in outcome.left], run.file.exists()) == (["box"], True)
    world.refused.clear()
    assert run.end().clean
    assert not run.file.exists()
    assert _owned_dirs.find(RealFiles(), run.lease.roots, run.own) == []


def test_the_lease_is_there_before_anything_is_made(paths: Paths) -> None:
    run = owned.begin(paths, "spawner")
    lease = _owned_runs.read(run.file)
    assert lease == run.lease
    assert lease is not None
    assert lease.holder["pid"] == os.getpid()


# Processes


def test_only_a_process_with_all_three_is_a_runs(paths: Paths) -> None:
    run = owned.begin(paths, "spawner")
    marks = run.environment
    environments = {"ours": marks, "other": {**marks, "BENCHKEEPER_RUN": "x"}, "two": dict(list(marks.items())[:2]), "none": {}}
    children = {
        name: subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, env=environment)
        for name, environment in environments.items()
    }
    try:
        # A child is a copy of this process until it runs its own program.
        eventually(lambda: list(owned_processes.find(run.own)) == [children["ours"].pid])
        assert owned_processes.end(run.own, grace=1.0) == 1
        assert children["ours"].wait(10) == -signal.SIGTERM
        assert [name for name, child in children.items() if child.poll() is None] == ["other", "two", "none"]
        assert owned_processes.end(run.own) == 0
    finally:
        for child in children.values():
            child.kill()
            child.communicate()


def test_this_process_and_those_above_it_are_never_ended(paths: Paths) -> None:
    run = owned.begin(paths, "spawner")
    program = (
        "import sys\nfrom benchkeeper import owned_processes\n"
        "from ansible_collections.benchkeeper.core.plugins.module_utils._owned import ownership\n"
        "print(owned_processes.end(ownership(sys.argv[1:])))"
    )
    shell = ["/bin/sh", "-c", '"$@"; echo still here', "sh", sys.executable, "-P", "-c", program, *run.own.words()]
    done = subprocess.run(shell, env={**os.environ, **run.environment}, capture_output=True, text=True, check=True)
    assert done.stdout == "0\nstill here\n"
