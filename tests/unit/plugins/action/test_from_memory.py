"""Modules that only look run on their host from memory: same results, nothing secret in the command, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.benchkeeper.core.plugins.action import host_snapshot_info, keeper_info, stack_wait
from ansible_collections.benchkeeper.core.plugins.plugin_utils.from_memory import LookingAction, hidden_values

ROOT = Path(__file__).parents[4]
CANARY = "canary-4f1d-nonce"
DISK = {"disk": {"kind": "disk", "path": "/"}}
SPACE = {"name": "space", "deadline": 0, "all": [{"probe": "disk", "path": "free_bytes", "op": "ge", "value": 1}]}


class Host:
    """Runs what an action sends, as a login shell on a host would, in an empty directory.

    ``before`` and ``after`` are shell commands around it: what a login or sudo may say.
    """

    def __init__(self, place: Path, before: str = ":", after: str = ":") -> None:
        self.place, self.before, self.after = place, before, after
        self.commands: list[str] = []

    def run(self, cmd: str, in_data: bytes = b"", **_more: Any) -> dict[str, Any]:
        self.commands.append(cmd)
        line = f"{self.before}; {cmd}; code=$?; {self.after}; exit $code"
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.place), "TMPDIR": str(self.place)}
        done = subprocess.run(["sh", "-c", line], input=in_data, capture_output=True, check=False, cwd=self.place, env=environment)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    place = tmp_path / "home"
    place.mkdir()
    return Host(place)


def act(plugin: Any, args: dict[str, Any], host: Host, python: str = sys.executable, **task: Any) -> dict[str, Any]:
    """Return the result of an action for a task with some options."""
    name = f"benchkeeper.core.{plugin.__name__.rpartition('.')[2]}"
    said = {"action": name, "args": args, "async_val": 0, "check_mode": False, "delegate_to": None, "environment": [], **task}
    shell = SimpleNamespace(
        tmpdir=None, env_prefix=lambda **variables: " ".join(f"{key}={value}" for key, value in variables.items())
    )
    action = plugin.ActionModule(
        task=SimpleNamespace(**said),
        connection=SimpleNamespace(_shell=shell),
        play_context=None,
        loader=None,
        templar=SimpleNamespace(template=lambda text: text),
        shared_loader_obj=None,
    )
    action._low_level_execute_command = host.run
    variables = {"ansible_python_interpreter": python}
    return dict(action.run(task_vars={"ansible_delegated_vars": {"other": variables}} if said["delegate_to"] else variables))


def ordinary(plugin: Any, args: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the result of the same module, run as Ansible runs any other."""
    with patch_module_args(args), pytest.raises(SystemExit):
        plugin.ActionModule.module.main()
    return dict(json.loads(capsys.readouterr().out))


def without_time(node: Any) -> Any:
    """Return a result without what two looks cannot have in common."""
    if isinstance(node, dict):
        return {
            key: without_time(value)
            for key, value in node.items()
            if key not in ("seconds", "taken_at", "free_bytes", "free_inodes")
        }
    return [without_time(one) for one in node] if isinstance(node, list) else node


LEASE = {"resource": "none", "run_id": "none", "nonce": CANARY, "token": 3}


