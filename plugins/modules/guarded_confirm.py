#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: keep what was changed under a lease."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_confirm
short_description: Keep what was changed under a lease
description:
  - Makes every guarded change of the lease final and frees the host. Without it the host undoes them by itself when the lease
    runs out.
  - The controller side of this module asks over a connection of its own, made now. A connection that stood before the first
    change is refused, since a shared one survives a lock-out and would confirm what nobody can use any more.
  - Refused at and after the deadline of the lease.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: partial, description: Confirms nothing and says that it would.}
  diff_mode: {support: none, description: Nothing is changed any more.}
  idempotent: {support: none, description: A lease is over once it is confirmed.}
extends_documentation_fragment:
  - benchkeeper.core.lease
"""

EXAMPLES = r"""
- name: Keep the new firewall, now that we could come in again
  benchkeeper.core.guarded_confirm:
    lease: "{{ lease }}"
  become: true
"""

RETURN = r"""
confirmed: {description: Whether the changes are final., returned: success, type: bool, sample: true}
items: {description: What was confirmed., returned: success, type: list, elements: str, sample: [sshd-config, reload-sshd]}
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"lease": _keeper_client.LEASE_OPTION}, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=True, confirmed=False, items=[])
    module.exit_json(changed=True, **_keeper_client.guarded(module, "confirm", {}))


if __name__ == "__main__":
    main()
