"""The supervisor as a process, on playbooks of a few lines: whatever ends the run, the recovery is played and the code is right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _holder

from benchkeeper import processes, runs, supervisor
from benchkeeper.options import RecoverOptions
from benchkeeper.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
CONFIG = f"""
[defaults]
collections_path = {ROOT}/collections
roles_path = roles
callback_plugins = {ROOT}/plugins/callback
callbacks_enabled = benchkeeper.core.events
pipelining = True
"""
HOSTS = f"""
all:
  vars: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}
  hosts: {{localhost: {{}}}}
  children: {{benches: {{hosts: {{b: {{}}}}}}, miners: {{hosts: {{m: {{}}}}}}}}
"""
E2E = """
- name: Run
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Context
      ansible.builtin.copy:
        dest: "{{ bench_results }}/{{ run_id }}/work/context.json"
        content: >-
          {{ {'run_id': run_id, 'mode': mode, 'branch': branch, 'stack': stack,
              'hosts': [{'name': 'm'}, {'name': 'b'}], 'state_file': state_file} }}
        mode: "0600"
    - {name: Leases, ansible.builtin.import_role: {name: lease}}
    - {name: Long work, ansible.builtin.command: sleep 600}
"""
LEASE = "- {name: Take, ansible.builtin.debug: {msg: x}, loop: [m, b]}"
RECOVER = """
- name: Recover
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Slowly, ansible.builtin.command: sleep 2}
    - {name: Place, ansible.builtin.file: {path: "{{ recover_dir }}/work", state: directory, mode: "0700"}}
    - name: Say
      ansible.builtin.copy:
        dest: "{{ recover_dir }}/work/recover.json"
        content: "{{ [{'item': 'm', 'restored': true, 'proven': true}, {'item': 'b', 'restored': true, 'proven': PROVEN}] }}"
        mode: "0600"
