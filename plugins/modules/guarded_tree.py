#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: create a directory that is removed again with everything in it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_tree
short_description: Create a directory that is removed again with everything in it
description:
  - Creates a directory with a marker file. The undo removes it, recognised by its inode or its marker; it follows no link and
    enters no mount.
  - A directory that exists already and is not of this run is refused.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: Says whether it would be created; needs the lease all the same.}
  diff_mode: {support: full, description: The directory before and after.}
  idempotent: {support: full, description: The directory of this run is not touched again.}
extends_documentation_fragment:
  - benchkeeper.core.lease
  - benchkeeper.core.lease.item
options:
  path: {description: The directory; its parent must exist., type: str, required: true}
  owner: {description: Owner., type: str, default: root}
  group_owner: {description: Group., type: str, default: root}
  mode: {description: Permission bits as octal text., type: str, default: "0755"}
  stack: {description: For the marker., type: str, default: ""}
  owner_id: {description: For the marker., type: str, default: ""}
"""

EXAMPLES = r"""
- name: Make room for the checkout
  benchkeeper.core.guarded_tree:
    lease: "{{ fences[inventory_hostname] }}"
    item: checkout
    group: stack
    path: /srv/code/pithead-e2e
    owner: ops
    group_owner: ops
  become: true
"""

RETURN = r"""
already: {description: 'It was there before, of this run.', returned: success, type: bool, sample: false}
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
            "path": {"type": "str", "required": True},
            "owner": {"type": "str", "default": "root"},
            "group_owner": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0755"},
            "stack": {"type": "str", "default": ""},
            "owner_id": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    request = {key: value for key, value in module.params.items() if key != "lease"}
    answer = _keeper_client.guarded(module, "tree", {**request, "dry": module.check_mode})
    diff = {"before": {"exists": not answer["changed"]}, "after": {"exists": True}}
    module.exit_json(diff=diff, **answer)


if __name__ == "__main__":
    main()