@pytest.mark.parametrize(
    ("plugin", "args"),
    [
        (host_snapshot_info, {"probes": DISK, "host": "bench-0", "key": CANARY}),
        (host_snapshot_info, {"probes": {"odd": {"kind": "odd"}}, "redact": ["/none"]}),
        (host_snapshot_info, {"probes": DISK, "lease": LEASE}),
        (host_snapshot_info, {"probes": DISK, "key": CANARY, "key_file": "/none"}),
        (host_snapshot_info, {"probes": DISK, "key_file": "~/none"}),
        (host_snapshot_info, {"key": CANARY}),
        (host_snapshot_info, {"probes": 4, "key": CANARY}),
        (stack_wait, {"probes": DISK, "signals": [SPACE]}),
        (stack_wait, {"probes": DISK, "signals": [{**SPACE, "deadline": "0"}], "fail": "yes"}),
        (stack_wait, {"probes": {}, "signals": [SPACE]}),
        (stack_wait, {"probes": DISK, "signals": [{**SPACE, "deadline": "soon"}]}),
        (keeper_info, {}),
        (keeper_info, {"run_id": "none"}),
    ],
)
def test_the_result_is_that_of_the_module(
    plugin: Any, args: dict[str, Any], host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    result, expected = act(plugin, args, host), ordinary(plugin, args, capsys)
    expected.pop("exception", None)  # where in AnsibleModule it failed
    if expected.get("failed"):  # how far AnsibleModule came with its options is no part of the answer
        del result["invocation"], expected["invocation"]
    assert without_time(result) == without_time(expected)
    assert CANARY not in json.dumps(result)


def test_an_option_that_is_none_is_refused_before_the_host_is_asked(host: Host) -> None:
    result = act(keeper_info, {"nonsense": 1}, host)
    assert result["failed"]
    assert result["msg"].startswith("Unsupported parameters for (benchkeeper.core.keeper_info) module: nonsense. Supported")
    assert host.commands == []


def test_nothing_of_the_options_is_in_the_command_and_nothing_is_written(host: Host) -> None:
    result = act(host_snapshot_info, {"probes": DISK, "host": "bench-0", "key": CANARY}, host)
    assert result["snapshot"]["host"] == "bench-0"
    assert result["invocation"]["module_args"]["key"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert host.commands == [f"{sys.executable} -I -B -"]
    assert list(host.place.iterdir()) == []


def test_whatever_a_host_says_besides_is_no_answer(host: Host) -> None:
    host.before = "echo 'We trust you have received the usual lecture'; echo '{\"installed\": 1}'; printf 'no line end'"
    host.after = "echo; echo '{}'; echo Bye"
    assert act(keeper_info, {}, host)["leases"] == []


@pytest.mark.parametrize(
    ("python", "before", "told"),
    [
        ("/no/python", ":", "ended with 127 and without an answer: "),
        (sys.executable, "exec >/dev/null", "ended with 0 and without an answer: "),
        (sys.executable, "echo 'sudo: no' >&2; exit 1", "ended with 1 and without an answer: sudo: no"),
    ],
)
def test_no_answer_is_a_clear_failure(host: Host, python: str, before: str, told: str) -> None:
    host.before = before
    result = act(keeper_info, {}, host, python)
    assert result["failed"]
    assert told in result["msg"]


def test_a_program_that_breaks_says_its_last_words_without_secrets(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "run", lambda _cmd, **_more: {"rc": 1, "stdout": "", "stderr": f"Traceback\nKeyError: {CANARY}\n"})
    assert act(host_snapshot_info, {"probes": DISK, "key": CANARY}, host)["msg"].endswith("answer: KeyError: ********")


def test_the_python_is_the_one_of_the_host_that_is_asked(host: Host) -> None:
    act(keeper_info, {}, host, delegate_to="other")
    act(keeper_info, {}, host, "auto", environment=[{"LANG": "C"}])
    assert host.commands == [f"{sys.executable} -I -B -", "LANG=C python3 -I -B -"]


def test_what_is_hidden_is_found_at_every_depth() -> None:
    inner = {"nonce": {"no_log": True}, "token": {"no_log": False}}
    spec = {"key": {"no_log": True}, "lease": {"options": inner}, "none": {"no_log": True}}
    assert hidden_values(spec, {"key": "a", "lease": {"nonce": "b", "token": "c"}, "none": None}) == {"a", "b"}


def test_ansible_itself_finds_the_action_and_shows_no_key(tmp_path: Path) -> None:
    """In the most talkative mode, in the dry run, with a key that is no part of what was typed."""
    key = tmp_path / "key"
    key.write_text(CANARY)
    said = {"probes": DISK, "host": "here", "key": f"{{{{ lookup('ansible.builtin.file', '{key}') }}}}"}
    ansible = [str(Path(sys.executable).parent / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "--check", "-vvvvv"]
    ansible += [
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        "-m",
        "benchkeeper.core.host_snapshot_info",
        "-a",
        json.dumps(said),
    ]
    done = subprocess.run(ansible, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"host": "here"' in done.stdout
    assert "-I -B -" in done.stdout
    assert "AnsiballZ" not in done.stdout
    assert "Using module file" not in done.stdout
    assert CANARY not in done.stdout + done.stderr


def test_every_module_that_only_looks_at_hosts_runs_from_memory() -> None:
    plugins = ROOT / "plugins"
    looking = {path.stem for path in (plugins / "modules").glob("*.py") if "The module only reads." in path.read_text("utf-8")}
    here = {"run_context"}  # looks at the controller
    leased = {"stack_evidence_info"}  # runs on hosts that are leased, never in --mode check
    actions = {path.stem for path in (plugins / "action").glob("*.py") if LookingAction.__name__ in path.read_text("utf-8")}
    assert looking - here - leased == actions
