#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: take one look at a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_snapshot_info
short_description: Take one look at a host
description:
  - Takes every probe at once and returns one JSON document, the snapshot, which checks, waits and the proof share.
  - >-
    Its C(invariant) part must be equal again after a run, its C(observed) part must satisfy predicates, C(errors) says which probe
    could not look and why. What is not there is C({exists: false}).
  - Runs on the host from memory; nothing is written there.
  - Secrets do not travel. What leaves the host of them is a fingerprint under a key that stays there.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: The module only reads.}
  diff_mode: {support: none, description: The module only reads.}
  idempotent: {support: full, description: The module only reads.}
options:
  probes:
    description:
      - What to look at, by name. Each is a mapping with a O(probes) kind and its options.
      - Kinds are C(chain), C(command), C(compose), C(container_file), C(disk), C(dotenv), C(file), C(git), C(http), C(json),
        C(jsonrpc), C(lock), C(sockets), C(tree), C(unit).
    type: dict
    required: true
  run_id: {description: The run that looks., type: str, default: ""}
  host: {description: The host's name in the inventory., type: str, default: ""}
  lease:
    description: >-
      The lease of the run on this host. Its key makes the fingerprints comparable with those from before, and its
      snapshot from before is what a chain is compared with.
    type: dict
    suboptions:
      resource: {description: What is leased., type: str, required: true}
      run_id: {description: The run that holds it., type: str, required: true}
      nonce: {description: Half of the fence; not needed for a look., type: str}
      token: {description: The other half., type: int}
  key_file: {description: File on the host with the key for fingerprints; an absolute path., type: str}
  key:
    description: >-
      Text from which the key is made, when nothing may be written on the host. Without a key the fingerprints can be compared with
      nothing.
    type: str
  before: {description: The snapshot from before the run., type: dict}
  redact:
    description: Settings files on the host whose values are taken out of every text; absolute paths.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at a miner
  benchkeeper.core.host_snapshot_info:
    host: miner-0
    run_id: 20261121T081500Z-0a1b2c
    probes:
      config: {kind: file, path: /opt/rigforge/data/worker/xmrig/build/config.json, canonical: [pools]}
      unit: {kind: unit, unit: xmrig.service}
      summary: {kind: http, url: "http://127.0.0.1:8080/2/summary", keep: [connection.pool, connection.accepted]}
  become: true
"""

RETURN = r"""
snapshot:
  description: The look. C(taken_at) is UTC, C(seconds) what it took, C(boot) tells one boot from another.
  returned: success
  type: dict
  sample:
    schema: 1
    host: miner-0
    run_id: 20261121T081500Z-0a1b2c
    taken_at: "2026-11-21T08:15:04.210+00:00"
    seconds: 0.061
    boot: {boot_id: 4aabdd89-197f-4423-8030-03444cdb97b2, pid1_start: 25}
    kinds: {config: file, unit: unit}
    invariant: {config: {exists: true, type: file, mode: "0600", owner: root, group: root, size: 2431, fp: 42b533c6...}}
    observed: {unit: {active: active, sub: running, pid: 612, since: 1203.2, restarts: 0}}
    errors: {summary: connection refused}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils._looking import LEASE_OPTIONS, LookingError, given_context
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take

# Paths are the host's, so they are no `path` here: the controller, which checks them, would put its own home into them.
SPEC = {
    "argument_spec": {
        "probes": {"type": "dict", "required": True},
        "run_id": {"type": "str", "default": ""},
        "host": {"type": "str", "default": ""},
        "lease": {"type": "dict", "options": LEASE_OPTIONS},
        "key_file": {"type": "str", "no_log": False},
        "key": {"type": "str", "no_log": True},
        "before": {"type": "dict"},
        "redact": {"type": "list", "elements": "str", "default": []},
    },
    "mutually_exclusive": [("lease", "key_file", "key")],
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(**SPEC, supports_check_mode=True)
    try:
        snapshot = take(module.params["probes"], given_context(module.params))
    except LookingError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, snapshot=snapshot)


if __name__ == "__main__":
    main()
