#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: collect what explains a failure, redacted on the host, and search the host's logs for the canary."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_evidence_info
short_description: Collect what explains a failure, redacted on the host
description:
  - Returns the last lines of every container of a compose project and of the journal, redacted by value and by shape before they
    leave the host, and counts where the canary of the run was found in them before redaction.
  - Changes nothing.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: The module only reads.}
  diff_mode: {support: none, description: The module only reads.}
  idempotent: {support: full, description: The module only reads.}
options:
  project: {description: The compose project., type: str, required: true}
  logs: {description: Whether to return the texts., type: bool, default: true}
  lines: {description: Lines per container., type: int, default: 200}
  canary: {description: The planted secret of the run., type: str, default: ""}
  redact: {description: Dotenv files whose secret values are removed from the texts., type: list, elements: path, default: []}
"""

EXAMPLES = r"""
- name: Collect what explains a failure
  benchkeeper.core.stack_evidence_info:
    project: pithead
    redact: [/srv/code/pithead/.env]
  become: true
"""

RETURN = r"""
texts:
  description: Redacted logs by file name.
  returned: success
  type: dict
  sample: {logs/monerod.log: "..."}
hits:
  description: Places in which the canary was found, each with its encoding; must be empty.
  returned: success
  type: list
  elements: str
  sample: []
"""

import shutil
import subprocess
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor
from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import collect_secrets

JOURNAL_LINES = 2000


def journal() -> str:
    """Return the last lines of the host's journal, or an empty text where there is none."""
    if not shutil.which("journalctl"):
        return ""
    argv = ["journalctl", "--no-pager", "-q", "-n", str(JOURNAL_LINES), "-o", "short-iso"]
    done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
    return done.stdout.decode("utf-8", "replace")


def collect(params: Dict[str, Any]) -> Dict[str, Any]:
    """Return texts and hits."""
    raw = {"logs/journal.log": journal()}
    engine = Engine()
    try:
        for container in engine.project(params["project"]):
            name = container["Names"][0].lstrip("/")
            raw[f"logs/{name}.log"] = engine.logs(container["Id"], params["lines"])
    except EngineError as error:
        raw["logs/engine.txt"] = f"the container engine could not be asked: {error}\n"
    hits: List[str] = []
    if params["canary"]:
        seeker = Redactor([params["canary"]], shapes=False)
        hits = [f"{name}: {hit.encoding}" for name, text in raw.items() for hit in seeker.scan(text.encode())]
    known = [value for path in params["redact"] for value in collect_secrets(path)]
    redactor = Redactor([*known, *([params["canary"]] if params["canary"] else [])])
    return {"hits": hits, "texts": {name: redactor.text(text) for name, text in raw.items()} if params["logs"] else {}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "logs": {"type": "bool", "default": True},
            "lines": {"type": "int", "default": 200},
            "canary": {"type": "str", "default": "", "no_log": True},
            "redact": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **collect(module.params))


if __name__ == "__main__":
    main()
