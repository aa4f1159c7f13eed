"""How modules `harness` and `replays` ask the controller's package, and what both take (documented in the fragment `harness`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Dict, Mapping

WISH: Dict[str, Any] = {
    "tenants": {"type": "int", "default": 2},
    "kind": {"type": "str", "choices": ["builtin", "image", "binary"], "default": "builtin"},
    "image": {"type": "str", "default": ""},
    "binary": {"type": "path"},
    "build_id": {"type": "str", "default": ""},
    "version": {"type": "str", "choices": ["current", "seed"], "default": "current"},
    "breaks": {"type": "list", "elements": "str", "default": []},
    "edge_profile": {"type": "str", "default": "plain"},
    "port": {"type": "int", "default": 0},
    "rebuild": {"type": "bool", "default": False},
    "install": {"type": "bool", "default": False},
}


def call(verb: str, params: Mapping[str, Any], *, dry_run: bool) -> Dict[str, Any]:
    """Ask, in a process of its own: what a module is packed with hides the collection that the package stands on.

    Args:
        verb: `harness` or `replays`.
        params: The module's parameters; they travel on standard input.
        dry_run: Whether nothing may be made.

    Returns:
        What the module says; ``failed`` is true when it has to fail, with ``msg``.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", "-m", "benchkeeper.harness.for_ansible", verb]
    request = json.dumps({"params": dict(params), "dry_run": dry_run})
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False, env=environment)
    try:
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        found = None
    if not isinstance(found, dict):
        last = done.stderr.strip().rpartition("\n")[2]
        return {"failed": True, "msg": f"this module runs on the controller, in the environment that ./bench makes: {last}"}
    return found
