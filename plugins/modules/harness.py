#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a tenant harness on the controller's own engine, present or absent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: harness
short_description: Bring tenants behind an edge up on this computer's engine, or take them down
description:
  - Brings a tenant harness up, proves that what answers is what was built, seeds it and lets it stay, or takes it down.
  - Runs on the controller only, with the interpreter of the checkout's environment.
version_added: 0.1.0
author: Benchkeeper maintainers
extends_documentation_fragment: [benchkeeper.core.harness]
attributes:
  check_mode:
    support: full
    description: In the dry run nothing is made or removed.
  diff_mode:
    support: none
    description: A harness is made or removed whole.
  idempotent:
    support: full
    description: A harness that stays is left alone, whatever was asked for; who wants another one takes it down first.
options:
  state: {description: Whether a harness shall be there., type: str, choices: [present, absent], default: present}
  run_id: {description: 'Which harness, when more than one stays.', type: str, default: ''}
"""

EXAMPLES = r"""
- name: Bring a harness up
  benchkeeper.core.harness:
    state: present
  register: harness_up

- name: Take it down
  benchkeeper.core.harness:
    state: absent
    run_id: "{{ harness_up.run }}"
"""

RETURN = r"""
run: {description: The run that owns it., returned: when O(state=present), type: str, sample: 20261127T031153Z-01cf97}
edge: {description: URL of its edge on loopback., returned: when O(state=present), type: str, sample: "http://127.0.0.1:32768"}
build_id: {description: What its tenants say that they were built of., returned: when O(state=present), type: str, sample: r1-4f2a}
file:
  description: File of mode 0600 with addresses, tokens and databases.
  returned: when O(state=present)
  type: str
  sample: /tmp/x/harness.json
tenants:
  description: Name, host name at the edge, organisation and own address of every tenant.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{name: alpha, host: harness-tenant-alpha.localhost, org: harness-org-alpha, direct: "http://172.18.0.7:8080"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils._harness_call import WISH, call

ARGUMENTS = {
    **WISH,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "run_id": {"type": "str", "default": ""},
}


def main() -> None:
    """Wire arguments to the controller's package and answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    said = call("harness", module.params, dry_run=module.check_mode)
    if said.pop("failed", False):
        module.fail_json(**said)
    module.exit_json(**said)


if __name__ == "__main__":
    main()
