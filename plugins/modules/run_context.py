#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: check what was asked for and make the run context."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_context
short_description: Check what was asked for and make the run context
description:
  - Validates every value that comes from outside, resolves the branch to a commit, reads the stack's data and returns the run
    context, one mapping that all roles of a run work from.
  - Runs on the controller. Creates the run's results directory and writes C(work/context.json) there; touches no host.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode:
    support: full
    description: In the dry run nothing is written.
  diff_mode:
    support: none
    description: Makes a directory of its own, changes nothing that exists.
  idempotent:
    support: full
    description: The same values give the same context.
options:
  branch: {description: The branch to prove., type: str, required: true}
  stack: {description: Name of a folder under O(stacks_dir)., type: str, default: pithead}
  mode: {description: What kind of run., type: str, default: targeted}
  miners:
    description: Inventory names of the miners to borrow, a comma separated text, or V(none). Left out, it is V(miner-0) where the
      stack's profile says how a miner is lent, and V(none) where it does not.
    type: raw
  workers: {description: Distinct workers that the bench must see mining; -1 means as many as are borrowed., type: int, default: -1}
  keep: {description: Leave the hosts leased at the end., type: bool, default: false}
  ttl: {description: Seconds that a lease lives without a renewal; 0 means the default., type: int, default: 0}
  wait: {description: Seconds to queue for a lease., type: int, default: 0}
  bench: {description: Inventory name of the bench; empty means the first one., type: str, default: ""}
  groups: {description: The inventory's groups., type: dict, required: true}
  worker_names:
    description: Names under which the bench shows miners as workers, by inventory name; a miner that is not named has its own.
    type: dict
    default: {}
  run_id: {description: Identity of the run; made when empty., type: str, default: ""}
  commit: {description: The commit that the branch was resolved to; resolved here when empty., type: str, default: ""}
  repo: {description: Git repository in which the branch is looked up and from which it is sent., type: str, default: ""}
  origin: {description: Repository that the bench itself fetches the branch from; nothing is sent then., type: str, default: ""}
  state_file:
    description: File of mode 0600 with the run's nonce and holder; made in the user's state directory when empty.
    type: str
    default: ""
  live: {description: 'The directory that drives the stack now, when it is known.', type: str, default: ""}
  pool_host: {description: Name under which miners reach the bench; empty means its inventory name., type: str, default: ""}
  owner_id: {description: Identity of the checkout; first part of the ownership triple., type: str, default: ""}
  time_scale: {description: Factor by which the bench scales product timings; recorded., type: float, default: 1.0}
  stacks_dir: {description: Folder of the stacks., type: path, required: true}
  results_dir: {description: Folder of the results., type: path, required: true}
"""

EXAMPLES = r"""
- name: Say what this run is about
  benchkeeper.core.run_context:
    branch: main
    groups: "{{ groups }}"
    repo: /srv/git/pithead.git
    stacks_dir: "{{ playbook_dir }}/../stacks"
    results_dir: "{{ playbook_dir }}/../results"
  delegate_to: localhost
"""

RETURN = r"""
run:
  description: The run context; plain data, no secrets.
  returned: success
  type: dict
  sample: {run_id: 20261121T081500Z-0a1b2c, stack: pithead, mode: targeted, bench: bench-0, miners: [miner-0]}
"""

import json
import os
import secrets
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder
from ansible_collections.benchkeeper.core.plugins.module_utils import _run_context as rc
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

NO_SUCH_REFERENCE = 2  # exit code of git ls-remote --exit-code; every other one says that the repository did not answer


def resolve(repo: str, branch: str) -> str:
    """Return the commit of a branch in a repository or origin.

    Raises:
        UsageError: no repository is named, or it has no such branch.
        UnfitError: the repository does not answer within 30 s, or with anything but a commit.
    """
    if not repo:
        raise rc.UsageError("no repository of the branches is named: set bench_repo or bench_origin")
    argv = ["git", "ls-remote", "--exit-code", "--", repo, f"refs/heads/{branch}"]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise rc.UnfitError(f"the repository of the branches does not answer: {type(error).__name__}") from None
    if done.returncode == NO_SUCH_REFERENCE:
        raise rc.UsageError(f"unknown branch {branch!r}: the repository of the branches has none of that name")
    commit = done.stdout.split("\t", 1)[0].strip()
    if done.returncode or not rc.COMMIT.match(commit):
        said = Redactor().text(done.stderr.strip().partition("\n")[0])[:200] or "nothing"
        raise rc.UnfitError(f"the repository of the branches does not answer: git ended with {done.returncode} and said: {said}")
    return commit


def blobs(repo: str, commit: str, binding: dict[str, Any]) -> dict[str, str]:
    """Return the git blob id at the commit for each bound file; a file that the branch no longer has binds nothing."""
    found = {}
    for name, one in binding.items():
        argv = ["git", "-C", repo, "rev-parse", "--verify", "--quiet", f"{commit}:{one['file']}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0:
            found[name] = done.stdout.strip()
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a stack's data file.

    Raises:
        UsageError: missing or not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise rc.UsageError(f"{path.name} of the stack cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise rc.UsageError(f"{path.name} of the stack is not a mapping")
    return data


def ensure_state(path: str, run: dict[str, Any]) -> str:
    """Make the run's state file if nobody did: nonce, canary and holder, so that `recover` can finish this run from anywhere."""
    target = Path(path) if path else _keeper_holder.states_directory() / f"{run['run_id']}.json"
    state: dict[str, Any] = {}
    if target.exists():
        state = json.loads(target.read_text(encoding="utf-8"))
    added = {
        "run_id": run["run_id"],
        "nonce": secrets.token_hex(16),
        "canary": "bkcanary" + secrets.token_hex(12),
        "stack": run["stack"],
        "hosts": [host["name"] for host in run["hosts"]],
        "keep": run["keep"],
    }
    full = {**added, **state, "hosts": added["hosts"]}
    full.setdefault("holder", None)
    full["holder"] = full["holder"] or _keeper_holder.playbook()
    if full != state:
        _keeper_holder.write_private(target, json.dumps(full, indent=1))
    return str(target)


def make(params: dict[str, Any]) -> dict[str, Any]:
    """Check, resolve and build; raises UsageError and UnfitError."""
    stacks_dir = Path(params["stacks_dir"]).resolve()
    stacks = sorted(path.parent.name for path in stacks_dir.glob("*/profile.yml"))
    fields = ("branch", "stack", "mode", "miners", "workers", "keep", "ttl", "wait", "bench", "groups", "worker_names")
    lends = params["stack"] not in stacks or "borrow" in read_yaml(stacks_dir / params["stack"] / "profile.yml")
    asked = rc.check_request(rc.Request(**{name: params[name] for name in fields}, lends=lends), stacks)
    stamp = datetime.now(tz=timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    run_id = params["run_id"] or f"{stamp}-{secrets.token_hex(3)}"
    if not rc.RUN_ID.match(run_id):
        raise rc.UsageError(f"not a run id: {run_id[:60]!a}")
    commit = params["commit"] or resolve(params["origin"] or params["repo"], asked["branch"])
    if not rc.COMMIT.match(commit):
        raise rc.UsageError(f"not a commit id: {commit[:60]!a}")
    folder = stacks_dir / asked["stack"]
    run = rc.build(
        {**asked, "run_id": run_id, "commit": commit, "time_scale": params["time_scale"]},
        read_yaml(folder / "profile.yml"),
        read_yaml(folder / "exercise.yml"),
        {"live": params["live"], "pool_host": params["pool_host"]},
    )
    results = Path(params["results_dir"]).resolve() / run_id
    if (folder / "posture.yml").is_file():
        run["posture"] = read_yaml(folder / "posture.yml")
    # A bench that fetches its own origin is bound by the commit that its images name alone.
    run["binding_blobs"] = blobs(params["repo"], commit, run["binding"]) if params["repo"] and not params["origin"] else {}
    run["stack_dir"] = str(folder)
    run["results"] = str(results)
    run["work"] = str(results / "work")
    run.update({name: params[name] for name in ("repo", "origin", "pool_host")})
    run["owner_id"] = params["owner_id"] or "unowned"
    return run


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "branch": {"type": "str", "required": True},
            "stack": {"type": "str", "default": "pithead"},
            "mode": {"type": "str", "default": "targeted"},
            "miners": {"type": "raw"},
            "workers": {"type": "int", "default": -1},
            "keep": {"type": "bool", "default": False},
            "ttl": {"type": "int", "default": 0},
            "wait": {"type": "int", "default": 0},
            "bench": text,
            "groups": {"type": "dict", "required": True},
            "worker_names": {"type": "dict", "default": {}},
            "run_id": text,
            "commit": text,
            "repo": text,
            "origin": text,
            "state_file": text,
            "live": text,
            "pool_host": text,
            "owner_id": text,
            "time_scale": {"type": "float", "default": 1.0},
            "stacks_dir": {"type": "path", "required": True},
            "results_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        run = make(module.params)
    except rc.UsageError as error:
        module.fail_json(msg=str(error), usage=True)
    except rc.UnfitError as error:
        module.fail_json(msg=str(error))
    run["state_file"] = module.params["state_file"]
    if not module.check_mode:
        run["state_file"] = ensure_state(module.params["state_file"], run)
        _keeper_holder.write_private(Path(run["work"]) / "context.json", json.dumps(run, indent=1, sort_keys=True) + "\n")
    module.exit_json(changed=False, run=run)


if __name__ == "__main__":
    main()
