#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: change a file so that its original comes back whatever happens."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_file
short_description: Change a file so that its original comes back whatever happens
description:
  - Stages the original beside the file, durably and with mode, owner, times and attributes, journals the change, then replaces
    the file as a whole.
  - The undo puts the original back by one rename. If somebody else changed the file meanwhile, both versions are kept and the
    host stays in quarantine.
  - Edits travel, contents do not; a secret in the file never leaves the host. Symbolic links are not followed.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: Says whether the file would be changed; needs the lease all the same.}
  diff_mode: {support: partial, description: 'Fingerprints, mode and owner instead of contents, which may be secret.'}
  idempotent: {support: full, description: A file that is as wanted is not touched and not journaled.}
extends_documentation_fragment:
  - benchkeeper.core.lease
  - benchkeeper.core.lease.item
options:
  path: {description: 'The file; absolute, without links.', type: str, required: true}
  edit:
    description:
      - Either C(json), a list of operations, or C(dotenv), a map of keys and values to set.
      - 'Operations: C({op: set, path, value}), C({op: unset, path}), C({op: first_in_list, list, match, url_host, copy_first,
        set, tag}). The last brings the
        elements that match (all keys equal, or the host of their C(url)) to the front, or a copy of the first element there,
          and sets the keys of C(set) and C(tag)
        in the first one.'
      - A file that is no strict JSON (half-written, with a byte order mark) is refused, nothing is written.
    type: dict
  content: {description: The whole new contents., type: str}
  remove: {description: The file is to be gone., type: bool, default: false}
  canonical:
    description: >-
      Keys of a JSON file that the run owns (dotted paths). What a program changes in the others by itself does not count as
      somebody else's change.
    type: list
    elements: str
    default: []
  unit:
    description: >-
      The unit that reads the file, with its suffix. It does not start at a boot before the file is back; without systemd this
      has no effect.
    type: str
  on_conflict:
    description:
      - What happens when somebody else writes the file while it is borrowed. The host's keeper looks every few seconds.
      - V(end) ends the borrow. V(rearm) makes an O(edit) again when what stands there is the original, as after a tool of the
        owner's rendered it anew; anything else ends the borrow. Both versions are kept then.
    type: str
    choices: [end, rearm]
    default: end
  mode: {description: 'Permission bits as octal text; by default those that the file has, 0600 for a new one.', type: str}
  owner: {description: Owner; by default the one that the file has., type: str}
  group_owner: {description: Group; by default the one that the file has., type: str}
  covered_by: {description: Another item of the run whose undo undoes this change., type: str}
"""

EXAMPLES = r"""
- name: Put the bench's pool first
  benchkeeper.core.guarded_file:
    lease: "{{ fences[inventory_hostname] }}"
    item: miner-config
    group: miner
    path: /opt/rigforge/data/worker/xmrig/build/config.json
    edit:
      json:
        - op: first_in_list
          list: pools
          match: {rig-id: bench}
          url_host: bench-0
          set: {url: "bench-0:3333"}
          tag: {rig-id: bench}
    canonical: [pools]
  become: true
"""

RETURN = r"""
already: {description: The file was as wanted before., returned: success, type: bool, sample: false}
fp_before:
  description: What was remembered of the file before; fingerprints are HMAC-SHA256 under a key that stays on the host.
  returned: success
  type: dict
  sample: {exists: true, fp: 5f0c, canonical_fp: 09ab, mode: "0600", uid: 1000, gid: 1000, size: 2471}
fp_after: {description: The same of the file after the change., returned: success, type: dict, sample: {exists: true, fp: 77d1,
  mode: "0600", uid: 1000, gid: 1000, size: 2590}}
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
            "edit": {"type": "dict"},
            "content": {"type": "str", "no_log": True},
            "remove": {"type": "bool", "default": False},
            "canonical": {"type": "list", "elements": "str", "default": []},
            "unit": {"type": "str"},
            "on_conflict": {"type": "str", "choices": ["end", "rearm"], "default": "end"},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group_owner": {"type": "str"},
            "covered_by": {"type": "str"},
        },
        mutually_exclusive=[("edit", "content")],
        supports_check_mode=True,
    )
    request = {key: value for key, value in module.params.items() if key != "lease" and value is not None}
    answer = _keeper_client.guarded(module, "file", {**request, "dry": module.check_mode})
    diff = {"before": answer["fp_before"], "after": answer["fp_after"]}
    module.exit_json(diff=diff, **answer)


if __name__ == "__main__":
    main()
