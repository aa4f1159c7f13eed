#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: run a command in a unit of its own, with its undo journaled before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_command
short_description: Run a command in a unit of its own, with its undo journaled before
description:
  - Runs a program as a user, in a unit of its own, with a small fixed environment. If the connection is lost it runs on, and
    the same call finds it again.
  - The way back is journaled durably before it starts, and the restore stops what still runs before it undoes anything.
  - The module succeeds whatever the exit code is; RV(rc) tells it. Output is redacted on the host; only its end travels.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: partial, description: Runs nothing and says that something would be changed.}
  diff_mode: {support: none, description: What a program changes is not known before.}
  idempotent: {support: none, description: The program runs each time; a call that was lost is taken up again instead.}
extends_documentation_fragment:
  - benchkeeper.core.lease
  - benchkeeper.core.lease.item
options:
  argv: {description: The program and its arguments; no shell., type: list, elements: str, required: true}
  cwd: {description: Directory to run in., type: str, default: /}
  user: {description: User to run as., type: str, default: root}
  env: {description: More environment; it is not printed and not part of the evidence., type: dict, default: {}}
  stdin: {description: What it reads., type: str, default: ""}
  timeout: {description: 'Seconds after which it is ended (TERM, 10 s later KILL; exit code 124).', type: float, default: 600}
  undo:
    description:
      - 'A counter-command C({argv, cwd, user, env, timeout, verify, probes}): run only while the predicates of C(verify) do
        not hold on the C(probes), and verified again.'
      - 'Or C({kind: engine, project, live_dir, argv, env, user, timeout}): the compose project comes back with its image ids
        and tags, by running C(argv) in C(live_dir); containers,
        networks, volumes, images and tags that came with the run are removed.'
    type: dict
  covered_by: {description: Another item of the run whose undo undoes this command., type: str}
  redact:
    description: Settings files whose secret values are taken out of the output.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Deploy the branch
  benchkeeper.core.guarded_command:
    lease: "{{ fences[inventory_hostname] }}"
    item: deploy
    group: stack
    argv: [./pithead, upgrade]
    cwd: /srv/code/pithead-e2e
    user: ops
    timeout: 600
    undo: {kind: engine, project: pithead, live_dir: /srv/code/pithead, argv: [./pithead, up], user: ops, timeout: 300}
    redact: [/srv/code/pithead/.env]
  become: true
"""

RETURN = r"""
rc: {description: Exit code; 124 when it was ended by its time limit., returned: success, type: int, sample: 0}
unit: {description: The unit it ran in., returned: success, type: str, sample: bk-bench-0-3-7.service}
seconds: {description: How long it ran., returned: success, type: float, sample: 21.4}
timed_out: {description: Whether it was ended by its time limit., returned: success, type: bool, sample: false}
stdout_tail: {description: 'The end of its output, redacted.', returned: success, type: str, sample: "Stack is up.\n"}
stderr_tail: {description: 'The end of its messages, redacted.', returned: success, type: str, sample: ""}
reattached: {description: It had been started by a call that was lost., returned: success, type: bool, sample: false}
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lease": _keeper_client.LEASE_OPTION,
            "item": {"type": "str", "required": True},
            "group": {"type": "str", "default": "default"},
            "argv": {"type": "list", "elements": "str", "required": True},
            "cwd": {"type": "str", "default": "/"},
            "user": {"type": "str", "default": "root"},
            "env": {"type": "dict", "default": {}, "no_log": False},
            "stdin": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "float", "default": 600.0},
            "undo": {"type": "dict"},
            "covered_by": {"type": "str"},
            "redact": {"type": "list", "elements": "str", "default": []},
        },
        required_one_of=[("undo", "covered_by")],
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, rc=0, stdout_tail="", stderr_tail="", msg="not run")
    request = {key: value for key, value in module.params.items() if key != "lease"}
    request["redact"] = {"dotenv": request["redact"]}
    request["env"] = {key: str(value) for key, value in request["env"].items()}
    # Without a word on it Ansible takes every exit code but 0 for a failure, and the reason would be lost.
    module.exit_json(changed=True, failed=False, **_keeper_client.guarded(module, "command", request))


if __name__ == "__main__":
    main()
