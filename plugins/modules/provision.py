#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: put a baseline on a machine, all of it in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: provision
short_description: Put files, units and commands of a baseline on a machine
description:
  - Walks through a list of steps, each done only when it is not done yet, in order; the first that fails ends it.
  - Meant for machines of our own, before anybody leases them. Hosts that are borrowed are only ever changed through the keeper.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode:
    support: full
    description: In the dry run files are compared and nothing is written or run.
  diff_mode:
    support: none
    description: Contents may hold secrets.
  idempotent:
    support: partial
    description: Files, directories, links and units are compared; commands run unless C(creates) is there.
options:
  name: {description: What the baseline is called; its record on the machine has this name., type: str, required: true}
  steps:
    description:
      - Steps, each with C(kind) and its settings.
      - C(dir) path, owner, group, mode. C(link) path, target.
      - C(file) dest, content, owner, group, mode; with C(once) a file that a program completes later is written again only when
        our text changes.
      - C(unit) name, enabled, state (started or stopped), restart_for (paths whose change restarts it).
      - C(command) argv, cwd, user, timeout (s), creates. C(wait) the same, tried until it exits with 0 and prints C(contains).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Put the baseline on the machine
  benchkeeper.core.provision:
    name: pithead
    steps:
      - {kind: file, dest: /etc/default/pithead, content: "PITHEAD_TIME_SCALE=0.05\n", mode: "0644"}
      - {kind: unit, name: xmrig.service, enabled: true, state: started}
"""

RETURN = r"""
did:
  description: What was changed, one line each; commands with the seconds they took.
  returned: always
  type: list
  elements: str
  sample: ["file /etc/default/pithead", "command ./pithead upgrade (4.1 s)"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils._provision import FailedError, Provisioner

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "steps": {"type": "list", "elements": "dict", "required": True, "no_log": False},
}


def main() -> None:
    """Wire arguments to the steps and answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    provisioner = Provisioner(module.params["name"], dry_run=module.check_mode)
    try:
        provisioner.walk(module.params["steps"])
    except FailedError as failure:
        module.fail_json(msg=str(failure), did=provisioner.did)
    module.exit_json(changed=bool(provisioner.did), did=provisioner.did)


if __name__ == "__main__":
    main()
