#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: bring images and repositories from the controller to a machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: baseline_assets
short_description: Bring images and repositories from the controller to a machine
description:
  - Runs on the controller. Streams what the machine does not have yet over SSH, so that nothing large is stored on the way.
  - An image is left out when the machine has it under the same id and tag; a repository when its branch is at the same commit.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode:
    support: full
    description: In the dry run the machine is asked what it has, and nothing is sent.
  diff_mode:
    support: none
    description: What is sent is not text.
  idempotent:
    support: full
    description: Ids and commits are compared first.
options:
  host: {description: Machine as the SSH configuration names it., type: str, required: true}
  ssh_config: {description: SSH configuration that knows the machine., type: path, required: true}
  images:
    description: Images, each with C(tag) (on the controller's engine) and C(as) (on the machine's).
    type: list
    elements: dict
    default: []
  repositories:
    description: Checkouts, each with C(dest), C(owner) and C(branch) of O(bare).
    type: list
    elements: dict
    default: []
  bare: {description: The bare repository that checkouts are made from., type: path}
"""

EXAMPLES = r"""
- name: Bring the runtime image and the checkout to the bench
  benchkeeper.core.baseline_assets:
    host: bench-0
    ssh_config: .bench/ssh/config
    images: [{tag: "benchkeeper/pithead-base:0123456789ab", as: "pithead-runtime:trixie"}]
    bare: .bench/repo/pithead.git
    repositories: [{dest: /srv/code/pithead, owner: ops, branch: main}]
  delegate_to: localhost
"""

RETURN = r"""
did:
  description: What was sent, one line each.
  returned: success
  type: list
  elements: str
  sample: ["image pithead-runtime:trixie", "repository /srv/code/pithead at 0e017aa"]
"""

import shlex
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {
    "host": {"type": "str", "required": True},
    "ssh_config": {"type": "path", "required": True},
    "images": {"type": "list", "elements": "dict", "default": []},
    "repositories": {"type": "list", "elements": "dict", "default": []},
    "bare": {"type": "path"},
}

# The checkout becomes exactly the branch; what git ignores (configuration, secrets, backups) stays.
CHECK_OUT = """set -eu
bundle=$(mktemp); trap 'rm -f "$bundle"' EXIT
cat > "$bundle"
chmod 644 "$bundle"
sudo -n install -d -o "$2" -g "$2" -- "$(dirname -- "$1")" "$1"
as() { sudo -n -u "$2" -H git -C "$1" "${@:3}"; }
as "$1" "$2" init --quiet --initial-branch="$3"
as "$1" "$2" fetch --quiet --force --update-head-ok "$bundle" "refs/heads/$3:refs/heads/$3"
as "$1" "$2" checkout --quiet --force "$3"
as "$1" "$2" reset --quiet --hard "refs/heads/$3"
as "$1" "$2" clean --quiet -fd
"""


class FailedError(Exception):
    """Something could not be brought over."""


class Sender:
    """Asks the machine and streams to it."""

    def __init__(self, host: str, ssh_config: str) -> None:
        """Remember how the machine is reached."""
        self.ssh = ["ssh", "-F", ssh_config, "-o", "BatchMode=yes", "--", host]

    def ask(self, *argv: str) -> str:
        """Run a command on the machine for its output; empty when it fails."""
        done = subprocess.run([*self.ssh, shlex.join(argv)], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 255:
            raise FailedError(f"{self.ssh[-1]} is not reached: {done.stderr.strip()[-300:]}")
        return done.stdout.strip() if done.returncode == 0 else ""

    def stream(self, producer: list[str], consumer: list[str]) -> None:
        """Pipe a local program into one on the machine."""
        source = subprocess.Popen(producer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        taken = subprocess.run([*self.ssh, shlex.join(consumer)], check=False, stdin=source.stdout, capture_output=True)
        if source.stdout:
            source.stdout.close()  # else a producer whose taker died would wait for ever
        words = source.stderr.read() if source.stderr else b""
        if source.wait() or taken.returncode:
            raise FailedError(f"{producer[0]} to {self.ssh[-1]}: {(words + taken.stderr).decode(errors='replace').strip()[-600:]}")


def _local(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise FailedError(f"{argv[0]} {argv[1]}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def send_image(sender: Sender, tag: str, name: str, *, dry_run: bool) -> bool:
    """Bring an image over under its name there; tell whether that was needed."""
    # The packaged client knows the packaged engine; another one may stand earlier on PATH.
    docker = shutil.which("docker", path="/usr/bin") or "docker"
    identity = _local(docker, "image", "inspect", "--format", "{{.Id}}", tag)
    if sender.ask("docker", "image", "inspect", "--format", "{{.Id}}", name) == identity:
        return False
    if not dry_run:
        if not sender.ask("docker", "image", "inspect", "--format", "{{.Id}}", identity):
            sender.stream([docker, "save", tag], ["docker", "load", "--quiet"])
        sender.ask("docker", "tag", identity, name)
        if sender.ask("docker", "image", "inspect", "--format", "{{.Id}}", name) != identity:
            raise FailedError(f"{name} is not {identity} on {sender.ssh[-1]} after loading it")
    return True


def send_repository(sender: Sender, bare: str, wanted: dict[str, str], *, dry_run: bool) -> str:
    """Bring a checkout to the branch's commit; return the commit, or '' when it was there already."""
    dest, owner, branch = wanted["dest"], wanted["owner"], wanted.get("branch", "main")
    commit = _local("git", "--git-dir", bare, "rev-parse", "--verify", f"refs/heads/{branch}")
    if sender.ask("sudo", "-n", "-u", owner, "git", "-C", dest, "rev-parse", "HEAD") == commit:
        return ""
    if not dry_run:
        bundle = ["git", "--git-dir", bare, "bundle", "create", "--quiet", "-", f"refs/heads/{branch}"]
        sender.stream(bundle, ["bash", "-c", CHECK_OUT, "bash", dest, owner, branch])
    return commit


def main() -> None:
    """Wire arguments to the sender and answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_by={"repositories": ("bare",)})
    given, dry_run = module.params, module.check_mode
    sender = Sender(given["host"], given["ssh_config"])
    did = []
    try:
        images = [image for image in given["images"] if send_image(sender, image["tag"], image["as"], dry_run=dry_run)]
        did += [f"image {image['as']}" for image in images]
        for repository in given["repositories"]:
            commit = send_repository(sender, given["bare"], repository, dry_run=dry_run)
            if commit:
                did.append(f"repository {repository['dest']} at {commit[:7]}")
    except FailedError as failure:
        module.fail_json(msg=str(failure), did=did)
    module.exit_json(changed=bool(did), did=did)


if __name__ == "__main__":
    main()
