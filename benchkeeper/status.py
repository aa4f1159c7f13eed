"""`./bench status` and `./bench logs`: what there is, who holds it, how the last run ended."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchkeeper import leases, machines, sshfiles
from benchkeeper.engine import connect
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from pathlib import Path

    from benchkeeper.paths import Paths

SCHEMA = 1


def last_run(results: Path) -> dict[str, Any] | None:
    """Return id, verdict, path and exit code of the last run; verdict None while it is not written yet."""
    link = results / "latest"
    if not link.is_dir():
        return None
    folder = link.resolve()
    found: dict[str, Any] = {}
    result = folder / "result.json"
    if result.is_file():
        try:
            found = json.loads(result.read_text(encoding="utf-8"))
        except ValueError:
            found = {"verdict": "unreadable"}
    return {
        "id": str(found.get("run_id", folder.name)),
        "verdict": found.get("verdict"),
        "path": str(folder),
        "exit_code": found.get("exit_code"),
    }


def gather(paths: Paths) -> dict[str, Any]:
    """Return the document that `status --json` prints; its keys are stable (docs/reference/status.md)."""
    client = connect(2)
    seen = machines.look(client, paths.checkout_id) if client else {}
    running = [name for name, machine in sorted(seen.items()) if machine.state == "running"]
    return {
        "schema": SCHEMA,
        "checkout": {"id": paths.checkout_id, "path": str(paths.root)},
        "machines": [
            {
                "name": name,
                "container": machine.container,
                "address": machine.address or None,
                "state": machine.state,
                "image": machine.image,
            }
            for name, machine in sorted(seen.items())
        ],
        "leases": leases.as_json(leases.ask_all(paths, running)) if paths.ssh_config.is_file() else [],
        "last_run": last_run(paths.results),
    }


def show(paths: Paths, *, as_json: bool) -> int:
    """Print the status; return 0."""
    document = gather(paths)
    if as_json:
        print(json.dumps(document, indent=2, sort_keys=True))
        return 0
    if not document["machines"]:
        print("no machines; make them with: ./bench up")
    for machine in document["machines"]:
        print(f"machine  {machine['name']:<10} {machine['state']:<8} {machine['address'] or '-':<15} {machine['container']}")
    for lease in document["leases"]:
        if lease["state"] == "free":
            print(f"lease    {lease['resource']:<10} free")
            continue
        until = f" until {lease['deadline']}" if lease["deadline"] else ""
        by = f" by {lease['holder']} (run {lease['run_id']})" if lease["run_id"] else ""
        print(f"lease    {lease['resource']:<10} {lease['state']}{by}{until}")
    run = document["last_run"]
    if run:
        print(f"last run {run['id']}  {run['verdict'] or 'not finished'}  {run['path']}")
    return 0


def last_events(paths: Paths, lines: int) -> int:
    """Print the last lines of the last run's event log."""
    log = paths.results / "latest" / "events.jsonl"
    if not log.is_file():
        raise UnfitError("there is no run yet; start one with: ./bench e2e main")
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
        print(line)
    print(f"all of it: {log.parent.resolve()}", file=sys.stderr)
    return 0


def journal(paths: Paths, host: str, lines: int) -> int:
    """Print the last lines of a machine's journal."""
    if not paths.ssh_config.is_file():
        raise UnfitError("no machines; make them with: ./bench up")
    return subprocess.run(
        sshfiles.command(paths, host, "sudo", "journalctl", "--no-pager", "--lines", str(lines)),
        check=False,
        stdin=subprocess.DEVNULL,
    ).returncode
