"""The harness for Ansible: what modules `harness` and `replays` do, with results instead of lines.

python -m benchkeeper.harness.for_ansible harness|replays    the request, ``{params, dry_run}``, on standard input
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkeeper.errors import BenchError, UsageError
from benchkeeper.harness import commands, life, place, replays, stay, suite, topology
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Mapping


def wish_of(params: Mapping[str, Any]) -> life.Wish:
    """Return what a module's parameters wish for. Raises UsageError."""
    paths = checkout()
    wish = life.Wish(
        tenants=params["tenants"],
        kind=params["kind"],
        image=params["image"] or "",
        binary=Path(params["binary"]) if params["binary"] else None,
        build_id=topology.check_build_id(params["build_id"]) if params["build_id"] else "",
        switches=commands.switches(paths, params["breaks"], version=params["version"], edge_profile=params["edge_profile"]),
        port=params["port"],
        rebuild=params["rebuild"],
        install=params["install"],
    )
    life.check(wish)
    return wish


def described(where: place.Place, folder: Path) -> dict[str, Any]:
    """Return what a module may say of a harness: no secret, and the path of the file that has them."""
    tenants = [{"name": one.name, "host": one.host, "org": one.org, "direct": one.direct} for one in where.everybody]
    return {"run": where.run, "edge": where.edge, "build_id": where.build_id, "tenants": tenants, "file": str(folder / place.FILE)}


def apply_state(params: Mapping[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """Make a harness present, seeded, or absent; return ``changed`` and what is there."""
    paths = checkout()
    try:
        lease = life.kept(paths, params["run_id"] or None)
    except UsageError:
        if params["run_id"] and params["state"] != "absent":
            raise
        lease = None
    if params["state"] == "absent":
        if lease is not None and not dry_run:
            left = life.take_down(paths, lease.run)
            if left:
                raise life.LeftError("; ".join(left))
        return {"changed": lease is not None}
    if lease is not None:
        folder = life.folder_of(lease)
        return {"changed": False, **described(place.read(folder), folder)}
    wish = wish_of(params)
    if dry_run:
        return {"changed": True}
    harness = stay.bring_up(paths, wish, seeded=True)
    return {"changed": True, **described(harness.place, harness.folder)}


def play(params: Mapping[str, Any]) -> dict[str, Any]:
    """Run replays from nothing to nothing; return what came of it, ``exit_code`` included."""
    paths = checkout()
    folder = Path(params["folder"]) if params["folder"] else paths.stacks / life.STACK / "replays"
    chosen = replays.find(folder, params["names"])
    record = suite.run(paths, suite.Order(chosen, wish_of(params), params["prove"]))
    return {
        "changed": False,
        "exit_code": record.exit_code,
        "run": record.run,
        "results": str(suite.results_of(paths, record.run)),
        "outcomes": [{key: value for key, value in asdict(one).items() if key != "tail"} for one in record.outcomes],
        "problems": record.problems,
        "table": suite.table(record, chosen),
    }


def answer(verb: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a module says; what goes wrong is said with ``failed``, ``msg`` and ``exit_code``."""
    try:
        if verb == "harness":
            return apply_state(request["params"], dry_run=request["dry_run"])
        came_to = play(request["params"])
    except BenchError as error:
        return {"failed": True, "msg": str(error), "exit_code": error.exit_code}
    if came_to["exit_code"]:
        return {"failed": True, "msg": "; ".join(came_to["problems"]) or "not good", **came_to}
    return came_to


if __name__ == "__main__":
    print(json.dumps(answer(sys.argv[1], json.load(sys.stdin))))
