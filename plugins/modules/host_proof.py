#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: take the look that a host is later proven with, or prove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_proof
short_description: Take the look that a host is later proven with, or prove it
description:
  - With O(state=before) the keeper looks at the host before anything is changed, and keeps the look there with the rules of
    the proof.
  - With O(state=proven) a restored host is compared with that look and with live predicates until everything holds or the
    deadline of the rules
    passes. A proven host is free again; one that is not stays in quarantine, and the module fails.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: partial, description: Does nothing.}
  diff_mode: {support: none, description: A proof is no change.}
  idempotent: {support: partial, description: The look from before is taken once; proving a free host does nothing.}
extends_documentation_fragment: [benchkeeper.core.lease]
options:
  state: {description: What to do., type: str, choices: [before, proven], default: before}
  probes: {description: 'What to look at, by name; see M(benchkeeper.core.host_snapshot_info).', type: dict, default: {}}
  proof: {description: 'Rules C({ignore, predicates, deadline, settle}).', type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Look at the miner before it is borrowed
  benchkeeper.core.host_proof:
    lease: "{{ fences[inventory_hostname] }}"
    probes:
      config: {kind: file, path: /opt/rigforge/data/worker/xmrig/build/config.json}
      unit: {kind: unit, unit: xmrig.service}
    proof: {deadline: 60}
  become: true
"""

RETURN = r"""
snapshot: {description: The look from before., returned: when state is before, type: dict, sample: {schema: 1, host: miner-0,
  invariant: {}, observed: {}, errors: {}}}
proven: {description: Whether everything is as before., returned: when state is proven, type: bool, sample: true}
failures: {description: What is not., returned: when state is proven, type: list, elements: dict, sample: []}
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lease": _keeper_client.LEASE_OPTION,
            "state": {"type": "str", "choices": ["before", "proven"], "default": "before"},
            "probes": {"type": "dict", "default": {}},
            "proof": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False)
    if module.params["state"] == "before":
        request = {"probes": module.params["probes"], "proof": module.params["proof"]}
        module.exit_json(changed=True, **_keeper_client.guarded(module, "snapshot", request))
    answer = _keeper_client.guarded(module, "prove", {"resource": module.params["lease"]["resource"]})
    if not answer["proven"]:
        module.fail_json(msg=f"{module.params['lease']['resource']} is not proven", **answer)
    module.exit_json(changed=True, **answer)


if __name__ == "__main__":
    main()
