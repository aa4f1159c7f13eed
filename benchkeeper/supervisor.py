"""Runs a playbook and never leaves a machine behind: what rescue blocks cannot see ends here.

The run's own restore is the rule; this is for what it does not survive: signals, a killed ansible-playbook, a restore that was not
proven. The recovery is another process, is not stopped by a second signal, and is judged by proof alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _holder

from benchkeeper import inventory, keeper_program, player, recovery, report, report_html, results, runs, verdicts
from benchkeeper.console import complain
from benchkeeper.errors import UsageError
from benchkeeper.interrupts import Signals
from benchkeeper.paths import Paths, checkout
from benchkeeper.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchkeeper.options import E2EOptions, RecoverOptions

BEAT = 0.2  # seconds between two looks at what is new


def _values(options: E2EOptions, state: runs.RunState, paths: Paths) -> dict[str, Any]:
    """Return the extra vars of a run. Ours come last: no extra of the caller's may replace what was validated."""
    return {
        **options.extra,
        "branch": options.branch,
        "commit": options.commit,
        "stack": options.stack,
        "mode": options.mode,
        "miners": list(options.miners),
        "workers": -1 if options.workers is None else options.workers,
        "keep": options.keep,
        "ttl": options.ttl or 0,
        "wait": options.wait,
        "run_id": state.run_id,
        "state_file": str(state.path),
        "bench_results": str(paths.results),
    }


