#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: wait on a host until named signals are there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_wait
short_description: Wait on a host until named signals are there
description:
  - Waits for all signals at once, in one call, on the host they come from. A signal is a list of predicates with a deadline.
  - Looks again when the container engine reports an event, and a few times a second otherwise. Looks take half of the time at most.
  - Ends a signal early when a service it watches has died and will not come up by itself, and says so with the last log lines.
  - Runs on the host from memory; nothing is written there.
  - Not being able to ask is an answer of its own (C(state) C(unknown)), never a no.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: The module only reads.}
  diff_mode: {support: none, description: The module only reads.}
  idempotent: {support: full, description: The module only reads.}
options:
  probes: {description: What can be looked at by name; see M(benchkeeper.core.host_snapshot_info)., type: dict, required: true}
  signals:
    description: What to wait for.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Its name., type: str, required: true}
      deadline: {description: Seconds after which it is not waited for any longer; 0 looks once., type: float, default: 60}
      all:
        description: 'Predicates C({probe, path, op, value}) which must all hold on the same look.'
        type: list
        elements: dict
        required: true
      watch: {description: Services whose death ends the wait., type: list, elements: str, default: []}
      settle: {description: Looks in a row on which it must hold., type: int, default: 1}
      reason: {description: What it means when it is not there., type: str, default: ""}
      hint:
        description: >-
          What a person can do about it. C({probe, text, otherwise}); the first name that a probe of kind tree sees is put into
          the text, quoted for a shell, where it says C({}); without a name it is C(otherwise).
        type: dict
        default: {}
  project: {description: The compose project whose events wake us and whose services are watched., type: str, default: ""}
  run_id: {description: The run that waits., type: str, default: ""}
  host: {description: The host's name in the inventory., type: str, default: ""}
  lease:
    description: >-
      The lease of the run on this host. Its snapshot from before is what some predicates compare with.
    type: dict
    suboptions:
      resource: {description: What is leased., type: str, required: true}
      run_id: {description: The run that holds it., type: str, required: true}
      nonce: {description: Half of the fence; not needed for a look., type: str}
      token: {description: The other half., type: int}
  before: {description: The snapshot from before the run., type: dict}
  redact:
    description: Settings files on the host whose values are taken out of every text; absolute paths.
    type: list
    elements: str
    default: []
  fail: {description: Fail when a signal is not there., type: bool, default: false}
"""

EXAMPLES = r"""
- name: See the miner hash at the bench
  benchkeeper.core.stack_wait:
    host: miner-0
    probes:
      summary: {kind: http, url: "http://127.0.0.1:8080/2/summary", keep: [connection]}
    signals:
      - name: hashing
        deadline: 90
        all:
          - {probe: summary, path: json.connection.ip, op: truthy}
          - {probe: summary, path: json.connection.accepted, op: rising}
  become: true
"""

RETURN = r"""
ok:
  description: Whether every signal is there.
  returned: success
  type: bool
  sample: false
signals:
  description: >-
    How each ended: C(state) is yes, no or unknown, C(seconds) what it took, C(samples) how often it was judged, C(why) the last
    reason with the actual value. C(died) and C(logs) tell of a watched service that died,
    C(since) of a signal with deadline 0 that is not there: without it the others are not waited for.
  returned: success
  type: list
  elements: dict
  sample:
    - name: hashing
      ok: false
      state: "no"
      seconds: 90.2
      samples: 143
      why: "not within 90 s: summary: json.connection.ip should be truthy, is null"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils._looking import LEASE_OPTIONS, LookingError, given_context
from ansible_collections.benchkeeper.core.plugins.module_utils._wait import WaitError, wait_for_signals

SIGNAL = {
    "name": {"type": "str", "required": True},
    "deadline": {"type": "float", "default": 60},
    "all": {"type": "list", "elements": "dict", "required": True},
    "watch": {"type": "list", "elements": "str", "default": []},
    "settle": {"type": "int", "default": 1},
    "reason": {"type": "str", "default": ""},
    "hint": {"type": "dict", "default": {}},
}


SPEC = {
    "argument_spec": {
        "probes": {"type": "dict", "required": True},
        "signals": {"type": "list", "elements": "dict", "required": True, "options": SIGNAL},
        "project": {"type": "str", "default": ""},
        "run_id": {"type": "str", "default": ""},
        "host": {"type": "str", "default": ""},
        "lease": {"type": "dict", "options": LEASE_OPTIONS},
        "before": {"type": "dict"},
        "redact": {"type": "list", "elements": "str", "default": []},  # the host's; see host_snapshot_info
        "fail": {"type": "bool", "default": False},
    },
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(**SPEC, supports_check_mode=True)
    params = module.params
    try:
        results = wait_for_signals(params["probes"], params["signals"], given_context(params), project=params["project"])
    except (LookingError, WaitError) as error:
        module.fail_json(msg=str(error))
    missing = [result for result in results if not result["ok"]]
    if missing and params["fail"]:
        said = "; ".join(f"{result['name']}: {result['why']}" for result in missing)
        module.fail_json(msg=f"not there: {said}", ok=False, signals=results)
    module.exit_json(changed=False, ok=not missing, signals=results)


if __name__ == "__main__":
    main()
