"""What a run came to: one pure decision from what was written down, so that it can be made again after a recovery.

Exit codes: 0 good, 1 a check failed, 2 typed wrong, 3 the bench is not fit, 4 something is not proven restored, 75 somebody else
has it, 128+n ended by signal n. 4 beats a signal, a signal beats 3, 3 beats 1; what was refused before anything was leased (2, 75)
stands between a signal and 3.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WORDS = ("pass", "fail", "warn", "skip", "error")
# A failure in one of these says something about the bench; the baseline was proven healthy only after them.
BENCH_PHASES = ("preflight", "keeper", "lease", "snapshot", "checkout", "safety_backup", "borrow")
BEFORE_LEASE = ("preflight", "keeper")
AFTER_ALL = ("evidence", "restore", "report")
KEPT = "kept"


@dataclass(frozen=True)
class HostEnd:
    """How one leased host came back; ``state`` is the keeper's word, ``failures`` say what is not proven.

    ``deadline`` is the end of the lease of a host that was kept, in ISO 8601.
    """

    restored: bool
    proven: bool
    seconds: float = 0.0
    state: str = ""
    items: tuple[Mapping[str, Any], ...] = ()
    failures: tuple[Mapping[str, Any], ...] = ()
    deadline: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return what result.json says of the host."""
        return {
            "restored": self.restored,
            "proven": self.proven,
            "seconds": self.seconds,
            "state": self.state,
            "failures": list(self.failures),
            "deadline": self.deadline or None,
        }


@dataclass(frozen=True)
class Facts:
    """Everything that the decision is made from.

    Attributes:
        counts: How many checks had which verdict.
        failed_ids: Ids of checks that are red, each once, in order.
        failure: The first failure of the playbook: ``{phase, task, msg, usage?, busy?, unreachable?}``; None without one.
        lost: The first item that did not reach its host; empty without one.
        hosts: Every host that was leased, or looked at, by name.
        keep: The run was to leave its hosts leased, and got as far.
        signal: Number of the signal that ended the run, 0 without one.
        died: How the playbook ended when it did not end by itself; empty otherwise.
        leaks: Artifacts that held a secret and were taken away.
        fenced: What a keeper said when it refused a call because the lease was not the run's any more, or which lease ended while
            the run was at work; empty without one.
        own: Signals of the bench itself that were not there when a step or the playbook had failed.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    failed_ids: tuple[str, ...] = ()
    failure: Mapping[str, Any] | None = None
    lost: str = ""
    hosts: Mapping[str, HostEnd] = field(default_factory=dict)
    keep: bool = False
    signal: int = 0
    died: str = ""
    leaks: tuple[str, ...] = ()
    fenced: str = ""
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The verdict word, the exit code, and the reason in one sentence."""

    verdict: str
    exit_code: int
    reason: str


def decide(facts: Facts) -> Decision:
    """Decide what a run came to."""
    return _not_back(facts) or _ended(facts) or _refused(facts) or _unfit(facts) or _checks(facts)


def _not_back(facts: Facts) -> Decision | None:
    open_hosts = [name for name, end in sorted(facts.hosts.items()) if not end.proven]
    if not open_hosts:
        return None
    if facts.keep and not facts.signal and all(facts.hosts[name].state == KEPT for name in open_hosts):
        until = [f"{name} until {facts.hosts[name].deadline}" for name in open_hosts]
        return Decision(KEPT, 4, f"kept, as asked: {', '.join(until)}")
    return Decision("unproven", 4, f"not proven restored: {', '.join(open_hosts)}")


def _ended(facts: Facts) -> Decision | None:
    if not facts.signal:
        return None
    return Decision("interrupted", 128 + facts.signal, f"ended by signal {facts.signal}, everything is back")


