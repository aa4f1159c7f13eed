#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: walk through one step of an exercise on a leased bench."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_step
short_description: Walk through one step of an exercise on a leased bench
description:
  - One call does everything that a step of a scenario, a life cycle or a fault says, in order, edits, guarded commands, waits,
    expectations and looks, and tells how it went.
  - Every change goes through the keeper as a guarded command in its own unit, under the lease of the run. What it changes is
    undone with the checkout and with the item that brings the baseline back.
  - A step that does not come out as expected is a result with O(ignore:ok=false), not a failed task, so that the next step runs.
version_added: 0.1.0
author: Benchkeeper maintainers
extends_documentation_fragment: [benchkeeper.core.lease]
attributes:
  check_mode:
    support: full
    description: In the dry run the step is checked and skipped.
  diff_mode:
    support: none
    description: A step is judged by what the host does, not by a difference in text.
  idempotent:
    support: none
    description: Each call runs its commands again.
options:
  step:
    description: The step, C(id), C(title), C(phase), C(ops), C(always); see docs/reference/exercise.md.
    type: dict
    required: true
  driver: {description: The stack's driver from the run context., type: dict, required: true}
  checkout: {description: Directory of the branch on this host., type: path, required: true}
  user: {description: User that commands run as., type: str, required: true}
  project: {description: Name of the compose project., type: str, required: true}
  probes: {description: All probes that signals and expectations may use., type: dict, required: true}
  look: {description: Names of the probes that a whole look takes., type: list, elements: str, required: true}
  redact: {description: Dotenv files on the host whose secret values must never come back., type: list, elements: path, default: []}
  skip: {description: When true the step is not run and says so., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Walk through the life cycle
  benchkeeper.core.stack_step:
    lease: "{{ fences[run.bench] }}"
    step: "{{ item }}"
    driver: "{{ run.driver }}"
    checkout: "{{ run.checkout }}"
    user: "{{ run.owner }}"
    project: "{{ run.project }}"
    probes: "{{ bench.deployed }}"
    look: [stack, env, state]
  loop: "{{ run.lifecycle }}"
  delegate_to: "{{ run.bench }}"
  become: true
"""

RETURN = r"""
step:
  description: How it went; C(looks) holds the snapshots taken, by name. C(seconds) are wall seconds.
  returned: success
  type: dict
  sample: {id: lifecycle.restart, ok: true, why: "", seconds: 12.4, ops: [], looks: {}}
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
"""

import json
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client, _snapshot, _step, _wait

# Runs as the checkout's owner, values on stdin: nothing secret in argv, and the file keeps its mode.
EDITOR = """
import json, os, sys
name = sys.argv[1]
with open(name, encoding="utf-8") as file:
    data = json.load(file)
for path, value in json.load(sys.stdin):
    node = data
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = value
temp = name + ".tmp"
with open(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.stat(name).st_mode & 0o777), "w", encoding="utf-8") as file:
    json.dump(data, file, indent=2)
    file.write("\\n")
os.replace(temp, name)
"""


class HostActions:
    """The actions of a step on the host on which this module runs."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._fence = dict(params["lease"])
        self._count = 0

    def _command(self, argv: Sequence[str], timeout: float, stdin: Optional[str] = None) -> Mapping[str, Any]:
        self._count += 1
        return _keeper_client.call(
            "command",
            {
                "fence": self._fence,
                "item": f"{self._params['step']['id']}.{self._count}",
                "group": "stack",
                "argv": list(argv),
                "cwd": self._params["checkout"],
                "user": self._params["user"],
                "env": dict(self._params["driver"].get("env", {})),
                "stdin": stdin,
                "timeout": timeout,
                "undo": None,
                "covered_by": "deploy",
                "redact": {"dotenv": list(self._params["redact"])},
            },
        )

    def command(self, argv: Sequence[str], timeout: float) -> Mapping[str, Any]:
        """Run a guarded command in the checkout."""
        done = self._command(argv, timeout)
        busy = self._params["driver"].get("busy_exit")
        return {**done, "locked": bool(busy) and done.get("rc") == busy}

    def verb(self, name: str) -> Tuple[List[str], float]:
        """Return the driver's argv for a verb and its time limit in seconds."""
        driver = self._params["driver"]
        limits = driver.get("timeouts", {})
        return [driver["program"], *driver["verbs"].get(name, [name])], float(limits.get(name, limits.get("verb", 300)))

    def edit(self, file: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set dotted paths in a JSON file of the checkout."""
        wanted = json.dumps([[path.split("."), value] for path, value in values.items()])
        done = self._command(["python3", "-c", EDITOR, file], 30, wanted)
        if done.get("rc"):
            raise _step.StepError(f"{file} could not be edited: {str(done.get('stderr_tail', ''))[-200:]}")
        return {"changed": True}

    def engine(self, action: str, container: str, timeout: float) -> Mapping[str, Any]:
        """Stop, start ... a container through the keeper, which journals how long the engine may still be at it."""
        return _keeper_client.call(
            "engine",
            {
                "fence": self._fence,
                "item": f"{self._params['step']['id']}.{action}",
                "group": "stack",
                "covered_by": "deploy",
                "calls": [{"action": action, "container": container, "timeout": timeout}],
            },
        )

    def wait(self, signals: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Wait for signals on this host."""
        return _wait.wait_for_signals(self._params["probes"], signals, self._context(), project=self._params["project"])

    def take(self, probes: Optional[Sequence[str]]) -> Mapping[str, Any]:
        """Look at the host."""
        names = self._params["look"] if probes is None else probes
        return _snapshot.take({name: self._params["probes"][name] for name in names}, self._context())

    def _context(self) -> Any:
        return _keeper_client.look_context(self._fence)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lease": _keeper_client.LEASE_OPTION,
            "step": {"type": "dict", "required": True},
            "driver": {"type": "dict", "required": True},
            "checkout": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "project": {"type": "str", "required": True},
            "probes": {"type": "dict", "required": True},
            "look": {"type": "list", "elements": "str", "required": True},
            "redact": {"type": "list", "elements": "path", "default": []},
            "skip": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    step: Dict[str, Any] = module.params["step"]
    try:
        _step.validate(step)
        if module.check_mode or module.params["skip"]:
            skipped = {"id": step["id"], "title": step.get("title", ""), "phase": step.get("phase", ""), "ok": None}
            module.exit_json(changed=False, step={**skipped, "why": "not run", "seconds": 0, "ops": [], "looks": {}})
        result = _step.walk(step, HostActions(module.params), time.monotonic)
    except _step.StepError as error:
        module.fail_json(msg=str(error))
    except _keeper_client.KeeperError as error:
        module.fail_json(msg=str(error), **error.answer)
    module.exit_json(changed=True, step=result, keeper_wall=_keeper_client.spent())


if __name__ == "__main__":
    main()
