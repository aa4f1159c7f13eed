#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: ask a host who has it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: keeper_info
short_description: Ask a host who has it
description:
  - Says whether the keeper is installed, in which version, and who holds what.
  - Runs on the host from memory; nothing is written there.
  - Optionally returns what a run left for a reader; there are no secrets in it.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: The module only reads.}
  diff_mode: {support: none, description: The module only reads.}
  idempotent: {support: full, description: The module only reads.}
options:
  resource: {description: Only this resource., type: str}
  run_id: {description: Return the evidence of this run of the resource., type: str}
"""

EXAMPLES = r"""
- name: Ask who has the miner
  benchkeeper.core.keeper_info:
  become: true
  register: keeper
"""

RETURN = r"""
installed: {description: Whether there is a keeper., returned: always, type: bool, sample: true}
version: {description: Its version, returned: when installed, type: str, sample: 0.1.0}
sha256: {description: Digest of the program., returned: when installed, type: str, sample: 9f2c}
watched:
  description: Whether the host has the units, or the line of cron, by which it comes back without a controller.
  returned: when installed
  type: bool
  sample: true
leases:
  description: What was ever leased on the host; times are ISO 8601 in UTC.
  returned: always
  type: list
  elements: dict
  sample: [{resource: miner-0, state: held, run_id: 20260101T000000Z-abcdef, holder: {host: desk, user: ann, pid: 42},
    deadline: "2026-01-01T01:00:00+00:00"}]
evidence:
  description: "Journal, looks and proof of the run: C({run_id, before, after, restored, proof, late, journal, closed})."
  returned: when a run is asked for
  type: dict
  sample: {run_id: 20260101T000000Z-abcdef, journal: []}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client

WATCHES = ("/etc/systemd/system/benchkeeper-sweep.timer", "/etc/cron.d/benchkeeper")
SPEC = {
    "argument_spec": {"resource": {"type": "str"}, "run_id": {"type": "str"}},
    "required_by": {"run_id": ("resource",)},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(**SPEC, supports_check_mode=True)
    digest = _keeper_client.program_sha256()
    if digest is None:
        module.exit_json(changed=False, installed=False, leases=[])
    asked = {key: value for key, value in module.params.items() if value}
    try:
        answer = _keeper_client.call("status", {key: value for key, value in asked.items() if key == "resource"})
        more = {"evidence": _keeper_client.call("evidence", asked)} if "run_id" in asked else {}
    except _keeper_client.KeeperError as error:
        module.fail_json(msg=str(error), installed=True, sha256=digest, **error.answer)
    version, leases = answer["version"], answer["leases"]
    watched = any(Path(path).exists() for path in WATCHES)
    module.exit_json(changed=False, installed=True, watched=watched, sha256=digest, version=version, leases=leases, **more)


if __name__ == "__main__":
    main()
