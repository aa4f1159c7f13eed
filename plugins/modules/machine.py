#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the embedded bench's machines, present or absent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: machine
short_description: Make or remove the machines of the embedded bench
description:
  - Makes engine, images, network and machines of this checkout's embedded bench what they shall be, or removes them.
  - Runs on the controller only, with the interpreter of the checkout's environment.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode:
    support: full
    description: In the dry run nothing is made or removed.
  diff_mode:
    support: none
    description: Machines are made or replaced whole.
  idempotent:
    support: full
    description: A machine that is what it shall be is left alone; so is one that is leased.
options:
  state: {description: Whether the machines shall be there., type: str, choices: [present, absent], default: present}
  stack:
    description: Stack whose needs (machines, packages, limits) they serve. Machines that were made for another one are replaced.
    type: str
    default: pithead
  install: {description: Whether missing programs may be installed on this computer., type: bool, default: false}
  force: {description: Remove machines even when they are leased., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Make the machines
  benchkeeper.core.machine:
    state: present
    stack: pithead

- name: Remove them
  benchkeeper.core.machine:
    state: absent
"""

RETURN = r"""
machines:
  description: By name, container, address (IPv4) and state (running, cut, exited ...).
  returned: success
  type: dict
  sample: {bench-0: {container: bk-0a1b2c-bench-0, address: 10.220.9.10, state: running}}
images:
  description: Tags of the images by short name; C(machine) and one per folder of the stack's C(images/).
  returned: when O(state=present)
  type: dict
  sample: {machine: "benchkeeper/machine:7382dbf6566f"}
"""

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "stack": {"type": "str", "default": "pithead"},
    "install": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
}


def main() -> None:
    """Wire arguments to the controller's package and answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        from benchkeeper.errors import BenchError  # noqa: PLC0415
        from benchkeeper.setup import apply_state  # noqa: PLC0415 -- only the checkout's environment has it
    except ImportError as error:
        module.fail_json(msg=f"this module runs on the controller, in the environment that ./bench makes: {error}")
    try:
        module.exit_json(**apply_state(**module.params, dry_run=module.check_mode))
    except BenchError as error:
        module.fail_json(msg=str(error), exit_code=error.exit_code)


if __name__ == "__main__":
    main()
