"""What the readers of profile.yml and exercise.yml themselves refuse, asked piece by piece, so that all of it is told at once.

The words are the readers' own; here stands only where they belong. A piece of a wrong shape is left out: the schema told it.
"""

from __future__ import annotations

import fnmatch
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import (
    _jsonpath,
    _predicate,
    _probes,
    _run_context,
    _snapshot,
    _step,
    _wait,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from benchkeeper.located import Document, Mistake, Place

# What stands for what a run fills in, when a predicate is tried.
SAMPLE: dict[str, Any] = {
    **dict.fromkeys(_run_context.PLACES, "x"),
    "workers": 1,
    "time_scale": 1.0,
    "miners": ["x"],
    "worker_names": ["x"],
    "secret_keys": ["X"],
    "overrides": {},
}
_SEEN = ("x", 0, ["x"], {"x": "x"})  # values that a probe may have, one of each shape
# How readers refuse. What else they raise is what they say to a wrong shape, which the schema told.
_REFUSALS = (
    _run_context.UsageError,
    _wait.WaitError,
    _predicate.PredicateError,
    _step.StepError,
    _jsonpath.PathError,
    _probes.ProbeError,
)
_BREAKS, _HEALS = ("stop", "kill", "pause", "rm"), ("start", "restart", "unpause")


def mapping(data: Any, *path: Any) -> dict[Any, Any]:
    """Return the mapping at a path, empty when there is none."""
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def listing(data: Any, *path: Any) -> list[Any]:
    """Return the list at a path, empty when there is none."""
    found = mapping(data, *path[:-1]).get(path[-1]) if path else data
    return found if isinstance(found, list) else []


def refusal(ask: Callable[[], Any]) -> str:
    """Return the words with which a reader refuses, empty when it does not or when the shape is so wrong that it has no words."""
    try:
        ask()
    except _REFUSALS as error:
        return str(error)
    except (TypeError, ValueError, LookupError, AttributeError):
        return ""
    return ""


@functools.cache
def options(kind: str) -> tuple[dict[str, bool], str]:
    """Return the options of a kind of probe, with whether each may be left out, and how it is written, from its documentation.

    That is the docstring from which docs/reference/probes.md is made: ``kind {url, method?, keep?: [paths]}``.
    """
    text = " ".join((_snapshot.KINDS[kind].__doc__ or "").split()).partition("``")[2].partition("``")[0]
    inner = text.partition("{")[2].rpartition("}")[0]
    found, depth, word = {}, 0, ""
    for character in f"{inner},":
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            name = word.partition(":")[0].strip()
            if name:
                found[name.rstrip("?")] = name.endswith("?")
            word = ""
        else:
            word += character
    return found, text


@dataclass(frozen=True)
class Readers:
    """Both files of a stack, as their readers see them."""

    profile: Document
    exercise: Document | None

    def host(self, kind: str) -> dict[Any, Any]:
        """Return a host of the profile."""
        return mapping(self.profile.data, "hosts", kind)

    def probes(self, kind: str, *, deployed: bool = False) -> dict[str, Any]:
        """Return what can be looked at on a host; with the branch deployed also the files that are bound."""
        found = dict(mapping(self.host(kind), "probes"))
        return {**found, **mapping(self.profile.data, "binding")} if deployed else found

    def looked(self, kind: str) -> dict[str, Any]:
        """Return what a whole look takes."""
        probes = self.probes(kind)
        return {name: probes[name] for name in listing(self.host(kind), "snapshot") if isinstance(name, str) and name in probes}

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what the readers refuse in both files."""
        for kind in [kind for kind in ("bench", "miner") if self.host(kind)]:
            yield from self._host(kind)
        for key, kind in (("arrived", "miner"), ("seen", "bench")):
            yield from self._signals(self.profile, ("borrow", key), listing(self.profile.data, "borrow", key), self.probes(kind))
        yield from self._places(self.profile, ())
        if self.exercise is not None:
            yield from self._exercise(self.exercise)

    # profile.yml

    def _host(self, kind: str) -> Iterator[Mistake]:
        place: Place = ("hosts", kind)
        host, probes = self.host(kind), self.probes(kind)
        for name, spec in probes.items():
            yield from self._probe((*place, "probes", name), spec)
        for number, name in enumerate(listing(host, "snapshot")):
            why = refusal(lambda name=name: _run_context.check_snapshot([name], probes))  # type: ignore[misc]
            if why:
                yield self.profile.mistake((*place, "snapshot", number), why)
        yield from self._signals(self.profile, (*place, "fit"), listing(host, "fit"), probes)
        # The proof is judged on a whole look.
        for number, predicate in enumerate(listing(host, "proof", "predicates")):
            yield from self._predicate(self.profile, (*place, "proof", "predicates", number), predicate, self.looked(kind), "proof")
        for number, pattern in enumerate(listing(host, "ignore")):
            first = str(pattern).partition(".")[0]
            if not any(fnmatch.fnmatchcase(name, first) for name in self.looked(kind)):
                yield self.profile.mistake((*place, "ignore", number), f"ignores {pattern}, and no look takes a probe {first}")

    def _probe(self, place: Place, spec: Any) -> Iterator[Mistake]:
        kind = spec.get("kind") if isinstance(spec, dict) else None
        if not isinstance(kind, str):
            return
        if kind not in _snapshot.KINDS:
            # Refused before anything is looked at.
            why = refusal(lambda: _snapshot.look("x", spec, _snapshot.make_context({}, {})))
            yield self.profile.mistake((*place, "kind"), f"{why}; there are {', '.join(sorted(_snapshot.KINDS))}")
            return
        known, written = options(kind)
        for key in spec:
            if key not in known and key != "kind":
                yield self.profile.mistake((*place, key), f"unknown option {key}; the probe is {written}")
        for key, optional in known.items():
            why = "" if optional else refusal(lambda key=key: _probes.need(spec, key))  # type: ignore[misc]
            if why:
                yield self.profile.mistake(place, f"{kind}: {why}")

    def _places(self, document: Document, place: Place, more: Iterable[str] = ()) -> Iterator[Mistake]:
        """Yield places in braces that nobody fills in. Scripts are left out: braces are theirs, too."""
        known = {*_run_context.PLACES, *more}
        stack: list[tuple[Place, Any]] = [(place, document.data)]
        while stack:
            at, data = stack.pop()
            if isinstance(data, dict):
                stack += [((*at, key), value) for key, value in data.items() if key not in ("argv", "contains", "not_contains")]
            elif isinstance(data, list):
                stack += [((*at, number), value) for number, value in enumerate(data)]
            elif isinstance(data, str):
                for name in sorted(set(_run_context.PLACE.findall(data)) - known):
                    yield document.mistake(at, f"nobody fills in {{{name}}}; there are {', '.join(sorted(known))}")

    # Signals and predicates

    def _signals(self, document: Document, place: Place, signals: list[Any], probes: Mapping[str, Any]) -> Iterator[Mistake]:
        names: dict[str, int] = {}
        for number, signal in enumerate(signals):
            if isinstance(signal, dict):
                name = str(signal.get("name", "?"))
                yield from self._signal(document, (*place, number), signal, probes, name)
                if name in names:
                    first = document.line((*place, names[name]))
                    yield document.mistake((*place, number), f"the same name twice: {name}, first in line {first}")
                names.setdefault(name, number)

    def _signal(
        self, document: Document, place: Place, signal: Mapping[str, Any], probes: Mapping[str, Any], name: str
    ) -> Iterator[Mistake]:
        for number, predicate in enumerate(listing(signal, "all")):
            yield from self._predicate(document, (*place, "all", number), predicate, probes, name)
        probe = mapping(signal, "hint").get("probe")
        if isinstance(probe, str):
            yield from self._known(document, (*place, "hint", "probe"), probe, probes, name)

    def _known(self, document: Document, place: Place, probe: str, probes: Mapping[str, Any], name: str) -> Iterator[Mistake]:
        signal = {"name": name, "all": [{"probe": probe, "op": "exists"}]}
        why = refusal(lambda: _wait.parse_signal(signal, probes, None))
        if why:
            yield document.mistake(place, why)

    def _predicate(
        self, document: Document, place: Place, predicate: Any, probes: Mapping[str, Any], name: str
    ) -> Iterator[Mistake]:
        if not isinstance(predicate, dict):
            return
        filled = _run_context.fill(predicate, SAMPLE)
        if isinstance(filled.get("probe"), str):
            yield from self._known(document, (*place, "probe"), filled["probe"], probes, name)
        compared = filled.get("op") in _step.COMPARED and name == "expect"
        for key, part in (("probe", {"op": "exists"}), ("op", {"probe": "x"}), ("part", {"probe": "x", "op": "exists"})):
            one = {**part, **({key: filled[key]} if key in filled else {})}
            why = "" if compared and key == "op" else refusal(lambda one=one: _predicate.validate(one))  # type: ignore[misc]
            if why:
                yield document.mistake((*place, key), f"{name}: {why}")
        for key in ("path", "value") if filled.get("op") == "changed_like" else ("path",):
            why = refusal(lambda key=key: _jsonpath.parse(filled.get(key, "")))  # type: ignore[misc]
            if why:
                yield document.mistake((*place, key), f"{name}: {why}")
        why = _compared(filled) if compared else _tried(filled)
        if why:
            yield document.mistake((*place, "value"), f"{name}: {why}")

    # exercise.yml

    def _exercise(self, document: Document) -> Iterator[Mistake]:
        probes = self.probes("bench", deployed=True)
        for name, signal in mapping(document.data, "signals").items():
            if isinstance(signal, dict):
                yield from self._signal(document, ("signals", name), signal, probes, str(name))
        yield from self._waited(document, ("deployed",), listing(document.data, "deployed"))
        scenarios, canonical = mapping(document.data, "scenarios"), document.data.get("canonical")
        if isinstance(canonical, str) and scenarios and canonical not in scenarios:
            yield document.mistake(("canonical",), f"no scenario {canonical}; there are {', '.join(map(str, scenarios))}")
        ids: dict[tuple[str, str], Place] = {}
        looks: dict[tuple[str, str], Place] = {}
        for key, place, step in steps(document):
            yield from self._step(document, place, step, probes)
            phase = str(step.get("phase", "scenario" if key == "scenario_steps" else "lifecycle"))
            made = [(ids, step.get("id"), "id", "", place)]
            made += [(looks, op["look"], "look", phase, at) for at, op in _ops(step, place) if "look" in op]
            for known, one, what, where, at in made:
                if isinstance(one, str) and (where, one) in known:
                    first = document.line(known[where, one])
                    yield document.mistake(at, f"the same {what} twice: {one}, first in line {first}")
                elif isinstance(one, str):
                    known[where, one] = at
        own = {str(place) for row in scenarios.values() for place in mapping(row, "places")}
        yield from self._places(document, (), given_places(document.data) | own)

    def _waited(self, document: Document, place: Place, names: list[Any]) -> Iterator[Mistake]:
        signals = mapping(document.data, "signals")
        for number, one in enumerate(names):
            why = refusal(lambda one=one: _run_context.resolve_signals([one], signals, {}, {}))  # type: ignore[misc]
            if why:
                yield document.mistake((*place, number), why)

    def _step(self, document: Document, place: Place, step: Mapping[str, Any], probes: Mapping[str, Any]) -> Iterator[Mistake]:
        name = str(step.get("id", "?"))
        for at, op in _ops(step, place):
            bare = {**op, "expect": []} if "expect" in op else op
            why = refusal(lambda bare=bare: _step.validate({"id": name, "ops": [bare]}))  # type: ignore[misc]
            if why:
                yield document.mistake(at, why)
            yield from self._waited(document, (*at, "wait"), listing(op, "wait"))
            for number, predicate in enumerate(listing(op, "expect")):
                yield from self._predicate(document, (*at, "expect", number), predicate, probes, "expect")
            for number, probe in enumerate(listing(op, "probes")):
                if isinstance(probe, str):
                    yield from self._known(document, (*at, "probes", number), probe, probes, name)
        yield from self._heal(document, place, step)

    def _heal(self, document: Document, place: Place, step: Mapping[str, Any]) -> Iterator[Mistake]:
        """Every fault carries its heal: what stops a container starts it again, or something in `always` may."""
        ops = [(at, op) for at, op in _ops(step, place) if at[-2] == "ops"]
        for number, (at, op) in enumerate(ops):
            later = [
                one for _at, one in ops[number + 1 :] if one.get("engine") in _HEALS and one.get("container") == op.get("container")
            ]
            if op.get("engine") in _BREAKS and not later and not listing(step, "always"):
                name = step.get("id", "?")
                yield document.mistake(
                    at, f"{name}: {op['engine']} of {op.get('container')} has no heal, neither later nor in always"
                )


def steps(document: Document) -> Iterator[tuple[str, Place, dict[Any, Any]]]:
    """Yield (list, place, step) for every step of an exercise."""
    for key in ("scenario_steps", "targeted", "journal"):
        for number, step in enumerate(listing(document.data, key)):
            if isinstance(step, dict):
                yield key, (key, number), step


def _ops(step: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, dict[Any, Any]]]:
    for key in ("ops", "always"):
        for number, op in enumerate(listing(step, key)):
            if isinstance(op, dict):
                yield (*place, key, number), op


def given_places(data: Any) -> set[str]:
    """Return the places that references to signals bring with them."""
    if isinstance(data, dict):
        own = set(mapping(data, "with")) if "signal" in data else set()
        return own.union(*(given_places(value) for value in data.values()))
    return set().union(*(given_places(value) for value in data)) if isinstance(data, list) else set()


def _tried(predicate: Mapping[str, Any]) -> str:
    """Return why a predicate could be judged on no value: it is tried on one of each shape."""
    if predicate.get("op") not in _predicate.OPERATORS:
        return ""
    bare = {key: predicate[key] for key in ("op", "value") if key in predicate}
    try:
        for seen in _SEEN:
            _predicate.evaluate({"probe": "x", **bare}, {"observed": {"x": seen}}, first={"observed": {"x": seen}})
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


def _compared(predicate: Mapping[str, Any]) -> str:
    """Return why a comparison with a mark could not be made."""
    if predicate["op"] == "changed_like" and "value" not in predicate:
        return "lacks value"
    document: dict[str, Any] = {"observed": {"x": {}}, "errors": {}}
    try:
        _step.compare({**predicate, "probe": "x"}, document, document)
    except KeyError as error:
        return f"lacks {error.args[0]}"
    except (ValueError, TypeError, AttributeError) as error:
        return str(error)
    return ""