def _note(folder: Path, **more: Any) -> None:
    """Write down what the supervisor saw; the report reads it."""
    path = folder / "work" / "supervisor.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
    temp = path.with_name(".supervisor.json.tmp")
    temp.write_text(json.dumps({**known, **more}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temp.replace(path)


def _died(player_code: int | None, number: int) -> str:
    return "" if number or player_code is not None else "ansible-playbook was killed before it was done"


def run_e2e(options: E2EOptions) -> int:
    """Prove a branch; return the exit code of the run.

    Whatever happens to the playbook, every host that may have been leased is recovered before this returns, but after a completed
    ``--keep``.
    """
    paths = checkout()
    keeper_program.ensure(paths)
    benches = inventory.read(options.inventory, plain=options.embedded).benches
    if not benches:
        raise UsageError("the inventory's group benches is empty")
    state = runs.create(paths, options, [*options.miners, benches[0]] if options.mode != "check" else [])
    folder = paths.results / state.run_id
    asked = {"stack": options.stack, "branch": options.branch, "commit": options.commit, "mode": options.mode}
    _note(folder, asked={**asked, "miners": list(options.miners), "bench": benches[0]}, state_file=str(state.path))
    piece = player.Play(
        playbook=paths.root / "playbooks" / "e2e.yml",
        inventory=options.inventory,
        root=paths.root,
        values=_values(options, state, paths),
        private=folder / "work" / "runner",
        events=folder / "events.jsonl",
        state_file=state.path,
        secrets=[str(state.data["nonce"]), str(state.data["canary"])],
        verbose=options.verbose,
    )
    with Signals().taken() as signals:
        with Progress(folder / "events.jsonl", folder / "work" / "context.json") as progress:
            signals.told = progress.line
            try:
                _play(piece, folder, signals, progress)
                result = report.render(folder)
            except Exception as error:  # noqa: BLE001 - said, and answered by a recovery
                # A full disk here is no reason to leave a machine as it is there.
                progress.line(f"!! the supervisor failed ({type(error).__name__}: {error}); everything is put back first")
                return _recover_blindly(paths, options, runs.again(state), progress)
            if _must_recover(folder, state.hosts, result, signals.first):
                result = _recover(paths, options, runs.again(state), folder, progress)
        if not recovery.open_hosts(folder, state.hosts):
            runs.forget(state)
        for line in farewell(result, folder):
            _say(line)
    return int(result["exit_code"])


def _play(piece: player.Play, folder: Path, signals: Signals, progress: Progress) -> None:
    """Play until the end or the first signal; then nothing of it runs here any more, and what was seen is written down."""
    playing = player.Player(piece)
    lost = ""
    try:
        while not (signals.first or lost) and not playing.wait(BEAT):
            progress.beat()
            lost = _lost(piece)
        if lost:
            progress.line(f"!! a lease is lost ({lost}): the run is stopped, then everything is put back")
        if signals.first and playing.running:
            progress.line(f"!! signal {signal.Signals(signals.first).name}: the run is stopped, then everything is put back")
    finally:
        if playing.running:
            playing.stop()
        # A worker whose main process was killed has another parent now, and would never end.
        _holder.end_players(str(piece.state_file or ""))
        progress.beat()
        stopped = "" if lost else _died(playing.code, signals.first)
        _note(folder, signal=signals.first, rc=playing.code, died=stopped, lost=lost)
        leak = playing.close(folder / "work" / "ansible.log")
        if leak:
            _note(folder, output_leak=leak)


def _lost(piece: player.Play) -> str:
    """Return which machine was given back before the run was done with it: nothing that is seen after that says anything."""
    ends = _holder.ends(str(piece.state_file or ""))
    return results.ended_early(ends, verdicts.read_lines(piece.events)) if ends else ""


def _must_recover(folder: Path, hosts: tuple[str, ...], result: dict[str, Any], number: int) -> bool:
    """Return whether a host may still be as the run left it, and was not asked to be kept so."""
    return bool(recovery.open_hosts(folder, hosts)) and (result["verdict"] != results.KEPT or bool(number))


def _recover(paths: Paths, options: E2EOptions, state: runs.RunState, folder: Path, progress: Progress) -> dict[str, Any]:
    hosts = recovery.open_hosts(folder, state.hosts)
    progress.line(f"── recover: {', '.join(hosts)}")
    wish = recovery.Wish(options.inventory, hosts, state.run_id, states=(state,), verbose=options.verbose)

    def show(events: Path) -> Callable[[], None]:
        progress.follow(events)
        return progress.beat

    said = recovery.play(paths, wish, show)
    if not said:
        progress.line("!! the recovery said nothing; see .bench/recover.log")
    for line in recovery.table(said):
        progress.line(f"   {line}")
    return recovery.write_down(state, said) or report.render(folder)


def _recover_blindly(paths: Paths, options: E2EOptions, state: runs.RunState, progress: Progress) -> int:
    """Recover every host of a run of which nothing could be written down; return 4, or 3 when every host is proven back."""
    if not state.hosts or options.mode == "check":
        runs.forget(state)
        return 3
    wish = recovery.Wish(options.inventory, state.hosts, state.run_id, states=(state,), verbose=options.verbose)
    try:
        said = recovery.play(paths, wish, lambda _events: progress.beat)
    except Exception as error:  # noqa: BLE001 - whatever it is, the code says that the hosts are not back
        progress.line(f"!! the recovery failed ({type(error).__name__}: {error})")
        said = []
    for line in recovery.table(said):
        progress.line(f"   {line}")
    if recovery.is_back(state, said):
        runs.forget(state)
        return 3
    progress.line(f"!! not proven restored: {', '.join(state.hosts)}; what to do: ./bench recover --run {state.run_id}")
    return 4


def farewell(result: dict[str, Any], folder: Path) -> list[str]:
    """Return the last lines of a run: the two answers, what is red, what to do, where the report is."""
    counts = ", ".join(f"{number} {word}" for word, number in result["counts"].items() if number) or "nothing checked"
    lines = [
        "",
        f"{result['verdict'].upper()}: {result['reason']}",
        f"  is the branch good?     {report_html.branch_answer(result)[0]} ({counts})",
        f"  is everything back?     {report_html.back_answer(result)[0]}",
    ]
    lines += [f"  red                     {name}" for name in result["failures"][:20]]
    for name, end in result["restored"].items():
        if not end["proven"]:
            lines += [f"  {name}: {failure.get('why', failure)}" for failure in end["failures"][:5]]
    advice = report_html.advice(result)
    if advice:
        lines.append(f"  what to do              {advice}")
    if result["keeper_seconds"] and result["seconds"]:
        share = 100 * result["keeper_seconds"] / result["seconds"]
        told = f"the keeper took {result['keeper_seconds']:.1f} of {result['seconds']:.0f} s ({share:.1f} %)"
        lines.append(f"  what it costs           {told}; waiting for health, sync and shares {result['waited_seconds']:.0f} s")
    lines.append(f"  report                  {folder / 'report.html'}")
    return lines


def _say(line: str) -> None:
    """Print a line; a reader who is gone does not stop a recovery."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _wishes(options: RecoverOptions, paths: Paths, skipped: list[str]) -> Iterator[recovery.Wish]:
    """Yield what `./bench recover` has to play, one wish for each inventory; add to ``skipped`` why one cannot be played."""
    states = runs.unfinished(paths)
    if options.run_id:
        states = [state for state in states if state.run_id == options.run_id]
    for state in [state for state in states if _machines_gone(state)]:
        _say(f"run {state.run_id}: its embedded bench is gone, and everything it changed with it")
        runs.forget(state)
        states.remove(state)
    states = [_left(state) for state in states]
    usable = tuple(state for state in states if options.force or not state.alive)
    for state in usable:
        if not state.alive:
            _holder.end_players(str(state.path))
    places: dict[Path, set[str]] = {}
    # A run that is at work has left nothing yet; whoever wants to end it names it.
    for state in states if options.run_id else usable:
        place = options.inventory or Path(str(state.data.get("inventory") or paths.inventory))
        places.setdefault(place, set()).update(state.hosts if options.run_id else ())
    if not options.run_id or not places:
        own = options.inventory or (paths.inventory if paths.machines.is_file() else None)
        if own is not None:
            places.setdefault(own, set())
    for place, hosts in places.items():
        if not place.exists():
            skipped.append(f"the inventory {place} is gone; name another one with --inventory")
            continue
        chosen = options.hosts or tuple(sorted(hosts)) or _existing(place)
        yield recovery.Wish(place, chosen, options.run_id or "", options.force, usable, options.verbose)


def _made(state: runs.RunState) -> frozenset[str] | None:
    """Return the machines that there are of the embedded bench that a run was on; None when it was on another one."""
    own = Paths(Path(str(state.data.get("checkout", ""))))
    embedded = Path(str(state.data.get("inventory", ""))) == own.inventory
    return (inventory.made(own.machines) or frozenset()) if embedded else None


def _left(state: runs.RunState) -> runs.RunState:
    """Return a run without the machines of an embedded bench that are gone: another stack had no use for them."""
    there = _made(state)
    if there is None:
        return state
    return dataclasses.replace(state, data={**state.data, "hosts": [name for name in state.hosts if name in there]})


def _machines_gone(state: runs.RunState) -> bool:
    """Return whether a run was on an embedded bench of which nothing that it leased exists any more."""
    there = _made(state)
    return there is not None and (not there or (bool(state.hosts) and not _left(state).hosts))


def _existing(place: Path) -> tuple[str, ...]:
    """Return the miners and benches that there are of an embedded bench; none, for all of them, of another inventory."""
    own = Paths(place.parents[1]) if len(place.parents) > 1 else None
    there = inventory.made(own.machines) if own is not None and own.inventory == place else None
    if there is None:
        return ()
    known = inventory.read(place, plain=True)
    return tuple(name for name in (*known.miners, *known.benches) if name in there)


def _remember(states: tuple[runs.RunState, ...], said: list[dict[str, Any]]) -> None:
    """Add what a recovery said to the results of the runs it was about; forget those that are back."""
    for state in states:
        if [one for one in said if one.get("item") in state.hosts]:
            recovery.write_down(state, said)
        if recovery.is_back(state, said):
            runs.forget(state)


def _play_wish(
    paths: Paths, wish: recovery.Wish, show: Callable[[Path], Callable[[], None]], skipped: list[str]
) -> list[dict[str, Any]]:
    """Play one wish and return what its hosts said. One that fails must not keep the others from being put back."""
    said: list[dict[str, Any]] = []
    try:
        said = recovery.play(paths, wish, show)
        if not said:
            skipped.append(f"the recovery of {wish.inventory} could not be played; see {paths.work / 'recover.log'}")
        _remember(wish.states, said)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said and the code is 4
        skipped.append(f"the recovery of {wish.inventory} failed ({type(error).__name__}: {error})")
    return said


def run_recover(options: RecoverOptions) -> int:
    """Put back what runs left; return 0 when everything is, 4 when something is not, 75 when somebody else holds it."""
    paths = checkout()
    keeper_program.ensure(paths)
    said: list[dict[str, Any]] = []
    skipped: list[str] = []
    with Signals().taken() as signals:
        for wish in _wishes(options, paths, skipped):
            with Progress(paths.work / "none") as progress:
                signals.told = progress.line

                def show(events: Path, progress: Progress = progress) -> Callable[[], None]:
                    progress.follow(events)
                    return progress.beat

                said += _play_wish(paths, wish, show, skipped)
    for line in recovery.table(said):
        _say(line)
    for reason in skipped:
        complain(reason)
    code = 4 if skipped else recovery.exit_code(said)
    if skipped:
        _say("not everything could be recovered")
    elif all(one.get("nothing_to_do") for one in said):
        _say("nothing to do: no host is leased, everything is back")
    elif code == 0:
        _say("everything is back, proven")
    if signals.first:
        print(f"signal {signals.first} was noted; it did not stop the recovery", file=sys.stderr)
    return code if code or not signals.first else 128 + signals.first
