"""Putting back what runs left: one playbook over the hosts, for the supervisor after a run and for people at any time."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkeeper import canary, player, report, results, runs
from benchkeeper.verdicts import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchkeeper.paths import Paths


@dataclass(frozen=True)
class Wish:
    """What is to be put back.

    Attributes:
        inventory: Absolute path.
        hosts: Inventory names; empty means every miner and bench.
        run_id: Only what this run holds; empty means whatever is held.
        force: Although the holder may be alive.
        states: Runs whose nonces may be used.
        verbose: How often -v was given.
    """

    inventory: Path
    hosts: tuple[str, ...] = ()
    run_id: str = ""
    force: bool = False
    states: tuple[runs.RunState, ...] = field(default=(), repr=False)
    verbose: int = 0


def play(paths: Paths, wish: Wish, show: Callable[[Path], Callable[[], None]]) -> list[dict[str, Any]]:
    """Play the recovery and return what each host said; empty when the playbook came to nothing.

    Args:
        paths: The checkout.
        wish: What is to be put back.
        show: Takes the file of events and returns what is called several times a second.
    """
    place = paths.work / "recover" / secrets.token_hex(4)
    known = place / "states"
    known.mkdir(mode=0o700, parents=True)
    try:
        for state in wish.states:
            runs.write(known / f"{state.run_id}.json", state.data)
        values: dict[str, Any] = {"recover_dir": str(place), "recover_states_file": str(known), "recover_force": wish.force}
        if wish.run_id:
            values["recover_run_id"] = wish.run_id
        if wish.hosts:
            values["recover_hosts"] = list(wish.hosts)
        events = place / "events.jsonl"
        piece = player.Play(
            playbook=paths.root / "playbooks" / "recover.yml",
            inventory=wish.inventory,
            root=paths.root,
            values=values,
            private=place / "runner",
            events=events,
            secrets=[secret for state in wish.states for secret in canary.secrets_of(state.path)],
            verbose=wish.verbose,
        )
        player.play_through(piece, show(events), paths.work / "recover.log")
        said = read_json(place / "work" / "recover.json")
        return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_down(state: runs.RunState, said: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Add what a recovery said to the run's results and draw its report again; None when the results are gone."""
    folder = Path(str(state.data.get("results", "")))
    if not (folder / "work").is_dir():
        return None
    mine = [one for one in said if not state.hosts or one.get("item") in state.hosts]
    for one in mine:
        for name in ("after", "journal"):
            if one.get(name) and one.get("run_id", state.run_id) == state.run_id:
                target = folder / "hosts" / str(one["item"]) / f"{name}.json"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(one[name], indent=1, sort_keys=True) + "\n", encoding="utf-8")
    earlier = read_json(folder / "work" / "recover.json") or []
    kept = [one for one in earlier if one.get("item") not in {two.get("item") for two in mine} or one.get("proven")]
    done = {one.get("item") for one in kept if one.get("proven")}
    both = [*kept, *(one for one in mine if one.get("item") not in done)]
    (folder / "work" / "recover.json").write_text(json.dumps(both, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return report.render(folder)


def outcome(one: Mapping[str, Any]) -> str:
    """Return in a word how one host came out of a recovery."""
    if one.get("nothing_to_do"):
        return "nothing to do"
    if one.get("proven"):
        return "restored and proven"
    if one.get("busy"):
        return "busy"
    if one.get("unreachable"):
        return "not reached"
    return "restored, not proven" if one.get("restored") else "not restored"


def why(one: Mapping[str, Any]) -> str:
    """Return the reason behind an outcome, for a person."""
    holder = one.get("busy")
    if isinstance(holder, dict):
        who = holder.get("holder") or {}
        name = f"{who.get('user', '?')}@{who.get('host', '?')} pid {who.get('pid', '?')}" if isinstance(who, dict) else str(who)
        return f"held by {name}, run {holder.get('run_id', '?')}, since {holder.get('since', '?')}"
    if one.get("proven"):
        return ""
    failures = [
        str(failure.get("why", failure)) if isinstance(failure, dict) else str(failure) for failure in one.get("failures") or ()
    ]
    return "; ".join(failures) or str(one.get("msg", ""))


def exit_code(said: Iterable[Mapping[str, Any]]) -> int:
    """Return 0 when every host is back, 4 when one is not, 75 when the only thing in the way is somebody else."""
    words = [outcome(one) for one in said]
    if any(word in ("not reached", "restored, not proven", "not restored") for word in words):
        return 4
    return 75 if "busy" in words else 0


def table(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line per host."""
    width = max([len(str(one.get("item", ""))) for one in said] or [4])
    lines = []
    for one in said:
        took = f"{float(one.get('seconds') or 0):6.1f} s"
        lines.append(f"{one.get('item', '?')!s:<{width}}  {outcome(one):<20} {took}  {why(one)}".rstrip())
    return lines


def is_back(state: runs.RunState, said: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether every host of a run is known to be back."""
    back = {str(one.get("item")) for one in said if one.get("proven")}
    other = {str(one.get("item")) for one in said if one.get("busy") and one["busy"].get("run_id") != state.run_id}
    return bool(state.hosts) and set(state.hosts) <= back | other


def open_hosts(folder: Path, hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the hosts of a run that are not proven back, or may be leased without anybody having written it down.

    ``hosts`` are those that the run was to lease: they count when the run left nothing that names any.
    """
    run = report.read(folder)
    if run.mode == "check":
        return ()  # nothing was leased, so there is nothing that a recovery could know
    ends: Mapping[str, results.HostEnd] = report.ends(run, hosts)
    return tuple(name for name, end in sorted(ends.items()) if not end.proven)
