#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: change a service so that it becomes again what it was."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_service
short_description: Change a service so that it becomes again what it was
description:
  - Starts, stops, restarts, reloads, enables or disables a unit of systemd. Whether it was active and enabled is journaled
    before.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: Says whether something would be done; needs the lease all the same.}
  diff_mode: {support: full, description: Active and enabled state before and after.}
  idempotent: {support: partial, description: Restarting and reloading are done each time.}
extends_documentation_fragment:
  - benchkeeper.core.lease
  - benchkeeper.core.lease.item
options:
  unit: {description: 'The unit, with its suffix.', type: str, required: true}
  state: {description: What is to be done., type: str, choices: [started, stopped, restarted, reloaded]}
  enabled: {description: Whether it starts at boot., type: bool}
"""

EXAMPLES = r"""
- name: Stop the miner
  benchkeeper.core.guarded_service:
    lease: "{{ fences[inventory_hostname] }}"
    item: miner-stopped
    group: miner
    unit: xmrig.service
    state: stopped
  become: true
"""

RETURN = r"""
before: {description: The unit before., returned: success, type: dict, sample: {load: loaded, active: active, enabled: enabled}}
after: {description: The unit after., returned: success, type: dict, sample: {load: loaded, active: inactive, enabled: enabled}}
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
            "unit": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "reloaded"]},
            "enabled": {"type": "bool"},
        },
        required_one_of=[("state", "enabled")],
        supports_check_mode=True,
    )
    request = {key: value for key, value in module.params.items() if key != "lease"}
    answer = _keeper_client.guarded(module, "service", {**request, "dry": module.check_mode})
    module.exit_json(diff={"before": answer["before"], "after": answer["after"]}, **answer)


if __name__ == "__main__":
    main()
