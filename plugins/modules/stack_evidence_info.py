#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: collect what explains a failure, redacted on the host, and search the host's logs for the canary."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_evidence_info
short_description: Collect what explains a failure, redacted on the host
description:
  - Returns the last lines of every container of a compose project and of the journal, redacted by value and by shape before they
    leave the host.
  - Searches for the canary of the run in everything that the journal and these containers hold since the run took its lease on
    this host, at most 256 MiB. What was not searched to its end is told, never passed over. Without a lease of the run, everything
    that is there is searched.
  - Changes nothing.
version_added: 0.1.0
author: Benchkeeper maintainers
attributes:
  check_mode: {support: full, description: The module only reads.}
  diff_mode: {support: none, description: The module only reads.}
  idempotent: {support: full, description: The module only reads.}
options:
  project: {description: The compose project; empty on a host that has none., type: str, default: ""}
  resource: {description: What the run leased on this host., type: str, default: ""}
  run_id: {description: The run., type: str, default: ""}
  logs: {description: Whether to return the texts., type: bool, default: true}
  lines: {description: Lines per container in the texts., type: int, default: 200}
  canary: {description: The planted secret of the run., type: str, default: ""}
  redact: {description: Dotenv files whose secret values are removed from the texts., type: list, elements: path, default: []}
"""

EXAMPLES = r"""
- name: Collect what explains a failure
  benchkeeper.core.stack_evidence_info:
    project: pithead
    resource: bench-0
    run_id: "{{ run.run_id }}"
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
gaps:
  description: Logs that were not searched to their end, each with the reason; must be empty.
  returned: success
  type: list
  elements: str
  sample: []
"""

import datetime as dt
import shutil
import subprocess
import threading
from typing import Any, Dict, Iterator, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._log_search import CHUNK, GapError, Search, frames
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor
from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import collect_secrets

JOURNAL_LINES = 2000
JOURNAL = ("journalctl", "--no-pager", "-q", "-o", "short-iso")
PATIENCE = 300  # seconds that the journal may take
GONE = 404  # of a container, whose log went with it
MARGIN = 60  # seconds before the lease: a clock that is set meanwhile moves a little


def began(resource: str, run_id: str) -> int:
    """Return since when the run is on this host, in seconds since the epoch of the host's clock; 0 when nobody knows."""
    try:
        leases = _keeper_client.call("status", {})["leases"] if run_id else []
        since = next(one["since"] for one in leases if (one.get("resource"), one.get("run_id")) == (resource, run_id))
        return int(dt.datetime.fromisoformat(since).timestamp()) - MARGIN
    except (_keeper_client.KeeperError, StopIteration, KeyError, TypeError, ValueError):
        return 0


def journal() -> str:
    """Return the last lines of the host's journal, or an empty text where there is none."""
    if not shutil.which(JOURNAL[0]):
        return ""
    done = subprocess.run([*JOURNAL, "-n", str(JOURNAL_LINES)], capture_output=True, timeout=30, check=False)
    return done.stdout.decode("utf-8", "replace")


def journal_since(since: int) -> Iterator[bytes]:
    """Yield the host's journal, long lines and binary ones too; nothing on a host that keeps none.

    Raises:
        GapError: It could not be read to its end.
    """
    if not shutil.which(JOURNAL[0]):
        return
    argv = [*JOURNAL, "--all", "--since", f"@{since}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None  # noqa: S101 - asked for one line above
        late = threading.Timer(PATIENCE, process.kill)
        late.start()
        try:
            yield from iter(lambda: process.stdout.read(CHUNK), b"")  # type: ignore[union-attr]
            if process.wait() != 0:
                raise GapError(f"journalctl ended with {process.returncode}")
        finally:
            late.cancel()
            process.kill()


def container_since(engine: Engine, container: str, since: int) -> Iterator[bytes]:
    """Yield the log of a container. Raises GapError when it could not be read to its end."""
    query = {"stdout": True, "stderr": True, "since": since}
    try:
        with engine.request("GET", f"/containers/{container}/logs", query) as response:
            yield from frames(response.read)
    except EngineError as error:
        if error.status != GONE:
            raise GapError(str(error)) from error


def collect(params: Dict[str, Any]) -> Dict[str, Any]:
    """Return texts, hits and gaps."""
    engine = Engine()
    containers: Dict[str, str] = {}
    trouble = ""
    try:
        if params["project"]:
            containers = {one["Names"][0].lstrip("/"): str(one["Id"]) for one in engine.project(params["project"])}
    except EngineError as error:
        trouble = f"the container engine could not be asked: {error}"
    search = Search(Redactor([params["canary"]] if params["canary"] else [], shapes=False))
    if params["canary"]:
        since = began(params["resource"], params["run_id"])
        search.read("journal", journal_since(since))
        for name, container in containers.items():
            search.read(name, container_since(engine, container, since))
        search.gaps += [trouble] if trouble else []
    return {"hits": search.hits, "gaps": search.gaps, "texts": texts(params, engine, containers, trouble) if params["logs"] else {}}


def last_words(engine: Engine, container: str, lines: int) -> str:
    """Return the last lines of a container, or why there are none."""
    try:
        return engine.logs(container, lines)
    except EngineError as error:
        return f"{error}\n"


def texts(params: Dict[str, Any], engine: Engine, containers: Dict[str, str], trouble: str) -> Dict[str, str]:
    """Return the last words of everything, for a reader."""
    raw = {"logs/journal.log": journal(), **({"logs/engine.txt": f"{trouble}\n"} if trouble else {})}
    raw.update({f"logs/{name}.log": last_words(engine, container, params["lines"]) for name, container in containers.items()})
    known: List[str] = [value for path in params["redact"] for value in collect_secrets(path)]
    redactor = Redactor([*known, *([params["canary"]] if params["canary"] else [])])
    return {name: redactor.text(text) for name, text in raw.items()}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "default": ""},
            "resource": {"type": "str", "default": ""},
            "run_id": {"type": "str", "default": ""},
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
