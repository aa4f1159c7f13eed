"""Guarded commands: the lock covers compare, INTENT and start; then the command runs in its own unit."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils import _journal

from keeper import item_created, item_engine
from keeper.commands import Program, Runner, answer, program_of
from keeper.core import BEFORE, GuardedRun, Keeper, Request, fence_of
from keeper.errors import FAILED as FAILED_CALL
from keeper.errors import USAGE, KeeperError
from keeper.kinds import FAILED, PUT_BACK, UNDONE, Undo, Verdict
from keeper.looker import reasons

ATTEMPTS = 2


def run(keeper: Keeper, request: Request) -> Dict[str, Any]:
    """Run a command: ``{fence, item, group, argv, cwd, user, env, stdin, timeout, undo | covered_by, redact}``.

    A call whose client was lost is taken up again by the same call: the command is not started twice.

    Returns:
        ``{rc, unit, seconds, timed_out, stdout_tail, stderr_tail, reattached}``.
    """
    program = program_of(request)
    undo_spec = request.get("undo")
    if undo_spec is None and request.get("covered_by") is None:
        raise KeeperError(USAGE, "a guarded command says how it is undone: undo, or covered_by an item that is")
    fence = fence_of(request)
    with keeper.guarded(fence) as guarded:
        item = _lost(guarded, request, program, fence.token)
        reattached = item is not None
        if item is None:
            item = _begin(guarded, request, program, fence.token, undo_spec)
        seq = str(item.intent["number"])
    runner = Runner(guarded, fence.token, seq)
    ended = runner.wait(program.timeout)
    if ended.rc is None:  # without DONE, since the engine may still act on what it asked for
        raise KeeperError(FAILED_CALL, f"unit {runner.unit} ended without a result: it was stopped from outside")
    with keeper.guarded(fence) as guarded:  # the fence again: what a lost lease left is not ours to record
        made = item_engine.made_since(guarded, item)
        files = runner.seen() if item.intent.get("creates") else None
        guarded.done(
            item,
            rc=ended.rc,
            seconds=round(ended.seconds, 3),
            **({"made": made} if made else {}),
            **({"files": files} if files is not None else {}),
        )
    return {**answer(keeper, request, runner, ended), "reattached": reattached}


def _lost(guarded: GuardedRun, request: Request, program: Program, token: int) -> Optional[_journal.Item]:
    """Return the item of the same call that has no DONE."""
    item = guarded.find(str(request.get("item")))
    if item is None or item.done is not None or item.kind not in ("command", "engine"):
        return None
    if item.intent.get("argv") != program.argv:
        return None
    # A unit that vanished without a result (power cut, stopped by hand) is not waited for, it is started anew.
    runner = Runner(guarded, token, str(item.intent["number"]))
    return item if runner.ended() or guarded.keeper.units.alive(runner.unit) else None


def _begin(
    guarded: GuardedRun, request: Request, program: Program, token: int, undo_spec: Optional[Mapping[str, Any]]
) -> _journal.Item:
    number = len(guarded.dir.journal().records) + 1
    runner = Runner(guarded, token, str(number))
    watch = item_created.watched(guarded, request)
    runner.prepare(program, watch)
    fields: Dict[str, Any] = {
        "number": number,
        "argv": program.argv,
        "cwd": program.cwd,
        "user": program.user,
        "timeout": program.timeout,
        "unit": runner.unit,
        **({"creates": sorted(watch), "stem": runner.stem} if watch else {}),
    }
    kind = "command"
    guards: List[str] = []
    if undo_spec is not None and undo_spec.get("kind") == "engine":
        kind = "engine"
        fields.update(item_engine.prepare(guarded, undo_spec, number))
        guards = [f"engine:{undo_spec['project']}"]
    else:
        if undo_spec is not None:
            program_of(undo_spec)  # a bad undo is refused before anything runs
        fields["undo"] = undo_spec
        fields.update(item_engine.window(guarded, request.get("covered_by"), number))
    item = guarded.intent(request, kind, tuple(guards), **fields)
    if kind == "engine":
        item_engine.keep(guarded, item)
    runner.start(program.timeout)
    return item


def undo(ask: Undo) -> Verdict:
    """Undo a command by its counter-command: verify, run only if not yet true, verify again."""
    spec = ask.intent.get("undo")
    if not spec:
        return Verdict(UNDONE, "nothing to undo")
    verify = spec.get("verify") or []
    if verify and not _wrong(ask, spec):
        return Verdict(UNDONE)
    why = ""
    program = program_of(spec)
    for attempt in range(ATTEMPTS):
        ended = follow(ask, program, attempt)
        if ended.rc != 0:
            # What it said last often names who is in the way.
            said = " ".join(ask.run.keeper.looker.redact(ended.err or ended.out, []).split())[-400:]
            why = f"{' '.join(program.argv[:3])} ended with {ended.rc}{': ' + said if said else ''}"
            continue
        left = _wrong(ask, spec) if verify else []
        if not left:
            return Verdict(PUT_BACK)
        why = "; ".join(left[:3])
    return Verdict(FAILED, why)


def follow(ask: Undo, program: Program, attempt: int) -> Any:
    """Run a program of an undo in a unit of its own, its attempt journaled before it starts."""
    record = ask.run.dir.append(
        _journal.TRY, ref=ask.item.seq, attempt=attempt + 1, timeout=program.timeout, at=ask.run.keeper.clock.wall()
    )
    runner = Runner(ask.run, ask.token, f"u{record['seq']}")
    runner.prepare(program)
    runner.start(program.timeout)
    return runner.wait(program.timeout)


def _wrong(ask: Undo, spec: Mapping[str, Any]) -> List[str]:
    keeper = ask.run.keeper
    before = ask.run.dir.load(BEFORE) or {}
    document = keeper.looker.take(spec.get("probes") or {}, ask.run.fingerprints, before.get("snapshot"))
    return reasons(spec["verify"], document, before.get("snapshot"))
