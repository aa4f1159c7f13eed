#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: take, renew or give back the exclusive right to a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lease
short_description: Take, renew or give back the exclusive right to a host
description:
  - What an earlier run left on the host is restored and proven before the lease is given.
  - A lease that somebody holds is refused, naming who, since when and until when. A holder that lived on this controller and
    is dead is seen at once.
  - A lease under which something was changed is not released here but by M(benchkeeper.core.keeper_recover).
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: partial, description: Takes nothing and says that it would.}
  diff_mode: {support: none, description: The token is in the result.}
  idempotent: {support: full, description: The same run and nonce get the same token again.}
options:
  state: {description: What to do., type: str, choices: [acquired, renewed, released], default: acquired}
  resource: {description: What is leased; the host's name in the inventory., type: str, required: true}
  run_id: {description: The run., type: str, required: true}
  nonce: {description: At least 16 random characters that only the run knows., type: str, required: true}
  token: {description: 'The number that the lease was given with; to renew or release.', type: int}
  ttl: {description: Seconds that the lease lasts; each guarded change gives it the whole time again., type: float}
  wait: {description: Seconds to wait for somebody else to be done., type: float, default: 0}
  queue:
    description: >-
      Whether to keep a place in the host's queue after a refusal, in order of arrival; whoever does not ask again within 30 s
      loses it. The controller side of this module does so while O(wait) lasts.
    type: bool
    default: false
  arm:
    description: >-
      Whether the host is refused unless its own sweep was seen to live, which puts it back without a controller. Without it only
      whoever asks does.
    type: bool
    default: true
  hold:
    description: >-
      Whether the controller side of this module holds the lease by a connection of its own that renews it, and whose end lets the
      host go back after seconds. Without it the lease lives by O(ttl) and by each guarded change.
    type: bool
    default: true
  lock:
    description: 'The product''s own lock, held as long as the lease is: C({path, holder}), the latter a text that says who has it.'
    type: dict
  keep: {description: The holder will go away on purpose; its death does not end the lease., type: bool}
  holder:
    description: >-
      Who holds it: C({controller_id, host, user, pid, start_time}), the last in clock ticks since boot. The controller side of this
      module takes the process of the playbook when none is given.
    type: dict
  gone: {description: 'A holder that is known to be dead; found out by the controller side of this module.', type: dict}
"""

EXAMPLES = r"""
- name: Take the miner
  benchkeeper.core.lease:
    resource: "{{ inventory_hostname }}"
    run_id: "{{ run.run_id }}"
    nonce: "{{ nonce }}"
    holder: "{{ holder }}"
    ttl: 3600
  become: true
"""

RETURN = r"""
resource: {description: What is leased., returned: success, type: str, sample: miner-0}
run_id: {description: The run., returned: success, type: str, sample: 20260101T000000Z-abcdef}
token: {description: Half of the fence., returned: when acquired or renewed, type: int, sample: 7}
deadline: {description: When it ends unless it is renewed., returned: when acquired or renewed, type: str, sample:
  "2026-01-01T01:00:00+00:00"}
arming: {description: What restores without the controller., returned: when acquired or renewed, type: str, sample:
  benchkeeper-sweep.timer and benchkeeper-boot.service}
hold:
  description: Number of the connection by which the controller holds the lease; null where the host cannot be reached so, then
    only O(ttl) counts.
  returned: when acquired
  type: int
  sample: 1
recovered: {description: What had to be put back first., returned: when acquired, type: dict, sample: null}
late_writes:
  description: >-
    Files of the runs before that somebody wrote C(after) so many seconds, when they were put back; each is a warning as well.
    Who that was is not known, and may still be at work.
  returned: when acquired
  type: list
  elements: dict
  sample: [{run_id: 20260101T000000Z-abcdef, path: /etc/app.conf, what: was written, at: 1767225600.0, after: 12.5}]
busy:
  description: Who holds it; with a place in the queue, C(position) and C(expected_seconds).
  returned: when refused
  type: dict
  sample: {resource: miner-0, state: held, run_id: 20260101T000000Z-abcdef}
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["acquired", "renewed", "released"], "default": "acquired"},
            "resource": {"type": "str", "required": True},
            "run_id": {"type": "str", "required": True},
            "nonce": {"type": "str", "required": True, "no_log": True},
            "token": {"type": "int", "no_log": False},
            "ttl": {"type": "float"},
            "wait": {"type": "float", "default": 0.0},
            "queue": {"type": "bool", "default": False},
            "arm": {"type": "bool", "default": True},
            "hold": {"type": "bool", "default": True},
            "lock": {"type": "dict"},
            "keep": {"type": "bool"},
            "holder": {"type": "dict"},
            "gone": {"type": "dict"},
        },
        required_if=[
            ("state", "renewed", ("token",)),
            ("state", "released", ("token",)),
        ],
        supports_check_mode=True,
    )
    given = {key: value for key, value in module.params.items() if value is not None and key != "hold"}
    if module.check_mode:
        module.exit_json(changed=True, resource=given["resource"], run_id=given["run_id"])
    verb = {"acquired": "acquire", "renewed": "renew", "released": "release"}[given.pop("state")]
    if "gone" in given:
        given["holder_gone"] = given.pop("gone")
    if verb != "acquire":
        given["fence"] = {key: given[key] for key in ("resource", "run_id", "nonce", "token")}
    try:
        answer = _keeper_client.call(verb, given)
    except _keeper_client.KeeperError as error:
        module.fail_json(msg=str(error), **error.answer)
    for one in answer.get("late_writes") or ():
        module.warn(f"{one['path']} {one['what']} {one['after']:g} s after run {one['run_id']} was undone; by whom cannot be told")
    names = {"resource": given["resource"], "run_id": given["run_id"]}
    module.exit_json(changed=not answer.get("already", False), **{**names, **answer})


if __name__ == "__main__":
    main()
