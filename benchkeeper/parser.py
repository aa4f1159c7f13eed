"""The words of the command line. What they mean is judged in `cli`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from benchkeeper import validate

if TYPE_CHECKING:
    from collections.abc import Callable

    Adder = Callable[[str, str], argparse.ArgumentParser]

LEVELS = ("static", "unit", "role", "e2e")
HARNESS_ACTIONS = ("up", "seed", "replay", "down")
MACHINE_ACTIONS = ("reboot", "kill", "start", "cut", "heal")

EPILOG = """\
exit codes: 0 all checks passed and every host is proven restored; 1 a check failed, everything restored; 2 wrong input;
3 the bench is not fit; 4 something is NOT proven restored; 75 leased to someone else; 128+n ended by signal n.

start here:  ./bench e2e main          results:  results/latest/report.html
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors never echo what could fool a terminal."""

    def error(self, message: str) -> NoReturn:
        """Refuse with the usage line; exit code 2."""
        clean = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in message)
        if len(clean) > 300:
            clean = f"{clean[:300]}..."
        self.exit(2, f"{self.format_usage()}bench: {clean}\n")


def _verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--verbose", action="count", default=0, help="more detail, up to -vvv")


def _stack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stack", default="pithead", metavar="NAME", help="system under test (default: %(default)s)")


def _inventory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inventory", metavar="PATH", help="hosts to use (default: the embedded bench)")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `./bench`."""
    parser = Parser(
        prog="./bench",
        description="Bring a test bench up or borrow a live one, prove a branch on it, put everything back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    common = Parser(add_help=False, allow_abbrev=False)
    common.add_argument("--no-install", action="store_true", help="install nothing; say what is missing")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)

    _add_runs(command)
    _add_bench(command)
    _add_harness(command)
    _add_proofs(command)
    return parser


def _add_runs(command: Adder) -> None:
    e2e = command("e2e", "deploy a branch, borrow miners, check, break a little, put everything back, report")
    e2e.add_argument("branch", metavar="BRANCH", help="branch of the bench's repository (see: ./bench repo)")
    _stack(e2e)
    e2e.add_argument("--mode", default="targeted", metavar="|".join(validate.MODES), help="default: %(default)s")
    borrowed = "miners to borrow (default: miner-0; none where the stack borrows none)"
    e2e.add_argument("--miners", metavar="A,B|none", help=borrowed)
    e2e.add_argument("--workers", metavar="N", help="workers the bench must see (default: as many as borrowed)")
    e2e.add_argument("--keep", action="store_true", help="leave it all as it is until --ttl is over or `recover`")
    e2e.add_argument("--ttl", metavar="S", help="seconds a lease lives without a sign of life")
    e2e.add_argument("--wait", default="0", metavar="S", help="seconds to wait for somebody else's lease")
    settable = "a variable of the inventory for this run: bench_origin, bench_pool_host, bench_repo, bench_time_scale"
    e2e.add_argument("-e", "--extra", action="append", default=[], metavar="K=V", help=settable)
    _inventory(e2e)
    _verbose(e2e)

    recover = command("recover", "put back what a dead run left, and prove it")
    recover.add_argument("--host", action="append", default=[], metavar="H", help="only this host (may be repeated)")
    recover.add_argument("--run", dest="run_id", metavar="ID", help="this run")
    recover.add_argument("--force", action="store_true", help="overrule a living holder (needs --run)")
    _inventory(recover)
    _verbose(recover)


def _add_bench(command: Adder) -> None:
    up = command("up", "bring the embedded bench up, with the stack's baseline; up already: changes nothing")
    _stack(up)
    _verbose(up)

    down = command("down", "remove the embedded bench of this checkout")
    down.add_argument("--images", action="store_true", help="remove its cached images, too")
    down.add_argument("--force", action="store_true", help="even when something is leased")

    setup = command("setup", "make engine and images ready, nothing more")
    _stack(setup)

    reap = command("reap", "remove what dead runs left on this computer's engine; never what anybody else made")
    reap.add_argument("--run", dest="run_id", metavar="ID", help="what this run made, unless it is alive")
    reap.add_argument("--dry-run", action="store_true", help="say what would be removed; remove nothing")
    reap.add_argument("--json", action="store_true", help="stable output for scripts")

    status = command("status", "machines, leases, last run")
    status.add_argument("--json", action="store_true", help="stable output for scripts")

    logs = command("logs", "events of the last run, or a machine's journal")
    logs.add_argument("--host", metavar="H", help="the journal of this machine")
    logs.add_argument("--lines", default="200", metavar="N", help="how many lines (default: %(default)s)")

    machine = command("machine", "reboot, cut the power, pull the cable of a machine")
    machine.add_argument("action", choices=MACHINE_ACTIONS)
    machine.add_argument("name", metavar="NAME")

    repo = command("repo", "print the path of the bench's git repository; push branches there")
    _stack(repo)


