#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: put a host back, prove it, and free it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keeper_recover
short_description: Put a host back, prove it, and free it
description:
  - Undoes everything that the journal of the host says, newest first, then compares the host with the look from before and
    with live predicates, then frees it.
  - Doing it twice does nothing the second time. While a restore runs already, this waits for it and tells how it ended.
  - A lease that somebody holds is ended with the run's nonce, when its holder lived on this controller and is dead, when it
    ran out, or by O(force) with its O(run_id).
    The controller side of this module finds nonce and holder by itself, in O(states_file) or the user's state directory.
  - A host that is not restored and proven fails the module.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: partial, description: Does nothing.}
  diff_mode: {support: none, description: What was put back is in the result.}
  idempotent: {support: full, description: A free host is not touched.}
options:
  resource: {description: What to put back; the host's name in the inventory., type: str, required: true}
  run_id: {description: Only if this run holds it., type: str, default: ""}
  nonce: {description: The run's nonce., type: str, default: ""}
  force: {description: Although its holder may be alive., type: bool, default: false}
  states_file:
    description: File or directory on the controller with state files of runs (C({run_id, nonce, ...})); the user's state
      directory when empty.
    type: str
    default: ""
  begin:
    description:
      - Only set the restore off, so that several hosts come back at the same time. The same call without it follows the restore
        and tells how it ended.
    type: bool
    default: false
  gone: {description: 'A holder that is known to be dead; found out by the controller side of this module.', type: dict}
"""

EXAMPLES = r"""
- name: Put the miner back
  benchkeeper.core.keeper_recover:
    resource: "{{ inventory_hostname }}"
  become: true
"""

RETURN = r"""
restored: {description: 'Bytes, modes, units and image ids are back.', returned: always, type: bool, sample: true}
proven: {description: The host was compared and is as before., returned: always, type: bool, sample: true}
nothing_to_do: {description: It was free already., returned: always, type: bool, sample: false}
begun: {description: 'The restore was set off, and goes on.', returned: when O(begin) was asked for, type: bool, sample: true}
why: {description: 'What set the restore off, or why there was nothing to do.', returned: success, type: str,
  sample: its own run asked for it}
state: {description: State of the lease., returned: success, type: str, sample: free}
seconds: {description: How long restore and proof took., returned: success, type: float, sample: 12.3}
items: {description: What became of each change., returned: success, type: list, elements: dict, sample: [{item: miner-config,
  kind: file, verdict: PUT_BACK, why: "", seconds: 0.01}]}
failures: {description: What is not proven., returned: success, type: list, elements: dict, sample: []}
after: {description: The look at the end., returned: when proven or not, type: dict, sample: {schema: 1}}
journal: {description: The journal without secrets., returned: when there is one, type: list, elements: dict, sample: []}
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
proof_seconds: {description: How much of it the proof took., returned: success, type: float, sample: 4.1}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "resource": {"type": "str", "required": True},
            "run_id": {"type": "str", "default": ""},
            "nonce": {"type": "str", "default": "", "no_log": True},
            "force": {"type": "bool", "default": False},
            "states_file": {"type": "str", "default": ""},
            "begin": {"type": "bool", "default": False},
            "gone": {"type": "dict"},
        },
        required_if=[("force", True, ("run_id",))],
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False)
    if _keeper_client.program_sha256() is None:
        nothing = {"nothing_to_do": True, "why": "there is no keeper on this host", "state": "free", "items": []}
        module.exit_json(changed=False, restored=True, proven=True, **nothing)
    given = {key: value for key, value in module.params.items() if value and key != "states_file"}
    if "gone" in given:
        given["holder_gone"] = given.pop("gone")
    try:
        answer = _keeper_client.recover(given)
    except _keeper_client.KeeperError as error:
        module.fail_json(msg=str(error), restored=False, proven=False, **error.answer)
    changed = not answer["nothing_to_do"]
    if not answer["proven"] and not answer.get("begun"):
        word = "proven" if answer["restored"] else "restored"
        module.fail_json(msg=f"{given['resource']} is not {word}: {answer.get('reason', '')}", changed=changed, **answer)
    module.exit_json(changed=changed, **answer)


if __name__ == "__main__":
    main()
