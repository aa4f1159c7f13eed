#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the replays of the tenant harness, from nothing to nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: replays
short_description: Bring a tenant harness up, seed it, run its replays, take it down
description:
  - Does what C(./bench replays) does, and fails as it does. Whatever happens, what was made is taken down.
  - Runs on the controller only, with the interpreter of the checkout's environment.
version_added: 0.1.0
author: Benchkeeper maintainers
extends_documentation_fragment: [benchkeeper.core.harness]
attributes:
  check_mode:
    support: none
    description: Replays change a harness of their own; in the dry run the task is skipped.
  diff_mode:
    support: none
    description: Nothing stays that could be compared.
  idempotent:
    support: full
    description: Nothing stays.
options:
  names: {description: Which replays; all when there are none., type: list, elements: str, default: []}
  folder: {description: 'Folder with replays; the stack''s own when it is empty.', type: str, default: ''}
  prove: {description: Whether each is first shown to be red with the bug that it is there for., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Replay everything, and show that each replay can fail
  benchkeeper.core.replays:
    prove: true
"""

RETURN = r"""
exit_code: {description: What C(./bench replays) would have ended with., returned: always, type: int, sample: 0}
run: {description: The run., returned: when replays were found, type: str, sample: 20261127T031153Z-01cf97}
results: {description: Directory with result.json and logs., returned: when replays were found, type: str, sample: /src/replays/r1}
outcomes:
  description: Of every replay its name, verdict, seconds, why and exit code.
  returned: when replays were found
  type: list
  elements: dict
  sample: [{name: tenant-isolation, verdict: pass, seconds: 0.4, why: '', code: 0}]
problems: {description: What is wrong besides., returned: when replays were found, type: list, elements: str, sample: []}
table: {description: What a person reads., returned: when replays were found, type: list, elements: str, sample: ['GOOD: 24 pass']}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils._harness_call import WISH, call

ARGUMENTS = {
    **WISH,
    "names": {"type": "list", "elements": "str", "default": []},
    "folder": {"type": "str", "default": ""},
    "prove": {"type": "bool", "default": False},
}


def main() -> None:
    """Wire arguments to the controller's package and answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS)
    said = call("replays", module.params, dry_run=False)
    if said.pop("failed", False):
        module.fail_json(**said)
    module.exit_json(**said)


if __name__ == "__main__":
    main()