"""
PROGRAM = """
import sys
from pathlib import Path
from benchkeeper import supervisor
from benchkeeper.options import E2EOptions
from benchkeeper.paths import Paths
root = Path(sys.argv[1])
supervisor.checkout = lambda: Paths(root)
supervisor.keeper_program.ensure = lambda _paths: None
options = E2EOptions("main", "4f" * 20, "pithead", "targeted", ("m",), None, False, None, 0, root / "hosts.yml", embedded=False)
sys.exit(supervisor.run_e2e(options))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {"ansible.cfg": CONFIG, "hosts.yml": HOSTS, "playbooks/e2e.yml": E2E, "roles/lease/tasks/main.yml": LEASE}
    for name, text in {**files, "playbooks/recover.yml": RECOVER.replace("PROVEN", "true")}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def process(root: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "XDG_STATE_HOME": str(root / "state"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as one:
        yield one
        processes.end(processes.descendants(one.pid), grace=0.1)
        one.kill()


def until(root: Path, process: subprocess.Popen[str], text: str, pattern: str = "results/2*/events.jsonl") -> None:
    """Wait until the run has come to a task."""
    deadline = time.monotonic() + 60
    while not any(text in path.read_text(encoding="utf-8") for path in root.glob(pattern)):
        assert time.monotonic() < deadline, text
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def result(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "results" / "latest" / "result.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_recovers_and_ends_with_its_code(root: Path, process: subprocess.Popen[str], number: signal.Signals) -> None:
    until(root, process, "Long work")
    children = processes.descendants(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert result(root)["verdict"] == "interrupted"
    assert {name: end["proven"] for name, end in result(root)["restored"].items()} == {"b": True, "m": True}
    assert processes.alive(children) == {}
    assert "is everything back?     Yes, proven" in out
    assert list((root / "state").rglob("*.json")) == [], "what is back is forgotten"
    assert not list((root / "results").rglob("runner")), "ansible-runner's data are removed"


def test_a_second_signal_is_noted_and_not_obeyed(root: Path, process: subprocess.Popen[str]) -> None:
    until(root, process, "Long work")
    process.send_signal(signal.SIGTERM)
    until(root, process, "Slowly", ".bench/recover/*/events.jsonl")
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "SIGINT noted" in err
    assert result(root)["restored"]["m"]["proven"]


def test_a_machine_that_was_given_back_ends_the_run(root: Path, process: subprocess.Popen[str]) -> None:
    until(root, process, "Long work")
    (state,) = (root / "state").rglob("2*.json")
    _holder.note_end(str(state), "m", "the machine gave itself back (free)")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "the run lost its lease: m: the machine gave itself back (free)" in out
    assert all(end["proven"] for end in result(root)["restored"].values())
    assert [path.name for path in (root / "state").rglob("*") if path.is_file()] == [], "what is back is forgotten"


def test_a_killed_playbook_is_recovered(root: Path, process: subprocess.Popen[str]) -> None:
    until(root, process, "Long work")
    for pid in processes.descendants(process.pid):
        if Path(f"/proc/{pid}").exists() and b"e2e.yml" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert "killed" in result(root)["reason"]
    assert all(end["proven"] for end in result(root)["restored"].values())


def test_a_host_that_is_not_proven_beats_the_signal(root: Path, process: subprocess.Popen[str]) -> None:
    (root / "playbooks" / "recover.yml").write_text(RECOVER.replace("PROVEN", "false"), encoding="utf-8")
    until(root, process, "Long work")
    process.send_signal(signal.SIGINT)
    out, _err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "./bench recover --run" in out
    (state,) = (root / "state").rglob("*.json")
    assert state.stat().st_mode & 0o777 == 0o600


def test_a_report_that_cannot_be_drawn_does_not_hide_the_recovery(root: Path, process: subprocess.Popen[str]) -> None:
    until(root, process, "Long work")
    (folder,) = (root / "results").glob("2*")
    (folder / "junit.xml").mkdir()
    process.send_signal(signal.SIGTERM)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "Traceback" not in err
    assert "everything is put back first" in err
    assert "restored and proven" in err


def test_a_crash_without_proof_ends_with_4(root: Path, process: subprocess.Popen[str]) -> None:
    (root / "playbooks" / "recover.yml").write_text("- {hosts: localhost, gather_facts: false, tasks: []}", encoding="utf-8")
    until(root, process, "Long work")
    (folder,) = (root / "results").glob("2*")
    (folder / "junit.xml").mkdir()
    process.send_signal(signal.SIGTERM)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "Traceback" not in err
    assert "not proven restored: m, b" in err
    assert len(list((root / "state").rglob("*.json"))) == 1


def test_a_recovery_that_cannot_be_played_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "checkout", lambda: Paths(tmp_path))
    monkeypatch.setattr(supervisor.keeper_program, "ensure", lambda _paths: None)
    there = [tmp_path / "a.yml", tmp_path / "b.yml"]
    states = []
    for number, place in enumerate([tmp_path / "gone.yml", *there]):
        if place in there:
            place.touch()
        states.append(runs.RunState(tmp_path / f"{number}.json", {"inventory": str(place), "hosts": ["m"], "checkout": "/x"}))
    monkeypatch.setattr(supervisor.runs, "unfinished", lambda _paths: states)
    played = []

    def play(_paths: Paths, wish: Any, _show: object) -> list[dict[str, Any]]:
        played.append(wish.inventory)
        if wish.inventory == there[0]:
            raise OSError("no")
        return [{"item": "m", "proven": True, "restored": True, "nothing_to_do": True}]

    monkeypatch.setattr(supervisor.recovery, "play", play)
    assert supervisor.run_recover(RecoverOptions((), None, force=False, inventory=None, verbose=0)) == 4
    assert played == there


def test_a_wish_that_was_skipped_is_not_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "checkout", lambda: Paths(tmp_path))
    monkeypatch.setattr(supervisor.keeper_program, "ensure", lambda _paths: None)
    gone = runs.RunState(tmp_path / "x.json", {"inventory": str(tmp_path / "gone.yml"), "hosts": ["m"], "checkout": "/x"})
    monkeypatch.setattr(supervisor.runs, "unfinished", lambda _paths: [gone])
    assert supervisor.run_recover(RecoverOptions((), None, force=False, inventory=None, verbose=0)) == 4
    said = capsys.readouterr()
    assert "nothing to do" not in said.out
    assert "gone.yml is gone" in said.err


def test_nothing_secret_is_in_the_arguments_or_the_environment_of_the_playbook(root: Path, process: subprocess.Popen[str]) -> None:
    until(root, process, "Long work")
    (state,) = (root / "state").rglob("*.json")
    known = json.loads(state.read_text(encoding="utf-8"))
    for pid in processes.descendants(process.pid):
        if not Path(f"/proc/{pid}/environ").exists():
            continue
        raw = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert known["nonce"].encode() not in raw
        assert known["canary"].encode() not in raw


def test_machines_that_another_stack_had_no_use_for_are_gone(tmp_path: Path) -> None:
    own = Paths(tmp_path)
    own.make_work()
    own.inventory.mkdir(parents=True)
    hosts = "all: {children: {benches: {hosts: {b: }}, miners: {hosts: {m: }}, pools: {hosts: {p: }}}}"
    (own.inventory / "hosts.yml").write_text(hosts, encoding="utf-8")

    def state(*names: str, inventory: Path = own.inventory) -> runs.RunState:
        return runs.RunState(tmp_path / "x.json", {"inventory": str(inventory), "hosts": list(names), "checkout": str(tmp_path)})

    assert supervisor._machines_gone(state("b", "m"))
    own.machines.write_text('{"machines": {"b": {}, "p": {}}}', encoding="utf-8")
    assert not supervisor._machines_gone(state("b", "m"))
    assert supervisor._left(state("b", "m")).hosts == ("b",)
    assert supervisor._machines_gone(state("m"))
    assert not supervisor._machines_gone(state()), "a run that only looked leased nothing"
    assert supervisor._existing(own.inventory) == ("b",)
    elsewhere = state("b", "m", inventory=tmp_path / "mine")
    assert (supervisor._left(elsewhere).hosts, supervisor._machines_gone(elsewhere)) == (("b", "m"), False)
    assert supervisor._existing(tmp_path / "mine") == supervisor._existing(Path("/")) == ()
