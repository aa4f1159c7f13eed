#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: own a file that a command of the run creates."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_created
short_description: Own a file that a command of the run creates
description:
  - Tells the keeper which file a later command will create, by its path or by a pattern of names in a directory; the undo
    removes it.
  - Of a pattern only what came while the guarded command that makes it was running is ever removed; what comes at other times
    is somebody else's.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: Nothing but the journal is written anyhow.}
  diff_mode: {support: none, description: Nothing on the host is changed.}
  idempotent: {support: full, description: Nothing on the host is changed.}
extends_documentation_fragment:
  - benchkeeper.core.lease
  - benchkeeper.core.lease.item
options:
  path: {description: The file., type: str}
  dir: {description: The directory in which names are matched., type: str}
  pattern: {description: 'Pattern of names as a shell matches them.', type: str}
  by:
    description: O(item) of the guarded command that will make the file. Without it, the next guarded command of the group does.
    type: str
"""

EXAMPLES = r"""
- name: Say which file the backup will make
  benchkeeper.core.guarded_created:
    lease: "{{ fences[inventory_hostname] }}"
    item: backup.archive
    group: stack
    dir: /srv/code/pithead/backups
    pattern: "pithead-backup-*"
  become: true
"""

RETURN = r"""
dir: {description: The directory., returned: success, type: str, sample: /srv/code/pithead/backups}
pattern: {description: The name or pattern., returned: success, type: str, sample: "pithead-backup-*"}
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
            "path": {"type": "str"},
            "dir": {"type": "str"},
            "pattern": {"type": "str"},
            "by": {"type": "str"},
        },
        required_one_of=[("path", "dir")],
        required_together=[("dir", "pattern")],
        mutually_exclusive=[("path", "dir"), ("path", "by")],
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False)
    request = {key: value for key, value in module.params.items() if key != "lease" and value is not None}
    module.exit_json(**_keeper_client.guarded(module, "created", request))


if __name__ == "__main__":
    main()
