#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: stop, start, kill, pause or remove containers, and give them their state back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_engine
short_description: Stop, start, kill, pause or remove containers, and give them their state back
description:
  - Makes calls to the container engine, one after the other. How long the engine may still be at it after we died is journaled
    with each.
  - The undo gives each container the state it had, unless another item covers it.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: partial, description: Does nothing and says that something would be changed.}
  diff_mode: {support: none, description: States are in the result.}
  idempotent: {support: none, description: The calls are made each time.}
extends_documentation_fragment:
  - benchkeeper.core.lease
  - benchkeeper.core.lease.item
options:
  calls:
    description: What to do, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      action: {description: The call., type: str, required: true, choices: [stop, start, restart, kill, pause, unpause, rm]}
      container: {description: Name or id., type: str, required: true}
      timeout: {description: 'Seconds between TERM and KILL; more than 10 counts as 10.', type: float, default: 10}
  covered_by: {description: Another item of the run whose undo undoes these calls., type: str}
"""

EXAMPLES = r"""
- name: Stop the node
  benchkeeper.core.guarded_engine:
    lease: "{{ fences[inventory_hostname] }}"
    item: node-stopped
    group: stack
    calls: [{action: stop, container: monerod}]
    covered_by: deploy
  become: true
"""

RETURN = r"""
calls: {description: What was done., returned: success, type: list, elements: dict, sample: [{action: stop, container: monerod,
  before: {id: 3f0c, state: running}}]}
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
            "calls": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "action": {
                        "type": "str",
                        "required": True,
                        "choices": ["stop", "start", "restart", "kill", "pause", "unpause", "rm"],
                    },
                    "container": {"type": "str", "required": True},
                    "timeout": {"type": "float", "default": 10.0},
                },
            },
            "covered_by": {"type": "str"},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, calls=[])
    request = {key: value for key, value in module.params.items() if key != "lease" and value is not None}
    module.exit_json(changed=True, **_keeper_client.guarded(module, "engine", request))


if __name__ == "__main__":
    main()