def _tenants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="PATH", help="replays of another folder than the stack's")
    kinds = ("builtin", "image", "binary", "url")
    parser.add_argument("--tenant", default="builtin", choices=kinds, help="kind (default: %(default)s)")
    parser.add_argument("--at", metavar="FILE", help="where the tenants are, with --tenant url")
    parser.add_argument("--tenants", default="2", metavar="N", help="tenants that replays share (default: %(default)s)")
    parser.add_argument("--image", metavar="NAME", help="the tenant's image, with --tenant image")
    parser.add_argument("--binary", metavar="PATH", help="the tenant's program, or a folder with one, with --tenant binary")
    parser.add_argument("--build-id", metavar="ID", help="what a tenant from outside says that it was built of")
    parser.add_argument("--as", dest="version", choices=("current", "seed"), default="current", help="seed: the recorded version")
    parser.add_argument("--break", dest="breaks", action="append", default=[], metavar="PART:NAME", help="bring a bug back")
    parser.add_argument("--edge-profile", default="plain", metavar="NAME", help="table of headers (default: %(default)s)")
    parser.add_argument("--port", default="0", metavar="N", help="loopback port of the edge (default: a free one)")
    parser.add_argument("--rebuild", action="store_true", help="use nothing of an earlier build (or: REBUILD=1)")


def _add_harness(command: Adder) -> None:
    harness = command("harness", "tenants behind an edge on this computer's engine: bring up, seed, replay against, take down")
    harness.add_argument("action", choices=HARNESS_ACTIONS)
    harness.add_argument("names", nargs="*", metavar="REPLAY", help="with replay: which (default: all)")
    harness.add_argument("--run", dest="run_id", metavar="ID", help="which harness, when more than one stays")
    _tenants(harness)

    runs = command("replays", "bring a harness up, seed it, run the replays, take it down, tell")
    runs.add_argument("names", nargs="*", metavar="REPLAY", help="default: all")
    runs.add_argument("--prove", action="store_true", help="first show that each is red with the bug that it is there for")
    runs.add_argument("--keep", action="store_true", help="the harness stays when the replays are done (or: KEEP_UP=1)")
    _tenants(runs)


def _add_proofs(command: Adder) -> None:
    planted = command("planted", "prove that planted bugs turn their checks red")
    planted.add_argument("patches", nargs="*", metavar="NAME|FILE", help="default: all of the stack")
    _stack(planted)
    _verbose(planted)

    signals = command("signals", "end runs by signals at random moments and prove that everything comes back")
    signals.add_argument("--count", default="10", metavar="N", help="moments (default: %(default)s)")
    signals.add_argument("--seed", metavar="N", help="the same moments again")
    _stack(signals)
    _verbose(signals)

    crash = command("crash", "kill controllers and machines in the middle of runs, do nothing, and see everything come back")
    every = "strike at every boundary of the journal, or at N of each kind of change"
    crash.add_argument("--sweep", nargs="?", const="all", metavar="N", help=every)
    crash.add_argument("--case", action="append", default=[], metavar="F7|all", help="a case of the battery (may be repeated)")
    crash.add_argument("--random", default="0", metavar="N", help="kill -9 at N random moments")
    crash.add_argument("--world", action="store_true", help="reboots, a pulled cable, a paused controller")
    crash.add_argument("--borrowers", default="0", metavar="N", help="let two borrowers ask at the same moment, N times")
    crash.add_argument("--seed", metavar="N", help="the same moments again")
    _stack(crash)

    check = command("validate", "read the files of stacks as a run would, and name every mistake with its line")
    check.add_argument("stacks", nargs="*", metavar="STACK", help="default: all")
    check.add_argument("--json", action="store_true", help="stable output for scripts")
    check.add_argument("--schema", metavar="KIND", help="print the JSON schema for an editor: of profile, exercise, checks, ...")

    coherence = command("coherence", "compare the environment names of stacks with the list of who reads them")
    coherence.add_argument("stacks", nargs="*", metavar="STACK", help="default: all that have an environment.yml")
    coherence.add_argument("--production", metavar="FILE|URL", help="what production has; only an address given here is asked")
    coherence.add_argument("--json", action="store_true", help="stable output for scripts")

    conform = command("conform", "play a recording of the real tenant against any kind of tenant, and say what is not as recorded")
    conform.add_argument("recording", metavar="FILE.jsonl", help="what the real one was recorded to answer")
    conform.add_argument("--tenant", default="builtin", metavar="KIND", help="builtin, image, binary or url (default: %(default)s)")
    conform.add_argument("--image", metavar="NAME", help="the image of kind image (default: our own)")
    conform.add_argument("--binary", metavar="PATH", help="the program of kind binary, or a folder with one called tenant")
    conform.add_argument("--url", metavar="URL", help="where the tenant of kind url is: http://HOST[:PORT]")
    conform.add_argument("--as", dest="version", metavar="seed", help="be the recorded version, with all that was wrong with it")
    conform.add_argument("--json", action="store_true", help="stable output for scripts: every case with its verdict")

    bare = command("bare", "clone and run everything in a bare Debian container, with times")
    bare.add_argument("releases", nargs="*", metavar="12|13", help="default: both")
    bare.add_argument("--keep", action="store_true", help="leave the container for a look")

    test = command("test", "the project's own tests")
    test.add_argument("levels", nargs="*", metavar="|".join(LEVELS), help="default: all, in this order")
    _verbose(test)

    command("help", "this text")
