"""A playbook through ansible-runner: what it may see, that it can be ended, that nothing of it is left."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchkeeper import player, processes

ROOT = Path(__file__).parents[3]
PLAYBOOK = """
- name: Try
  hosts: localhost
  connection: local
  gather_facts: false
  vars: {{ ansible_python_interpreter: {python}, ansible_remote_tmp: {out}/remote }}
  tasks:
    - name: Say what is seen
      ansible.builtin.shell: >-
        env > {out}/env; cat /proc/$PPID/environ /proc/$PPID/cmdline > {out}/parent; echo {{{{ secret_value }}}} > {out}/value
    - name: Last
      ansible.builtin.command: "sleep {seconds}"
"""


def play(folder: Path, seconds: int = 0) -> player.Play:
    book = folder / "book.yml"
    book.write_text(PLAYBOOK.format(out=folder, seconds=seconds, python=sys.executable), encoding="utf-8")
    inventory = folder / "hosts.yml"
    inventory.write_text("all: {hosts: {localhost: {}}}", encoding="utf-8")
    return player.Play(
        book,
        inventory,
        ROOT,
        {"secret_value": "s3cr3t-value"},
        folder / "runner",
        folder / "events.jsonl",
        secrets=["s3cr3t-value"],
    )


def test_the_allowed_environment() -> None:
    given = {"HOME": "/root", "LC_ALL": "C", "AWS_SECRET": "x", "ANSIBLE_CONFIG": "x", "LD_PRELOAD": "x", "XDG_STATE_HOME": "/s"}
    assert player.allowed(given) == {"HOME": "/root", "LC_ALL": "C", "XDG_STATE_HOME": "/s"}


def test_values_travel_in_a_file_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOP_SECRET", "from-the-shell")
    one = player.Player(play(tmp_path))
    seen = (tmp_path / "runner").stat().st_mode & 0o777
    assert one.wait(60)
    assert one.code == 0
    assert seen == 0o700
    assert os.environ["TOP_SECRET"] == "from-the-shell"
    assert (tmp_path / "value").read_text(encoding="utf-8").strip() == "s3cr3t-value"
    for name in ("env", "parent"):
        assert b"from-the-shell" not in (tmp_path / name).read_bytes()
        assert b"s3cr3t-value" not in (tmp_path / name).read_bytes()
    one.close(tmp_path / "log")
    assert not (tmp_path / "runner").exists()
    assert "s3cr3t-value" not in (tmp_path / "log").read_text(encoding="utf-8")
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["task"] for event in events if event["event"] == "task.end"] == ["Say what is seen", "Last"]


def _wait_for_last() -> dict[int, int]:
    """Wait until the last task is at work; return what there is below us then."""
    deadline = time.monotonic() + 30
    while True:
        found = processes.descendants(os.getpid())
        with contextlib.suppress(OSError):  # what ended while we look
            if any(Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00600\x00" for pid in found):
                return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_host_keys_are_checked_whatever_the_runner_would_rather(tmp_path: Path) -> None:
    """Found by the battery (F7, another host key): ansible-runner told ssh not to look, over the head of ansible.cfg."""
    assert player.Player(play(tmp_path)).wait(60)
    assert "ANSIBLE_HOST_KEY_CHECKING=True" in (tmp_path / "parent").read_text(encoding="utf-8", errors="replace").split("\0")


def test_a_playbook_can_be_ended_with_all_that_it_started(tmp_path: Path) -> None:
    one = player.Player(play(tmp_path, seconds=600))
    started = _wait_for_last()
    begun = time.monotonic()
    one.stop()
    assert time.monotonic() - begun < 20
    assert not one.running
    assert one.code is None
    assert processes.alive(started) == {}
    one.close(None)
    assert not (tmp_path / "remote").exists(), "a module's file has its values in it"


def test_a_killed_playbook_has_no_exit_code(tmp_path: Path) -> None:
    one = player.Player(play(tmp_path, seconds=600))
    children = _wait_for_last()
    main = [pid for pid in children if b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(min(main), signal.SIGKILL)
    assert one.wait(20)
    assert one.code is None
    processes.end(children, grace=0.1)
    one.close(None)
    assert not (tmp_path / "remote").exists(), "a module's file has its values in it"


def test_a_process_is_known_by_its_start_too() -> None:
    child = subprocess.Popen(["sleep", "600"])
    started = processes.start_time(child.pid)
    assert started is not None
    assert processes.alive({child.pid: started + 1}) == {}
    processes.send({child.pid: started + 1}, signal.SIGKILL)
    assert child.poll() is None, "another process of the same number must not be hit"
    processes.end({child.pid: started}, grace=1)
    assert child.wait(5) == -signal.SIGTERM
    assert processes.start_time(child.pid) is None


@pytest.mark.parametrize(("output", "leaks"), [("nothing", False), ("value: s3cr3t-value-of-a-run", True)])
def test_a_secret_in_the_raw_output_is_told(tmp_path: Path, output: str, *, leaks: bool) -> None:
    one = object.__new__(player.Player)
    one._play = dataclasses.replace(play(tmp_path), secrets=["s3cr3t-value-of-a-run"])
    stdout = tmp_path / "runner" / "artifacts" / "run" / "stdout"
    stdout.parent.mkdir(parents=True)
    stdout.write_text(output, encoding="utf-8")
    assert bool(one.close(tmp_path / "log")) is leaks
    assert "s3cr3t" not in (tmp_path / "log").read_text(encoding="utf-8")
