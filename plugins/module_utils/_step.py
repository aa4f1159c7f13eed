"""One step of an exercise, walked through: guarded edits and commands, waits, looks, and what was expected of them.

Pure but for the `Actions` handed in. A step ends at its first op that does not come out as expected; its ``always`` ops run
whatever happened. The result says which op failed and why, never what a program printed in full.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _predicate
from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import MissingError, find

OPS = ("argv", "edit", "engine", "expect", "look", "mark", "verb", "wait")
COMPARED = ("changed", "changed_all", "changed_like", "same_keys")
_TAIL = 300  # characters of a program's last words in a reason


class StepError(ValueError):
    """The step itself is wrong; nothing of it was done."""


class Actions(Protocol):
    """What a step does to its host; every change goes through the keeper."""

    def command(self, argv: Sequence[str], timeout: float) -> Mapping[str, Any]:
        """Run a guarded command in the checkout: ``{rc, stdout_tail, stderr_tail, timed_out, locked}``."""

    def verb(self, name: str) -> Tuple[List[str], float]:
        """Return the driver's argv for a verb and its time limit in seconds."""

    def edit(self, file: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set dotted paths in a JSON file of the checkout: ``{changed}``."""

    def engine(self, action: str, container: str, timeout: float) -> Mapping[str, Any]:
        """Stop, start ... a container: ``{rc, why}``."""

    def wait(self, signals: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Wait for signals: ``[{name, ok, seconds, why}]``."""

    def take(self, probes: Optional[Sequence[str]]) -> Mapping[str, Any]:
        """Look at the host with the named probes, or with all that a snapshot has."""


@dataclass
class Walk:
    """What happened so far."""

    ops: List[Dict[str, Any]] = field(default_factory=list)
    looks: Dict[str, Mapping[str, Any]] = field(default_factory=dict)
    marked: Optional[Mapping[str, Any]] = None


def validate(step: Mapping[str, Any]) -> None:
    """Refuse a step that could not be walked through.

    Raises:
        StepError: no id, an op that is none, or a predicate that is wrong.
    """
    if not isinstance(step.get("id"), str) or not step.get("ops"):
        raise StepError("a step has an id and ops")
    for op in [*step["ops"], *step.get("always", [])]:
        kinds = [kind for kind in OPS if kind in op]
        if len(kinds) != 1:
            raise StepError(f"{step['id']}: an op is one of {', '.join(OPS)}, not {sorted(op)}")
        for predicate in op.get("expect", []):
            if predicate.get("op") not in COMPARED:
                _predicate.validate(predicate)


def walk(step: Mapping[str, Any], actions: Actions, clock: Callable[[], float]) -> Dict[str, Any]:
    """Walk through one step.

    Args:
        step: ``{id, title, phase, ops, always}``.
        actions: how things are done on the host.
        clock: monotonic seconds.

    Returns:
        ``{id, title, phase, ok, why, seconds, ops: [{op, ok, why, seconds}], looks: {name: document}}``.

    Raises:
        StepError: the step itself is wrong.
    """
    validate(step)
    state = Walk()
    started = clock()
    why = _ops(step["ops"], actions, clock, state)
    after = _ops(step.get("always", []), actions, clock, state, stop=False)
    reason = "; then ".join(part for part in (why, after) if part)
    return {
        "id": step["id"],
        "title": step.get("title", step["id"]),
        "phase": step.get("phase", ""),
        "ok": not reason,
        "why": reason,
        "seconds": round(clock() - started, 3),
        "ops": state.ops,
        "looks": state.looks,
    }


def _ops(
    ops: Sequence[Mapping[str, Any]],
    actions: Actions,
    clock: Callable[[], float],
    state: Walk,
    *,
    stop: bool = True,
) -> str:
    reasons = []
    for op in ops:
        started = clock()
        name, why = _one(op, actions, state)
        state.ops.append({"op": name, "ok": not why, "why": why, "seconds": round(clock() - started, 3)})
        if why:
            reasons.append(f"{name}: {why}")
            if stop:
                break
    return "; ".join(reasons)


def _one(op: Mapping[str, Any], actions: Actions, state: Walk) -> Tuple[str, str]:
    """Do one op; return its name for a reader and what was wrong (empty: nothing)."""
    if "verb" in op or "argv" in op:
        argv, limit = actions.verb(op["verb"]) if "verb" in op else (list(op["argv"]), float(op.get("timeout", 300)))
        return " ".join(argv[:2]), judge_command(op, actions.command(argv, limit))
    if "edit" in op:
        actions.edit(op["edit"], op["set"])
        return f"edit {op['edit']}", ""
    if "engine" in op:
        done = actions.engine(op["engine"], op["container"], float(op.get("timeout", 30)))
        return f"{op['engine']} {op['container']}", "" if not done.get("rc") else str(done.get("why", "failed"))
    if "wait" in op:
        late = [f"{one['name']}: {one.get('why', '')}" for one in actions.wait(op["wait"]) if not one.get("ok")]
        return "wait " + " ".join(one["name"] for one in op["wait"]), "; ".join(late)
    if "look" in op or "mark" in op:
        state.marked = document = actions.take(op.get("probes"))
        if "look" in op:
            state.looks[op["look"]] = document
        return f"look {op.get('look', '')}".strip(), ""
    return "expect", _expect(op["expect"], actions, state)


def judge_command(op: Mapping[str, Any], done: Mapping[str, Any]) -> str:
    """Return why a command did not come out as expected, with its last words, or an empty text."""
    out = str(done.get("stdout_tail", ""))
    err = str(done.get("stderr_tail", ""))
    said = (err.strip() or out.strip())[-_TAIL:]
    if done.get("timed_out"):
        return f"did not end in time; it last said: {said}"
    if "rc" in op and done.get("rc") != op["rc"]:
        held = ", since somebody else held the stack's own lock" if done.get("locked") else ""
        return f"ended with {done.get('rc')}, not {op['rc']}{held}; it last said: {said}"
    if "rc_not" in op and done.get("rc") == op["rc_not"]:
        return f"ended with {done.get('rc')}, which it must not"
    if "contains" in op and op["contains"] not in out + err:
        return f"did not say {op['contains']!r}; it last said: {said}"
    if "not_contains" in op and op["not_contains"] in out + err:
        return f"said {op['not_contains']!r}"
    return ""


def _expect(predicates: Sequence[Mapping[str, Any]], actions: Actions, state: Walk) -> str:
    document = actions.take(sorted({predicate["probe"] for predicate in predicates}))
    reasons = []
    for predicate in predicates:
        if predicate["op"] in COMPARED:
            reasons.append(compare(predicate, state.marked, document))
        else:
            outcome = _predicate.evaluate(predicate, document, before=state.marked)
            reasons.append("" if outcome.ok else outcome.why)
    return "; ".join(reason for reason in reasons if reason)


def _both(predicate: Mapping[str, Any], path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping that a path gives, looked up in the observed part first, then in the invariant part."""
    probe = predicate["probe"]
    parts = [predicate["part"]] if "part" in predicate else ["observed", "invariant"]
    for part in parts:
        try:
            found = find(document.get(part, {}).get(probe, {}), path)
        except MissingError:
            continue
        if isinstance(found, Mapping):
            return found
    raise MissingError(f"{probe}: nothing at {path}: {document.get('errors', {}).get(probe, 'not there')}")


def _changed(predicate: Mapping[str, Any], path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> List[str]:
    before, after = _both(predicate, path, old), _both(predicate, path, new)
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def compare(predicate: Mapping[str, Any], marked: Optional[Mapping[str, Any]], now: Mapping[str, Any]) -> str:
    """Judge a comparison with the mark.

    ``changed``: exactly the keys in ``value`` changed. ``changed_all``: every key changed. ``changed_like``: the keys that changed
    are those whose other ``value`` path changed, and ``includes`` are among them. ``same_keys``: the keys in ``value`` have not
    changed.

    Returns:
        Why it does not hold, or an empty text.
    """
    if marked is None:
        return "nothing was marked to compare with"
    probe = predicate["probe"]
    for name, document in (("then", marked), ("now", now)):
        if probe in document.get("errors", {}):
            return f"{probe}: could not ask {name}: {document['errors'][probe]}"
    try:
        if predicate["op"] == "same_keys":
            before, after = _both(predicate, predicate["path"], marked), _both(predicate, predicate["path"], now)
            moved = sorted(key for key in predicate["value"] if before.get(key) != after.get(key))
            return f"{probe}: changed though it must not: {', '.join(moved)}" if moved else ""
        changed = _changed(predicate, predicate["path"], marked, now)
        wanted = predicate.get("value", ())
        if predicate["op"] == "changed_all":
            wanted = {**_both(predicate, predicate["path"], marked), **_both(predicate, predicate["path"], now)} or ["anything"]
        elif predicate["op"] == "changed_like":
            wanted = _changed(predicate, wanted, marked, now)
    except MissingError as error:
        return str(error)
    lacking = [key for key in predicate.get("includes", []) if key not in changed]
    if sorted(wanted) != changed or lacking:
        return f"{probe}: changed {changed or 'nothing'}, should have changed {sorted({*wanted, *lacking}) or 'nothing'}"
    return ""
