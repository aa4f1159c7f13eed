# ruff: noqa: PLC0415 -- a refusal and the help text must not pay for what only a command needs
"""The commands: each judges its input in full, acts, and returns an exit code.

Heavy modules are imported by the command that needs them: `./bench help` and a refusal must cost nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper import validate
from benchkeeper.console import complain
from benchkeeper.errors import BenchError, UsageError
from benchkeeper.options import (
    ConformOptions,
    CrashOptions,
    E2EOptions,
    PlantedOptions,
    RecoverOptions,
    SignalsOptions,
    TestOptions,
)
from benchkeeper.parser import LEVELS, build_parser
from benchkeeper.paths import Paths, checkout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from benchkeeper.inventory import Hosts


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    if arguments and arguments[0] == "report":  # internal: role report renders a run with it
        from benchkeeper import report

        return int(report.main(list(arguments[1:])))
    parser = build_parser()
    # A word that cannot be parsed ends here with code 2, like every other refusal.
    options = parser.parse_args(list(arguments))
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return COMMANDS[options.command](options, checkout())
    except BenchError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except Exception as error:
        if options.command not in ("e2e", "recover"):
            raise
        # Exit code 1 would blame the branch; whether everything is back is not known.
        complain(
            f"{options.command} failed unexpectedly ({type(error).__name__}: {error}); see ./bench status, then ./bench recover"
        )
        return 4


def _hosts(text: str | None, paths: Paths) -> tuple[Path, bool, Hosts]:
    """Return (absolute inventory path, is it the embedded bench, its hosts)."""
    from benchkeeper import inventory

    if text is None:
        return paths.inventory, True, inventory.read(paths.inventory, plain=True)
    path = Path(validate.inventory_path(text)).absolute()
    if not path.exists():
        raise UsageError(f"no such inventory: {validate.shown(text)}")
    embedded = path.resolve() == paths.inventory
    return path, embedded, inventory.read(path, plain=embedded)


def _e2e(options: argparse.Namespace, paths: Paths) -> int:
    branch = validate.branch_name(options.branch)
    stack = validate.stack_name(options.stack, paths.stack_names())
    mode = validate.mode(options.mode)
    workers = None if options.workers is None else validate.workers(options.workers)
    ttl = None if options.ttl is None else validate.ttl(options.ttl)
    wait = validate.wait(options.wait)
    extra = validate.extra_vars(options.extra)
    if options.keep and ttl is None:
        raise UsageError("--keep needs --ttl: how long may the run keep what it borrowed?")
    if options.keep and mode == "check":
        raise UsageError("--mode check changes nothing, there is nothing to --keep")
    inventory, embedded, hosts = _hosts(options.inventory, paths)
    from ansible_collections.benchkeeper.core.plugins.module_utils import _run_context

    from benchkeeper import spec

    lends = spec.lends(paths, stack)
    usual = _run_context.DEFAULT_MINER if lends else "none"
    miners = validate.miners(usual if options.miners is None else options.miners, hosts.miners, lends=lends)
    commit = ""
    _sweep(paths)
    if embedded:
        from benchkeeper import repo

        paths.make_work()
        repo.ensure(paths, stack)
        commit = repo.resolve(paths, stack, branch)
        from benchkeeper import setup

        setup.ensure_up(paths, stack, install=not options.no_install, verbose=options.verbose)
    from benchkeeper import supervisor

    return supervisor.run_e2e(
        E2EOptions(
            branch=branch,
            commit=commit,
            stack=stack,
            mode=mode,
            miners=miners,
            workers=workers,
            keep=options.keep,
            ttl=ttl,
            wait=wait,
            inventory=inventory,
            embedded=embedded,
            extra=extra,
            verbose=options.verbose,
        ),
    )


def _up(options: argparse.Namespace, paths: Paths) -> int:
    stack = validate.stack_name(options.stack, paths.stack_names())
    _sweep(paths)
    from benchkeeper import setup

    setup.up(paths, stack, install=not options.no_install, verbose=options.verbose)
    return 0


def _down(options: argparse.Namespace, paths: Paths) -> int:
    _sweep(paths)
    from benchkeeper import setup

    setup.down(paths, images=options.images, force=options.force)
    return 0


def _setup(options: argparse.Namespace, paths: Paths) -> int:
    stack = validate.stack_name(options.stack, paths.stack_names())
    _sweep(paths)
    from benchkeeper import setup

    setup.prepare(paths, stack, install=not options.no_install)
    return 0


def _recover(options: argparse.Namespace, paths: Paths) -> int:
    run_id = None if options.run_id is None else validate.run_id(options.run_id)
    if options.force and run_id is None:
        raise UsageError("--force needs --run: whose run is to be overruled? (see: ./bench status)")
    hosts = tuple(validate.host_name(host) for host in options.host)
    if len(set(hosts)) != len(hosts):
        raise UsageError("the same host twice")
    inventory = None
    if options.inventory is not None or hosts:
        inventory, _, known = _hosts(options.inventory, paths)
        for host in hosts if options.inventory is not None or run_id is None else ():
            validate.host_name(host, known.machines)
        inventory = inventory if options.inventory is not None else None
    from benchkeeper import supervisor

    return int(
        supervisor.run_recover(
            RecoverOptions(hosts, run_id, options.force, inventory, options.verbose),
        ),
    )


def _sweep(paths: Paths) -> None:
    """Remove what killed runs left, before anything is made or removed."""
    from benchkeeper import watcher

    watcher.sweep_left_over(paths)


def _reap(options: argparse.Namespace, paths: Paths) -> int:
    run_id = None if options.run_id is None else validate.run_id(options.run_id)
    from benchkeeper import reap

    return reap.reap(paths, run_id, dry=options.dry_run, as_json=options.json)


def _harness(options: argparse.Namespace, paths: Paths) -> int:
    from benchkeeper.harness import commands

    return commands.run_harness(options, paths)


def _replays(options: argparse.Namespace, paths: Paths) -> int:
    from benchkeeper.harness import commands

    return commands.run_replays(options, paths)


def _status(options: argparse.Namespace, paths: Paths) -> int:
    from benchkeeper import status

    return status.show(paths, as_json=options.json)


def _logs(options: argparse.Namespace, paths: Paths) -> int:
    lines = validate.number(options.lines, "--lines", 1, 100000)
    from benchkeeper import status

    if options.host is None:
        return status.last_events(paths, lines)
    _, _, known = _hosts(None, paths)
    return status.journal(paths, validate.host_name(options.host, known.machines), lines)


def _machine(options: argparse.Namespace, paths: Paths) -> int:
    _, _, known = _hosts(None, paths)
    name = validate.host_name(options.name, known.machines)
    from benchkeeper import operations

    operations.operate(paths, name, options.action)
    return 0


def _repo(options: argparse.Namespace, paths: Paths) -> int:
    stack = validate.stack_name(options.stack, paths.stack_names())
    from benchkeeper import repo

    paths.make_work()
    print(repo.ensure(paths, stack))
    return 0


def _planted(options: argparse.Namespace, paths: Paths) -> int:
    stack = validate.stack_name(options.stack, paths.stack_names())
    folder = paths.stacks / stack / "planted"
    patches = []
    for text in options.patches:
        validate.plain_text(text, "the patch name")
        found = [path for path in (folder / f"{text}.patch", folder / text, Path(text)) if path.is_file()]
        if not found or text.startswith("-"):
            raise UsageError(f"no such patch: {validate.shown(text)}")
        patches.append(found[0].absolute())
    from benchkeeper import planted

    return int(planted.run_planted(PlantedOptions(tuple(patches), stack, options.verbose)))


def _signals(options: argparse.Namespace, paths: Paths) -> int:
    stack = validate.stack_name(options.stack, paths.stack_names())
    count = validate.number(options.count, "--count", 1, 100)
    seed = None if options.seed is None else validate.number(options.seed, "--seed", 0, 999_999_999)
    from benchkeeper import signals

    return int(signals.run_signals(SignalsOptions(count, seed, stack, options.verbose)))


def _crash(options: argparse.Namespace, paths: Paths) -> int:
    stack = validate.stack_name(options.stack, paths.stack_names())
    random = validate.number(options.random, "--random", 0, 1000)
    borrowers = validate.number(options.borrowers, "--borrowers", 0, 10000)
    seed = None if options.seed is None else validate.number(options.seed, "--seed", 0, 999_999_999)
    every = None if options.sweep is None else 0
    if options.sweep not in (None, "all"):
        every = validate.number(options.sweep, "--sweep", 1, 100)
    from benchkeeper import spec

    if not spec.lends(paths, stack):
        raise UsageError(f"the battery kills runs that borrow a miner, and {stack} borrows none")
    if not (random or borrowers or options.world or options.case or every is not None):
        raise UsageError("nothing to do: give --sweep, --case F7, --random N, --world or --borrowers N")
    from benchkeeper import crash

    return crash.run_crash(CrashOptions(random, options.world, borrowers, seed, stack, every, tuple(options.case)))


def _validate(options: argparse.Namespace, paths: Paths) -> int:
    stacks = [validate.stack_name(name, paths.stack_folders()) for name in options.stacks]
    from benchkeeper import stack_validate

    if options.schema is not None:
        return stack_validate.print_schema(options.schema)
    return stack_validate.run(paths, dict.fromkeys(stacks), as_json=options.json)


def _coherence(options: argparse.Namespace, paths: Paths) -> int:
    listed = tuple(name for name in paths.stack_folders() if (paths.stacks / name / "environment.yml").is_file())
    stacks = [validate.stack_name(name, listed) for name in options.stacks] or listed
    if not stacks:
        raise UsageError("no stack has an environment.yml")
    if options.production is not None:
        validate.plain_text(options.production, "the production list")
    from benchkeeper import coherence_command

    return coherence_command.run(paths, list(dict.fromkeys(stacks)), options.production, as_json=options.json)


def _conform(options: argparse.Namespace, paths: Paths) -> int:
    named = {"image": options.image, "binary": options.binary, "url": options.url}
    if options.tenant not in ("builtin", *named):
        raise UsageError(f"unknown kind of tenant {validate.shown(options.tenant)}; there are builtin, {', '.join(named)}")
    for kind, value in named.items():
        if value is not None:
            validate.plain_text(value, f"--{kind}")
        if value is not None and kind != options.tenant:
            raise UsageError(f"--{kind} needs --tenant {kind}")
        if value is None and kind == options.tenant and kind != "image":
            raise UsageError(f"--tenant {kind} needs --{kind}")
    if options.version not in (None, "seed"):
        raise UsageError(f"unknown version {validate.shown(options.version)}; there is seed")
    validate.plain_text(options.recording, "the recording")
    path = Path(options.recording)
    if not path.is_file():
        raise UsageError(f"no such recording: {validate.shown(options.recording)}")
    from benchkeeper.conform import command

    return command.run(
        paths,
        ConformOptions(
            recording=path,
            kind=options.tenant,
            target=named.get(options.tenant) or "",
            as_seed=options.version == "seed",
            json=options.json,
            install=not options.no_install,
        ),
    )


def _bare(options: argparse.Namespace, paths: Paths) -> int:
    for release in options.releases:
        if release not in ("12", "13"):
            raise UsageError(f"unknown Debian release {validate.shown(release)}; known: 12, 13")
    from benchkeeper import bare

    return bare.run(paths, tuple(options.releases) or ("12", "13"), install=not options.no_install, keep=options.keep)


def _test(options: argparse.Namespace, paths: Paths) -> int:
    for level in options.levels:
        if level not in LEVELS:
            raise UsageError(f"unknown level {validate.shown(level)}; known: {', '.join(LEVELS)}")
    del paths
    from benchkeeper import selftest

    return int(selftest.run_tests(TestOptions(tuple(options.levels), options.verbose)))


def _help(options: argparse.Namespace, paths: Paths) -> int:
    del options, paths
    build_parser().print_help(sys.stdout)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Paths], int]] = {
    "e2e": _e2e,
    "up": _up,
    "down": _down,
    "setup": _setup,
    "recover": _recover,
    "reap": _reap,
    "harness": _harness,
    "replays": _replays,
    "status": _status,
    "logs": _logs,
    "machine": _machine,
    "repo": _repo,
    "planted": _planted,
    "signals": _signals,
    "crash": _crash,
    "validate": _validate,
    "coherence": _coherence,
    "conform": _conform,
    "bare": _bare,
    "test": _test,
    "help": _help,
}
