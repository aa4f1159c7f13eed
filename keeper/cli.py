"""The command line: ``keeper call VERB`` for programs, the rest for a person at the machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine

from keeper import VERSION
from keeper.core import Keeper
from keeper.looker import RealLooker
from keeper.ports import FileLocks, RealClock, RealExecutor
from keeper.store import ROOT, Store
from keeper.units import SystemdServices, best_units

_REQUEST_LIMIT = 16 * 1024 * 1024


def state_directory() -> str:
    """Return where the state is. Only somebody who is not root may move it: root's is where everybody looks for it."""
    chosen = os.environ.get("BENCHKEEPER_STATE_DIR")
    return chosen if chosen and os.geteuid() != 0 else ROOT


def program() -> List[str]:
    """Return how this program is started again: the zipapp, or the package beside it."""
    return [sys.executable or "/usr/bin/python3", str(Path(sys.argv[0]).resolve())]


def real_keeper(root: str) -> Keeper:
    """Return the keeper of this machine."""
    clock, executor, files = RealClock(), RealExecutor(), _fsio.RealFiles()
    store = Store(files, FileLocks(root, clock), root)
    return Keeper(
        store,
        clock,
        best_units(executor, clock, program()),
        SystemdServices(executor),
        RealLooker(),
        Engine,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keeper", description="Keeps what was borrowed on this machine returnable.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("version", help="print the version")
    one = commands.add_parser("status", help="who has this machine, since when, what was changed, how it comes back")
    one.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("explain", help="every change and what its undo will do")
    one = commands.add_parser("recover", help="put everything back, prove it, free the machine")
    one.add_argument("--resource", help="only this resource")
    one.add_argument("--run", help="only if this run holds it")
    one.add_argument("--nonce-stdin", action="store_true", help="read the run's nonce from standard input")
    one.add_argument("--force", action="store_true", help="although its holder may be alive; needs --run")
    one.add_argument("--json", action="store_true", help="for programs")
    one = commands.add_parser("settle", help="decide about one item in conflict, then prove")
    one.add_argument("item")
    one.add_argument("--resource", help="needed where there are several")
    one.add_argument("--keep", choices=("original", "current"), required=True)
    one.add_argument("--reason", required=True, help="recorded in the journal")
    one = commands.add_parser("call", help="one JSON request on standard input, one JSON answer")
    one.add_argument("verb")
    one = commands.add_parser("unit-run")
    one.add_argument("spec")
    return parser


def _print(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")


def _call(keeper: Keeper, verb: str) -> int:
    from keeper.verbs import call  # noqa: PLC0415 - a unit's own program needs none of this

    raw = sys.stdin.buffer.read(_REQUEST_LIMIT + 1)
    try:
        request = json.loads(raw) if len(raw) <= _REQUEST_LIMIT else None
    except (ValueError, RecursionError):
        request = None
    code, answer = call(keeper, verb, request)
    _print(answer)
    return code


def _only_resource(keeper: Keeper, chosen: Any) -> Any:
    names = keeper.store.resources()
    return chosen or (names[0] if len(names) == 1 else None)


def _human(keeper: Keeper, options: argparse.Namespace) -> int:
    from keeper import human  # noqa: PLC0415 - only for people
    from keeper.verbs import call  # noqa: PLC0415

    request: Dict[str, Any] = {}
    if options.command == "recover":
        request = {"resource": options.resource, "run_id": options.run, "force": options.force}
        if options.force and not options.run:
            sys.stderr.write("keeper: --force needs --run ID (see keeper status)\n")
            return 2
        if options.nonce_stdin:
            request["nonce"] = sys.stdin.readline().strip()
        request = {key: value for key, value in request.items() if value}
    elif options.command == "settle":
        request = {
            "resource": _only_resource(keeper, options.resource),
            "item": options.item,
            "keep": options.keep,
            "reason": f"{options.reason} (by {os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()})",
        }
    verb = "status" if options.command == "explain" else options.command
    code, answer = call(keeper, verb, request)
    if getattr(options, "json", False):
        _print(answer)
    else:
        sys.stdout.write(human.render(options.command, answer))
    return code


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    options = _parser().parse_args(list(arguments))
    if options.command == "version":
        sys.stdout.write(f"keeper {VERSION}\n")
        return 0
    if options.command == "unit-run":
        from keeper import unit_run  # noqa: PLC0415 - keeps the program inside a unit small

        return unit_run.main(options.spec)
    if os.geteuid() != 0 and state_directory() == ROOT:
        sys.stderr.write("keeper: this needs root: sudo keeper ...\n")
        return 2
    keeper = real_keeper(state_directory())
    if options.command == "call":
        return _call(keeper, options.verb)
    return _human(keeper, options)
