#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a checkout of one commit on a leased bench, seeded with the canonical configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_checkout
short_description: Make a checkout of one commit on a leased bench
description:
  - Makes a directory of the run's own (journaled first, removed by the restore), puts one commit of the branch into it from a git
    bundle or from the bench's own origin, and seeds it with the live directory's configuration and secrets. The secrets are copied
    on the host, they do not travel.
  - Git runs as the owner of the live directory, in a unit of the keeper.
version_added: 0.1.0
author: Benchkeeper maintainers
extends_documentation_fragment: [benchkeeper.core.lease]
attributes:
  check_mode: {support: full, description: In the dry run nothing is made.}
  diff_mode: {support: none, description: A commit is named by its id.}
  idempotent: {support: none, description: A run makes its checkout once; a directory that stands there is refused.}
options:
  path: {description: The directory to make., type: path, required: true}
  live: {description: The directory to seed from., type: path, required: true}
  seed: {description: Files to copy from O(live) with their modes., type: list, elements: str, default: []}
  user: {description: Owner of the checkout., type: str, required: true}
  commit: {description: Full commit id., type: str, required: true}
  bundle: {description: 'Git bundle that holds the commit, in base64.', type: str, default: ""}
  origin: {description: Repository to fetch from when there is no bundle., type: str, default: ""}
  plant_path: {description: Keys under which the canary is set in O(plant_file)., type: list, elements: str, default: []}
  plant_file: {description: JSON file of the checkout that gets the canary., type: str, default: ""}
  plant_value: {description: The canary., type: str, default: ""}
  redact: {description: Settings files whose values are not shown in what git says., type: list, elements: path, default: []}
  timeout: {description: Seconds that git may take., type: int, default: 300}
"""

EXAMPLES = r"""
- name: Put the branch beside the live directory
  benchkeeper.core.guarded_checkout:
    lease: "{{ fences['bench-0'] }}"
    path: /srv/code/pithead-e2e
    live: /srv/code/pithead
    seed: [config.json, .env]
    user: ops
    commit: 0123456789abcdef0123456789abcdef01234567
    origin: /srv/git/pithead.git
  become: true
"""

RETURN = r"""
head:
  description: The commit that is checked out.
  returned: success
  type: str
  sample: 0123456789abcdef0123456789abcdef01234567
keeper_wall: {description: 'Seconds that the keeper cost, without the work itself.', returned: success, type: float, sample: 0.2}
"""

import json
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client, _run_context

# $1 commit, $2 origin, $3 live, rest: files to seed. stdin: one JSON line with the canary, then the bundle in base64.
SCRIPT = r"""
set -eu
commit=$1 origin=$2 live=$3
shift 3
read -r plant
umask 022
git init -q .
printf '%s\n' /.benchkeeper.json /.benchkeeper.bundle >>.git/info/exclude
if [ -n "$origin" ]; then
    git fetch -q --no-tags "$origin" "$commit"
else
    base64 -d >.benchkeeper.bundle
    git fetch -q --no-tags .benchkeeper.bundle '+refs/*:refs/benchkeeper/*'
    rm -f .benchkeeper.bundle
fi
git checkout -q --detach "$commit"
for file in "$@"; do
    cp -p -- "$live/$file" "$file"
done
printf '%s' "$plant" | python3 -c '
import json, os, sys
plant = json.load(sys.stdin)
if plant["file"]:
    with open(plant["file"], encoding="utf-8") as file:
        data = json.load(file)
    node = data
    for key in plant["path"][:-1]:
        node = node.setdefault(key, {})
    node[plant["path"][-1]] = plant["value"]
    with open(plant["file"], "w", encoding="utf-8") as file:
        json.dump(data, file, indent=2)
        file.write("\n")
'
git rev-parse HEAD
"""


def make(params: Dict[str, Any]) -> str:
    """Make the checkout and return the commit that is checked out."""
    fence = dict(params["lease"])
    _keeper_client.call(
        "tree",
        {
            "fence": fence,
            "item": "checkout",
            "group": "stack",
            "path": params["path"],
            "owner": params["user"],
            "group_owner": params["user"],
            "mode": "0755",
        },
    )
    plant = {"file": params["plant_file"], "path": params["plant_path"], "value": params["plant_value"]}
    done = _keeper_client.call(
        "command",
        {
            "fence": fence,
            "item": "checkout.git",
            "group": "stack",
            "covered_by": "checkout",
            "undo": None,
            "argv": ["/bin/sh", "-c", SCRIPT, "checkout", params["commit"], params["origin"], params["live"], *params["seed"]],
            "cwd": params["path"],
            "user": params["user"],
            "env": {"GIT_TERMINAL_PROMPT": "0"},
            "stdin": json.dumps(plant) + "\n" + params["bundle"],
            "timeout": params["timeout"],
            "redact": {"dotenv": list(params["redact"])},
        },
    )
    head = str(done.get("stdout_tail", "")).strip().rsplit("\n", 1)[-1]
    if done.get("rc") or head != params["commit"]:
        said = str(done.get("stderr_tail", ""))[-400:]
        raise _keeper_client.KeeperError(f"the checkout of {params['commit']} was not made: {said}", {})
    return head


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lease": _keeper_client.LEASE_OPTION,
            "path": {"type": "path", "required": True},
            "live": {"type": "path", "required": True},
            "seed": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "required": True},
            "commit": {"type": "str", "required": True},
            "bundle": {"type": "str", "default": ""},
            "origin": {"type": "str", "default": ""},
            "plant_path": {"type": "list", "elements": "str", "default": []},
            "plant_file": {"type": "str", "default": ""},
            "plant_value": {"type": "str", "default": "", "no_log": True},
            "redact": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        required_one_of=[("bundle", "origin")],
        supports_check_mode=True,
    )
    if not _run_context.COMMIT.match(module.params["commit"]):
        module.fail_json(msg="commit is not a full commit id")
    if module.check_mode:
        module.exit_json(changed=True, head=module.params["commit"])
    try:
        head = make(module.params)
    except _keeper_client.KeeperError as error:
        module.fail_json(msg=str(error), **error.answer)
    module.exit_json(changed=True, head=head, keeper_wall=_keeper_client.spent())


if __name__ == "__main__":
    main()
