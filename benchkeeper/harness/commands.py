"""`./bench harness` and `./bench replays`: what was typed, judged in full, becomes a wish."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper import validate, watcher
from benchkeeper.console import complain, say
from benchkeeper.errors import UsageError
from benchkeeper.harness import edge, far, life, place, replays, seed, stay, suite, topology
from benchkeeper.interrupts import Signals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from benchkeeper.paths import Paths

PARTS = ("tenant", "stub", "edge")
SEED = "seed"
HIGHEST_PORT = 65535


def wish_of(options: argparse.Namespace, paths: Paths) -> life.Wish:
    """Return what was wished for. Raises UsageError."""
    binary = None
    if options.binary is not None:
        binary = Path(validate.plain_text(options.binary, "the program")).absolute()
        if not binary.exists():
            raise UsageError(f"no such program: {validate.shown(options.binary)}")
    wish = life.Wish(
        tenants=validate.number(options.tenants, "--tenants", 1, topology.MOST_TENANTS - 1),
        kind=options.tenant,
        image=validate.plain_text(options.image, "the image") if options.image is not None else "",
        binary=binary,
        build_id=topology.check_build_id(options.build_id) if options.build_id else "",
        switches=switches(paths, options.breaks, version=options.version, edge_profile=options.edge_profile),
        port=validate.number(options.port, "--port", 0, HIGHEST_PORT),
        rebuild=options.rebuild or os.environ.get("REBUILD") == "1",
        install=not options.no_install,
    )
    life.check(wish)
    return wish


def switches(paths: Paths, breaks: Sequence[str], *, version: str, edge_profile: str) -> topology.Switches:
    """Return which version is played, and what is wrong on purpose. Raises UsageError.

    Args:
        paths: The checkout.
        breaks: ``PART:NAME``, see `PARTS`.
        version: `current` or `seed`.
        edge_profile: A profile of the edge's table.
    """
    found: dict[str, list[str]] = {part: [] for part in PARTS}
    for text in breaks:
        part, _, name = validate.plain_text(text, "the break").partition(":")
        if part not in PARTS or not name:
            raise UsageError(f"a break is tenant:NAME, stub:NAME or edge:NAME, not {validate.shown(text)}")
        found[part].append(name)
    recorded = version == SEED
    if recorded:
        found["tenant"].append("all")
        found["edge"] += edge.SEED
    edge.read(life.edge_table(paths), edge_profile, frozenset(found["edge"]))
    return topology.Switches(
        profile="seed" if recorded else "current",
        edge_profile=edge_profile,
        tenant=tuple(sorted(set(found["tenant"]))),
        stub=tuple(sorted(set(found["stub"]))),
        edge=frozenset(found["edge"]),
    )


def folder_of_replays(options: argparse.Namespace, paths: Paths) -> Path:
    """Return where replays are dropped: the stack's folder, unless another one is named."""
    if options.folder is None:
        return paths.stacks / life.STACK / "replays"
    return Path(validate.plain_text(options.folder, "the folder")).absolute()


def run_harness(options: argparse.Namespace, paths: Paths) -> int:
    """Run one of the harness's verbs; return the exit code."""
    run_id = None if options.run_id is None else validate.run_id(options.run_id)
    if options.names and options.action != "replay":
        raise UsageError(f"`./bench harness {options.action}` takes no names")
    if options.action == "up":
        return _up(paths, wish_of(options, paths))
    watcher.sweep_left_over(paths)
    if options.action == "down":
        return _down(paths, run_id)
    if options.action == SEED:
        return _seed(paths, run_id)
    chosen = replays.find(folder_of_replays(options, paths), options.names)
    return _tell(suite.again(paths, chosen, place.read(life.folder_of(life.kept(paths, run_id)))), chosen)


def _up(paths: Paths, wish: life.Wish) -> int:
    with Signals().taken() as signals:
        signals.told = complain
        try:
            harness = stay.bring_up(paths, wish, lambda: bool(signals.first))
        except stay.StoppedError:
            return 128 + (signals.first or 0)
    found = harness.place
    for one in found.everybody:
        say("harness", f"tenant {one.name}: {found.edge} with `Host: {one.host}` and `X-Molecule-Org-Id: {one.org}`")
    say("harness", f"tokens, databases, stub: {harness.folder / place.FILE}")
    return 0


def _seed(paths: Paths, run_id: str | None) -> int:
    found = place.read(life.folder_of(life.kept(paths, run_id)))
    for name, ids in seed.seed(found).items():
        print(f"{name.upper()}_PARENT_ID={ids.parent_id}")
        print(f"{name.upper()}_CHILD_ID={ids.child_id}")
    return 0


def _down(paths: Paths, run_id: str | None) -> int:
    left = life.take_down(paths, run_id)
    for text in left:
        complain(text)
    return life.LeftError.exit_code if left else 0


def run_replays(options: argparse.Namespace, paths: Paths) -> int:
    """Boot, seed, run and take down; return the exit code."""
    chosen = replays.find(folder_of_replays(options, paths), options.names)
    if options.tenant == topology.URL:
        return _far(options, paths, chosen)
    keep = options.keep or os.environ.get("KEEP_UP") == "1"
    return _tell(suite.run(paths, suite.Order(chosen, wish_of(options, paths), options.prove, keep)), chosen)


def _far(options: argparse.Namespace, paths: Paths, chosen: Sequence[replays.Replay]) -> int:
    if options.at is None:
        raise UsageError("--tenant url needs --at FILE: where the tenants are")
    if options.prove or options.keep or options.breaks:
        raise UsageError("what runs elsewhere is not ours to break or to keep")
    found = far.read(Path(validate.plain_text(options.at, "the file")).absolute())
    watcher.sweep_left_over(paths)
    return _tell(suite.again(paths, chosen, found), chosen)


def _tell(record: suite.Record, chosen: Sequence[replays.Replay]) -> int:
    for line in suite.table(record, chosen):
        print(line)
    return record.exit_code
