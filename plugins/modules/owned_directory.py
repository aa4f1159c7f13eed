#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a state directory for one start of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: owned_directory
short_description: Make a state directory for one start of a run
description:
  - Makes a directory of mode 0700 whose name no other start has, with a marker file that says whose it is and where it was made.
  - Its path is the same for whoever looks, so that it can be mounted into a container at the same path and handed on to the engine.
  - M(benchkeeper.core.owned_prune) removes it with the run.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: 'Says which directory would be made; without O(token) its name differs then.'}
  diff_mode: {support: none, description: A directory has no text.}
  idempotent: {support: partial, description: 'With a O(token), which names the start. Without one every call is a new start.'}
options:
  labels:
    description: Whose it is, C(key=value); C(benchkeeper.owner), C(benchkeeper.stack) and C(benchkeeper.run) must be there.
    type: list
    elements: str
    required: true
  root: {description: 'Directory in which it is made, absolute.', type: path, required: true}
  token: {description: Names the start; 16 to 64 hex digits. A new one when it is not given., type: str}
  uid: {description: Numeric owner; whoever runs the module when it is not given., type: int}
  gid: {description: Numeric group; that of whoever runs the module when it is not given., type: int}
"""

EXAMPLES = r"""
- name: Make the state directory of this start
  benchkeeper.core.owned_directory:
    labels:
      - benchkeeper.owner=0a1b2c3d
      - benchkeeper.stack=spawner
      - benchkeeper.run=20260131T120000Z-0a1b2c
    root: /tmp
  register: state
"""

RETURN = r"""
path:
  description: The directory.
  returned: success
  type: str
  sample: /tmp/benchkeeper-20260131T120000Z-0a1b2c-00112233445566778899aabbccddeeff
"""

import os
import secrets

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned, _owned_dirs
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import FileError, RealFiles

ARGUMENTS = {
    "labels": {"type": "list", "elements": "str", "required": True},
    "root": {"type": "path", "required": True},
    "token": {"type": "str", "no_log": False},  # a name, no secret
    "uid": {"type": "int"},
    "gid": {"type": "int"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    uid = os.geteuid() if params["uid"] is None else params["uid"]
    gid = os.getegid() if params["gid"] is None else params["gid"]
    try:
        own = _owned.ownership(params["labels"])
        path, made = _owned_dirs.ensure(
            RealFiles(), params["root"], own, params["token"] or secrets.token_hex(16), None if module.check_mode else (uid, gid)
        )
    except (_owned.OwnershipError, FileError, OSError) as error:
        module.fail_json(msg=f"{params['root']}: {error}")
    module.exit_json(changed=made, path=path)


if __name__ == "__main__":
    main()
