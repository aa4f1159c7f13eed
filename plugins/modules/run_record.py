#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: write down what a run has seen, for the checks and the report."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_record
short_description: Write down what a run has seen
description:
  - Runs on the controller. Writes snapshots, step results and outcomes of a run into files below its results directory, each
    atomically. It is the only writer of these files.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: In the dry run nothing is written.}
  diff_mode: {support: none, description: The files are data for programs.}
  idempotent: {support: full, description: The same data give the same files.}
options:
  run_dir: {description: The run's results directory., type: path, required: true}
  snapshots:
    description: Documents by file name without suffix, C(PHASE-STEP-HOST).
    type: dict
    default: {}
  steps: {description: Results of steps and waits; looks in them become snapshots., type: list, elements: dict, default: []}
  host: {description: 'The bench, the host on which steps looked.', type: str, default: ""}
  files: {description: JSON documents by path below the run directory., type: dict, default: {}}
  texts: {description: Texts by path below the run directory., type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Keep what was seen
  benchkeeper.core.run_record:
    run_dir: "{{ run.results }}"
    snapshots: {baseline-before-bench-0: "{{ before.snapshot }}"}
  delegate_to: localhost
"""

RETURN = r"""
written:
  description: Paths below the run directory.
  returned: success
  type: list
  elements: str
  sample: [work/snapshots/baseline-before-bench-0.json, work/steps.jsonl]
"""

import json
from pathlib import Path
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule


def collect(params: Dict[str, Any]) -> Dict[str, str]:
    """Return the texts to write by path below the run directory."""
    texts: Dict[str, str] = {name: str(text) for name, text in params["texts"].items()}
    texts.update({name: json.dumps(data, indent=1, sort_keys=True) + "\n" for name, data in params["files"].items()})
    snapshots = dict(params["snapshots"])
    lines: List[str] = []
    for step in params["steps"]:
        line = {key: value for key, value in step.items() if key != "looks"}
        lines.append(json.dumps(line, sort_keys=True))
        for name, look in step.get("looks", {}).items():
            snapshots[f"{step.get('phase', 'step')}-{name}-{params['host']}"] = look
    for name, document in snapshots.items():
        texts[f"work/snapshots/{name}.json"] = json.dumps(document, indent=1, sort_keys=True) + "\n"
    if lines:
        texts["work/steps.jsonl"] = "\n".join(lines) + "\n"
    return texts


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "run_dir": {"type": "path", "required": True},
            "snapshots": {"type": "dict", "default": {}},
            "steps": {"type": "list", "elements": "dict", "default": []},
            "host": {"type": "str", "default": ""},
            "files": {"type": "dict", "default": {}},
            "texts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    root = Path(module.params["run_dir"]).resolve()
    texts = collect(module.params)
    for name, text in texts.items():
        target = root / name
        if root not in target.resolve().parents:
            module.fail_json(msg=f"not below the run directory: {name}")
        if module.check_mode:
            continue
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temp = target.with_name(f".{target.name}.tmp")
        temp.write_text(text, encoding="utf-8")
        temp.replace(target)
    module.exit_json(changed=bool(texts), written=sorted(texts))


if __name__ == "__main__":
    main()
