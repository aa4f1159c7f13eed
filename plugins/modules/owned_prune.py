#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: remove what a run made on an engine, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: owned_prune
short_description: Remove what a run made on an engine, and nothing else
description:
  - Removes containers in any state, networks, volumes, images and state directories that carry B(all) of the given labels. The
    three labels of the ownership triple must be among them, each with its exact value.
  - Each object is looked at again just before it is removed. What changed in between, and what has its labels only from the image
    it was made from, is left alone and reported in RV(spared).
  - Containers, networks, volumes and images that the run seems to have made without the triple (they hang on its networks,
    volumes, directories or compose project, or name one of its containers as their maker) are never removed. They are reported in
    RV(strays), and the module fails.
  - With O(leases) it removes what dead runs left. A run is dead when its holder was a process of this host and is not there any
    more, by controller id, pid and start time. Of any other holder nothing is known, and its run is left alone.
  - Fails when the engine does not answer. Only a list that the engine gave, and that is empty, is "nothing left".
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: 'Reports what would be removed, and removes nothing.'}
  diff_mode: {support: full, description: 'What was there, and what is left of it, a line for each object.'}
  idempotent: {support: full, description: 'What is gone is gone; the second time nothing is changed.'}
options:
  labels:
    description:
      - Labels as C(key=value); all of them must hold. C(benchkeeper.owner), C(benchkeeper.stack) and C(benchkeeper.run) must be
        there.
      - It is a list because a mapping with the same key twice keeps the last one without a word, and would match more.
      - C(benchkeeper.run=bench) is refused. What outlives runs is removed by C(./bench down).
    type: list
    elements: str
  leases:
    description: Directory with the leases of runs, absolute; what the dead ones left is removed, and then their lease.
    type: path
  kinds:
    description: What to remove.
    type: list
    elements: str
    choices: [container, network, volume, image, directory]
    default: [container, network, volume, image, directory]
  roots:
    description: Absolute directories right below which state directories stand. A lease names its own.
    type: list
    elements: path
    default: []
  shared:
    description: Names of networks and volumes that the run uses and does not own; they are no strays.
    type: list
    elements: str
    default: []
  socket: {description: The engine's socket. A lease names its own., type: path, default: /var/run/docker.sock}
"""

EXAMPLES = r"""
- name: Remove what one run made
  benchkeeper.core.owned_prune:
    labels:
      - benchkeeper.owner=0a1b2c3d
      - benchkeeper.stack=spawner
      - benchkeeper.run=20260131T120000Z-0a1b2c
    roots: [/tmp]

- name: See what dead runs left, and leave it
  benchkeeper.core.owned_prune:
    leases: /root/.local/state/benchkeeper/owned
  check_mode: true
"""

RETURN = r"""
removed:
  description: What was removed, or would be in the dry run; C({kind, id, name}).
  returned: always, but when the engine did not answer
  type: list
  elements: dict
  sample: [{kind: container, id: 3f0c9a, name: spawner-backend}]
left:
  description: What is the run's and still there, with the reason in C(why). The module fails when there is any.
  returned: always, but when the engine did not answer
  type: list
  elements: dict
  sample: [{kind: network, id: 77ab01, name: spawner-net, why: "engine: 403: network has active endpoints"}]
spared:
  description: What carried the labels and may be somebody else's, with the reason in C(why).
  returned: always, but when the engine did not answer
  type: list
  elements: dict
  sample: [{kind: volume, id: data, name: data, why: its labels changed since it was listed}]
strays:
  description: What the run seems to have made without its labels, with the reason in C(why). The module fails when there is any.
  returned: always, but when the engine did not answer
  type: list
  elements: dict
  sample: [{kind: container, id: 91d2e4, name: galaxy-game-1, why: "is attached to the run's network spawner-net"}]
runs:
  description: The runs that have a lease; C(state) is alive, dead, kept or unknown. C(why) is told of a lease that cannot be read.
  returned: with O(leases)
  type: list
  elements: dict
  sample: [{run: 20260131T120000Z-0a1b2c, stack: spawner, state: dead, holder: {user: ann, host: desk, pid: 4711}, why: ""}]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _owned, _owned_engine, _owned_sweep
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError

ARGUMENTS = {
    "labels": {"type": "list", "elements": "str"},
    "leases": {"type": "path"},
    "kinds": {"type": "list", "elements": "str", "choices": list(_owned.KINDS), "default": list(_owned.KINDS)},
    "roots": {"type": "list", "elements": "path", "default": []},
    "shared": {"type": "list", "elements": "str", "default": []},
    "socket": {"type": "path", "default": "/var/run/docker.sock"},
}


def _engine(socket: str) -> Engine:
    return Engine(socket, timeout=_owned_engine.PATIENCE)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[("labels", "leases")],
        required_one_of=[("labels", "leases")],
        supports_check_mode=True,
    )
    params = module.params
    kinds = tuple(kind for kind in _owned.KINDS if kind in params["kinds"])
    scope = _owned_engine.Scope(kinds, tuple(params["roots"]), tuple(params["shared"]), dry=module.check_mode)
    try:
        if params["leases"]:
            how = _owned_sweep.How(_engine, time.sleep, time.time())
            swept = _owned_sweep.sweep(_owned_sweep.place(params["leases"]), scope, how)
        else:
            own = _owned.ownership(params["labels"])
            means = _owned_engine.Means(_engine(params["socket"]), time.sleep)
            outcome = _owned_engine.Prune(own, scope, means).run()
            swept = _owned_sweep.Swept(outcome)
    except _owned.OwnershipError as error:
        module.fail_json(msg=f"labels: {error}")
    except EngineError as error:
        module.fail_json(msg=f"{error}; what is there is not known, and nothing is said to be gone")
    result = _owned_sweep.as_result(swept)
    if not params["leases"]:
        del result["runs"]
    if swept.clean:
        module.exit_json(**result)
    module.fail_json(msg=_owned_sweep.complaint(swept), **result)


if __name__ == "__main__":
    main()