def _refused(facts: Facts) -> Decision | None:
    failure = facts.failure or {}
    message = str(failure.get("msg", ""))
    if failure.get("busy") or (failure.get("phase") == "preflight" and message.startswith("leased")):
        return Decision("busy", 75, (message or "somebody else has it") + _times(failure.get("busy")))
    if failure.get("usage"):
        return Decision("usage", 2, message)
    return None


def _times(busy: Any) -> str:
    """Return since when and until when somebody has it, where he said so."""
    said = busy if isinstance(busy, dict) else {}
    return "".join(f", {word} {said[key]}" for word, key in (("since", "since"), ("until", "deadline")) if said.get(key))


def _unfit(facts: Facts) -> Decision | None:
    failure = facts.failure or {}
    if failure.get("unreachable"):
        return Decision("unfit", 3, f"a host was lost: {failure.get('msg', '')}")
    if facts.lost:
        return Decision("unfit", 3, f"a host was lost: {facts.lost}")
    if failure.get("phase") in BENCH_PHASES:
        return Decision("unfit", 3, str(failure.get("msg", "")))
    if facts.fenced:
        return Decision("unfit", 3, f"the run lost its lease: {facts.fenced}")
    if facts.own:
        return Decision("unfit", 3, f"the bench itself failed: {'; '.join(facts.own)}")
    return None


def _checks(facts: Facts) -> Decision:
    if facts.died:
        return Decision("bad", 1, facts.died)
    if facts.leaks:
        return Decision("bad", 1, f"what the run left held a secret, or could not be searched for one: {', '.join(facts.leaks)}")
    red = facts.counts.get("fail", 0) + facts.counts.get("error", 0)
    if red:
        return Decision("bad", 1, f"{red} of {sum(facts.counts.values())} checks are red: {', '.join(facts.failed_ids[:5])}")
    if facts.failure:
        return Decision("bad", 1, str(facts.failure.get("msg", "the run failed")))
    if not facts.counts.get("pass", 0):
        return Decision("bad", 1, "nothing was checked")
    return Decision("good", 0, f"all {facts.counts['pass']} checks passed")


