"""The command line: ``keeper call VERB`` for programs, the rest for a person at the machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio

from keeper import VERSION
from keeper.core import Keeper
from keeper.errors import KeeperError
from keeper.looker import RealLooker
from keeper.ports import FileLocks, RealClock, RealExecutor, SshSessions
from keeper.store import ROOT, Store
from keeper.triggers import best_triggers
from keeper.units import SystemdServices, best_units

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine

_REQUEST_LIMIT = 16 * 1024 * 1024
ROUND = 10.0  # seconds of one sweep


def state_directory() -> str:
    """Return where the state is. Only somebody who is not root may move it: root's is where everybody looks for it."""
    chosen = os.environ.get("BENCHKEEPER_STATE_DIR")
    return chosen if chosen and os.geteuid() != 0 else ROOT


def program() -> List[str]:
    """Return how this program is started again: the zipapp, or the package beside it."""
    return [sys.executable or "/usr/bin/python3", str(Path(sys.argv[0]).resolve())]


def _engine() -> Engine:
    from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine  # noqa: PLC0415 - large

    return Engine()


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
        _engine,
        best_triggers(executor, clock, program()),
        SshSessions(),
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
    one = commands.add_parser(
        "expect-reboot",
        help="announce a reboot of this machine: what is lent goes on if its holder is back in time",
        description=(
            "Announce one reboot of this machine, for every lease of it. After the boot a lease goes on, with what was changed "
            "under it, if its run is back before the time is over; else everything is put back. Without it a reboot ends every "
            "lease. It lengthens no lease in this boot: what ran out, or lost its holder, goes back all the same."
        ),
    )
    one.add_argument("--within", type=float, required=True, metavar="S", help="seconds from now until the run must be back")
    one.add_argument("--resource", metavar="R", help="only this lease; the others are over at the boot")
    one = commands.add_parser("call", help="one JSON request on standard input, one JSON answer")
    one.add_argument("verb")
    commands.add_parser("hold", help="hold a lease as long as this connection stands; JSON lines in and out")
    one = commands.add_parser("sweep", help="look for what is due to go back and set that off (the machine's init does this)")
    one.add_argument("--seconds", type=float, default=ROUND, help="how long to go on looking (default: %(default)g)")
    commands.add_parser("restore-due", help="put back and prove what is due (the machine's init does this)")
    commands.add_parser("boot", help="boot stage 1: borrowed files are back before anything reads them")
    one = commands.add_parser("lock-hold", help="hold the product's own lock for a lease (the machine's init does this)")
    one.add_argument("resource")
    commands.add_parser("install", help="put units or table of cron in place and start the sweep")
    commands.add_parser("uninstall", help="take everything off this machine but the tokens; refused while anything is leased")
    one = commands.add_parser("unit-run")
    one.add_argument("spec")
    return parser


def _print(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")


def _call(keeper: Keeper, options: argparse.Namespace) -> int:
    from keeper.verbs import call  # noqa: PLC0415 - a unit's own program needs none of this

    raw = sys.stdin.buffer.read(_REQUEST_LIMIT + 1)
    try:
        request = json.loads(raw) if len(raw) <= _REQUEST_LIMIT else None
    except (ValueError, RecursionError):
        request = None
    code, answer = call(keeper, options.verb, request)
    _print(answer)
    return code


# What the machine's init, a role or a connection runs. The modules are imported when they are needed: most calls need none.


def _hold(keeper: Keeper, _options: argparse.Namespace) -> int:
    from keeper import hold  # noqa: PLC0415

    return hold.main(keeper, sys.stdin.buffer)


def _sweep(keeper: Keeper, options: argparse.Namespace) -> int:
    from keeper import sweep  # noqa: PLC0415

    for resource, why in sweep.sweep(keeper, options.seconds).items():
        sys.stderr.write(f"{resource} goes back: {why}\n")
    return 0


def _restore_due(keeper: Keeper, _options: argparse.Namespace) -> int:
    from keeper import sweep  # noqa: PLC0415

    done = sweep.restore_due(keeper)
    _print({name: {key: one.get(key) for key in ("restored", "proven", "reason", "error")} for name, one in done.items()})
    return 0  # what is not back says so in its lease, and is tried again; a failed unit would say nothing more


def _boot(keeper: Keeper, _options: argparse.Namespace) -> int:
    from keeper import boot  # noqa: PLC0415

    failed = boot.boot(keeper)
    for line in failed:
        sys.stderr.write(f"{line}\n")
    return 1 if failed else 0  # the units that read these files then do not start


def _lock_hold(keeper: Keeper, options: argparse.Namespace) -> int:
    from keeper import product_lock  # noqa: PLC0415

    return product_lock.hold(keeper, options.resource)


def _install(_keeper: Keeper, _options: argparse.Namespace) -> int:
    from keeper import install  # noqa: PLC0415

    _print({"changed": install.install(RealExecutor(), systemd=Path("/run/systemd/system").is_dir())})
    return 0


def _uninstall(keeper: Keeper, _options: argparse.Namespace) -> int:
    from keeper import install  # noqa: PLC0415

    _print({"removed": install.uninstall(keeper, RealExecutor(), systemd=Path("/run/systemd/system").is_dir())})
    return 0


_WORK = {
    "call": _call,
    "hold": _hold,
    "sweep": _sweep,
    "restore-due": _restore_due,
    "boot": _boot,
    "lock-hold": _lock_hold,
    "install": _install,
    "uninstall": _uninstall,
}


def _only_resource(keeper: Keeper, chosen: Any) -> Any:
    names = keeper.store.resources()
    return chosen or (names[0] if len(names) == 1 else None)


def _person() -> str:
    return str(os.environ.get("SUDO_USER") or os.environ.get("USER") or os.getuid())


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
    elif options.command == "expect-reboot":
        request = {"within": options.within, "by": _person()}
        request.update({"resource": options.resource} if options.resource else {})
    elif options.command == "settle":
        request = {
            "resource": _only_resource(keeper, options.resource),
            "item": options.item,
            "keep": options.keep,
            "reason": f"{options.reason} (by {_person()})",
        }
    verb = "status" if options.command == "explain" else options.command.replace("-", "_")
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
    try:
        return _WORK.get(options.command, _human)(real_keeper(state_directory()), options)
    except KeeperError as error:
        sys.stderr.write(f"keeper: {error}\n")
        return error.exit_code