def count(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many verdict lines have which verdict, every word named."""
    seen = Counter(str(line.get("verdict")) for line in lines)
    return {word: seen.get(word, 0) for word in WORDS}


def red_ids(lines: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the ids of red checks, each once, in order."""
    return tuple(dict.fromkeys(str(line["id"]) for line in lines if line.get("verdict") in ("fail", "error")))


def first_failure(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first failure of the playbook; later ones are its echo.

    What role report says is this very decision, as it was before a recovery: it must not decide again.
    """
    return next((event for event in events if event.get("event") == "failed" and event.get("phase") != "report"), None)


def phases(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ``[{name, seconds, started}]`` in order; one that did not end has the seconds up to the last event."""
    found: list[dict[str, Any]] = []
    for event in events:
        if event.get("event") == "phase.start":
            found.append({"name": event.get("phase", ""), "seconds": 0.0, "started": event.get("s", 0.0)})
        elif found and event.get("phase") == found[-1]["name"]:
            found[-1]["seconds"] = round(float(event.get("s", 0.0)) - float(found[-1]["started"]), 3)
    return found


def keeper_seconds(events: Sequence[Mapping[str, Any]]) -> float:
    """Return what the keeper cost a run in all: the seconds of its calls without what they were made for."""
    return round(sum(float(event.get("keeper_seconds") or 0.0) for event in events), 3)


def waited_seconds(events: Sequence[Mapping[str, Any]]) -> float:
    """Return how long a run waited for signs of life in all: health, sync, workers, shares."""
    return round(sum(float(event.get("waited_seconds") or 0.0) for event in events), 3)


def host_end(said: Mapping[str, Any]) -> HostEnd:
    """Read what the restore or the recovery of one host said."""
    return HostEnd(
        restored=bool(said.get("restored")),
        proven=bool(said.get("proven")),
        seconds=float(said.get("seconds") or 0),
        state=str(said.get("state", "")),
        items=tuple(said.get("items") or ()),
        failures=tuple(one if isinstance(one, dict) else {"why": str(one)} for one in said.get("failures") or ()),
        deadline=str(said.get("deadline") or ""),
    )


def maybe_leased(events: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """Return the hosts whose lease was asked for without an answer that says that it was taken, or that somebody else has it."""
    asked = [event for event in events if event.get("phase") == "lease"]
    if not any(event.get("event") == "task.start" for event in asked):
        return []
    answers = {str(event.get("item")): event for event in asked if event.get("event") == "item"}
    return [host for host in hosts if not _answered(answers.get(host, {}))]


def _answered(event: Mapping[str, Any]) -> bool:
    return event.get("status") in ("ok", "changed", "skipped") or (event.get("status") == "failed" and bool(event.get("busy")))


def before_lease(events: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the events prove that a playbook ended before it asked for any lease. No events prove nothing."""
    # The report is the last role: who came to it without a lease has taken none.
    ended = any(event.get("event") in ("failed", "run.end") or event.get("phase") == "report" for event in events)
    return ended and all(event.get("phase") in ("", *BEFORE_LEASE, *AFTER_ALL) for event in events)


def lost(events: Sequence[Mapping[str, Any]]) -> str:
    """Return the first item that did not reach its host: tasks with items go to the run's hosts only. Empty without one."""
    for event in events:
        if event.get("event") == "item" and event.get("status") == "unreachable":
            return f"{event.get('host') or event.get('item')} in {event.get('phase')}: {event.get('msg', 'unreachable')}"
    return ""


def fenced(events: Sequence[Mapping[str, Any]]) -> str:
    """Return what a keeper said when it first refused a run that had lost its lease. Empty without one."""
    return next((str(event.get("msg", "refused")) for event in events if event.get("fenced")), "")


def ended_early(ends: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> str:
    """Return which lease ended before the run began to give its hosts back, and why; empty when none did.

    Args:
        ends: ``{at, resource, why}`` of leases that ended while the run was alive; its own restore ends them all.
        events: What happened so far.
    """
    restores = [str(one.get("at", "")) for one in events if one.get("event") == "phase.start" and one.get("phase") == "restore"]
    began = min(map(_epoch, restores), default=None)
    for one in ends:
        if began is None or float(one.get("at") or 0.0) < began:
            return f"{one.get('resource')}: {one.get('why')}"
    return ""


def _epoch(text: str) -> float:
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def hosts_of(
    run_id: str,
    restored: Mapping[str, Mapping[str, Any]] | None,
    recovered: Sequence[Mapping[str, Any]] | None,
    unknown: Sequence[str],
) -> dict[str, HostEnd]:
    """Return how each host ended, the latest word winning.

    Args:
        run_id: The run; a host that another one holds was never ours.
        restored: What the run's own restore wrote down.
        recovered: Loop results of the recovery that came after it, if there was one.
        unknown: Hosts that may have been leased without anybody writing it down; without a word about one it is not proven.
    """
    ends = {name: host_end(said) for name, said in (restored or {}).items()}
    foreign = set()
    for said in recovered or ():
        name = str(said.get("item", ""))
        if not name or (name in ends and ends[name].proven):
            continue
        holder = said.get("busy") or {}
        if "proven" in said and not (said.get("nothing_to_do") and name not in ends and name not in unknown):
            now = host_end(said)
            items = now.items or (ends[name].items if name in ends else ())
            ends[name] = HostEnd(now.restored, now.proven, now.seconds, now.state, items, now.failures)
        elif holder and holder.get("run_id") != run_id:
            foreign.add(name)
        elif name in unknown or name in ends:
            why = {"why": str(said.get("msg", "not reached"))}
            ends[name] = HostEnd(restored=False, proven=False, state="unknown", failures=(why,))
    for name in unknown:
        if name not in foreign:
            ends.setdefault(name, HostEnd(restored=False, proven=False, state="unknown", failures=({"why": "nobody said"},)))
    return ends
