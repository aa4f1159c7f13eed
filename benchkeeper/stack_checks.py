"""What checks, planted bugs and posture.yml refer to: looks, probes, places of posture.yml, ids. And what their readers refuse."""

from __future__ import annotations

import ast
import itertools
import re
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jmespath
from ansible_collections.benchkeeper.core.plugins.module_utils import _check
from jmespath.exceptions import JMESPathError

from benchkeeper import planted, verdicts
from benchkeeper.located import Mistake
from benchkeeper.stack_readers import listing, mapping, steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchkeeper.located import Document, Place

KINDS = ("bench", "miner")
ROOTS = ("snapshot", "context", "before", "item")
PARTS = ("schema", "host", "run_id", "taken_at", "seconds", "boot", "kinds", "invariant", "observed", "errors")
# Looks that roles take of every run, and ids that playbooks make out of waits and commands.
TAKEN = {"baseline": ["before"], "deploy": ["deployed"]}
MADE = (r"baseline\..+", r"borrow\..+", r"deploy\..+", r"secrets\.canary\..+", r"run\..+", r"check\..+")
_ID = re.compile(r"[a-z][a-z0-9_-]*(?:\.[A-Za-z0-9_{}-]+)+")
_HEADER = re.compile(r"^\s*expect\w*[-_ ]*red\b", re.IGNORECASE)
# Expressions whose later parts are asked of elements.
_OF_ELEMENTS = ("projection", "filter_projection", "value_projection", "flatten", "index_expression", "pipe")
_SAMPLES = ("x", 0, ["x"], {"x": "x"})


@dataclass
class Ids:
    """The ids of everything that gives a verdict.

    `first` says where each was seen first; `open` means that a file could not be read, so that any id may be one.
    """

    first: dict[str, Mistake] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=lambda: list(MADE))
    open: bool = False

    def add(self, name: str, here: Mistake) -> Mistake | None:
        """Note an id; return the mistake that it is there already."""
        before = self.first.setdefault(name, here)
        if before is here:
            return None
        return Mistake(here.file, here.line, f"the same id twice: {name}, first in {before.file}:{before.line}")

    def has(self, name: str) -> bool:
        """Whether something may give a verdict with this id."""
        return self.open or name in self.first or any(re.fullmatch(pattern, name) for pattern in self.patterns)


@dataclass(frozen=True)
class Known:
    """What checks may refer to. What could not be read is None: then nothing is said about it, its own mistake is enough.

    Attributes:
        probes: By kind of host, names of what its looks see.
        looks: By phase, the names of its looks.
        context: Keys of the run context.
        posture: posture.yml, empty without one.
    """

    probes: Mapping[str, frozenset[str]] | None = None
    looks: Mapping[str, list[str]] | None = None
    context: frozenset[str] | None = None
    posture: Any = None

    def look(self, name: str) -> str:
        """Return why a look cannot be meant, or an empty text."""
        phase, _dash, step = name.partition("-")
        if self.looks is None or (phase in self.looks and (not step or step in self.looks[phase])):
            return ""
        there = [name for phase, ones in self.looks.items() for name in (phase, *(f"{phase}-{one}" for one in ones))]
        return f"no look is called {name}; there are {', '.join(there)}"


def looks(exercise: Document) -> dict[str, list[str]]:
    """Return by phase the names of the looks that a run takes."""
    found = {phase: list(names) for phase, names in TAKEN.items()}
    for key, _place, step in steps(exercise):
        phase = str(step.get("phase", "scenario" if key == "scenario_steps" else "lifecycle"))
        ops = [op for part in ("ops", "always") for op in listing(step, part) if isinstance(op, dict)]
        found.setdefault(phase, []).extend(str(op["look"]) for op in ops if "look" in op)
    return found


# Checks as data


def chains(expression: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield what an expression refers to from its top, as lists of names: ``snapshot.observed.env.values[0]`` up to the index."""
    kind, children = expression["type"], expression["children"]
    if kind == "field":
        yield [expression["value"]]
    elif kind == "subexpression":
        found = list(chains(children[0]))
        if children[0]["type"] != "field":
            yield from found
            return
        # What stands behind something that is no name belongs to that, not to the top.
        names = itertools.takewhile(lambda child: child["type"] == "field", children[1:])
        yield [*found[0], *(child["value"] for child in names)]
    elif kind != "expref":
        inner = children[:1] if kind in _OF_ELEMENTS else children
        yield from (chain for child in inner if isinstance(child, dict) for chain in chains(child))


def _wrong_chain(chain: list[str], kind: str, known: Known) -> str:
    """Return why an expression that begins with these names finds nothing, or an empty text."""
    root, rest = chain[0], chain[1:]
    if chain == ["null"]:  # as JMESPath reads it, a name that nothing has
        return ""
    if root not in ROOTS:
        return f"nothing is called {root}; there are {', '.join(ROOTS)}"
    if root in ("snapshot", "before") and rest:
        return _wrong_look(rest, kind, known)
    return _wrong_context(rest, known) if root == "context" and rest else ""


def _wrong_look(chain: list[str], kind: str, known: Known) -> str:
    if chain[0] not in PARTS:
        return f"a look has no {chain[0]}; it has {', '.join(PARTS)}"
    taken = known.probes[kind] if known.probes is not None else chain[1:]
    if chain[0] in ("invariant", "observed", "errors", "kinds") and chain[1:] and chain[1] not in taken:
        return f"no look of a {kind} takes a probe {chain[1]}; there are {', '.join(sorted(taken))}"
    return ""


def _wrong_context(chain: list[str], known: Known) -> str:
    if known.context is not None and chain[0] not in known.context:
        return f"the run context has no {chain[0]}; it has {', '.join(sorted(known.context))}"
    data = known.posture if chain[0] == "posture" else None
    for number, key in enumerate(chain[1:], 2):
        if isinstance(data, dict) and key not in data:
            return f"posture.yml has no {'.'.join(chain[1:number])}"
        data = data[key] if isinstance(data, dict) else None
    return ""


def _expressions(raw: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield an expression of a check, for each element of its list where that is written out."""
    text = raw.get(key)
    if not isinstance(text, str) or not text:
        return
    items = raw.get("for_each")
    for item in items if isinstance(items, list) else ["x"] if "{item}" not in text else []:
        yield text.replace("{item}", str(item))


def _referred(raw: Mapping[str, Any], known: Known) -> Iterator[tuple[str, str]]:
    kind = raw.get("kind", "bench")
    for key in ("value", "when", "expected_from", "for_each") if kind in KINDS else ():
        told: set[str] = set()
        for text in _expressions(raw, key):
            try:
                found = [_wrong_chain(chain, kind, known) for chain in chains(jmespath.compile(text).parsed)]
            except JMESPathError:
                break  # its reader told it
            told.update(why for why in found if why)
        yield from ((key, why) for why in sorted(told))


def _tried(raw: Mapping[str, Any]) -> str:
    """Return why a check could compare with no value: it is tried on one of each shape."""
    operator = raw.get("op", "eq")
    if operator not in list(_check.OPERATORS) or "expected" not in raw:
        return ""
    try:
        for sample in _SAMPLES:
            _check.compare(operator, raw["expected"], sample)
    except (re.error, TypeError, ValueError) as error:
        return f"{operator} cannot be asked: {error}"
    return ""


def data_checks(document: Document, known: Known, ids: Ids) -> Iterator[Mistake]:
    """Yield what is wrong with the checks of one file, beyond their types."""
    for number, raw in enumerate(listing(document.data)):
        place: Place = (number,)
        yield from (document.mistake((*place, key) if key else place, text) for key, text in verdicts.mistakes(raw))
        if not isinstance(raw, dict):
            continue
        name = str(raw.get("id", "?"))
        if "id" in raw:
            twice = ids.add(name, document.mistake((*place, "id"), name))
            yield from [twice] if twice else []
            ids.patterns.append(re.escape(name).replace(r"\{item\}", ".+"))
        for position, look in enumerate(listing(raw, "phases")):
            why = known.look(look) if isinstance(look, str) else ""
            if why:
                yield document.mistake((*place, "phases", position), f"{name}: {why}")
        for key, why in _referred(raw, known):
            yield document.mistake((*place, key), f"{name}: {why}")
        why = _tried(raw)
        if why:
            yield document.mistake((*place, "expected"), f"{name}: {why}")


# Checks as code


def code_checks(path: Path, name: str, known: Known, ids: Ids) -> Iterator[Mistake]:
    """Yield what is wrong with a file of checks: it cannot be loaded, or a check is for a look that there is not."""
    try:
        found = verdicts.load_code(path)
    except SyntaxError as error:
        ids.open = True
        yield Mistake(name, error.lineno or 1, f"cannot be loaded: {error.msg}")
        return
    except Exception as error:  # noqa: BLE001 - whatever a file of somebody else raises is told with its line
        ids.open = True
        rows = [frame.lineno or 1 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        yield Mistake(name, rows[-1] if rows else 1, f"cannot be loaded: {type(error).__name__}: {error}")
        return
    for one in found:
        line = one.function.__code__.co_firstlineno if hasattr(one.function, "__code__") else 1
        called = getattr(one.function, "__name__", "?")
        if one.kind not in KINDS:
            yield Mistake(name, line, f"{called}: unknown kind {one.kind!r}; there are {', '.join(KINDS)}")
        if not one.phases:
            yield Mistake(name, line, f"{called}: is for no look")
        for why in filter(None, map(known.look, one.phases)):
            yield Mistake(name, line, f"{called}: {why}")
    ids.patterns += _templates(path.read_text(encoding="utf-8"))


def _templates(text: str) -> Iterator[str]:
    """Yield a pattern for every text of a program that may be the id of a verdict, with what it computes left open."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ID.fullmatch(node.value):
            yield re.escape(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values]
            if _ID.fullmatch("".join(parts)):
                yield "".join(".+" if part == "{}" else re.escape(part) for part in parts)


# Planted bugs


def planted_header(text: str, name: str, ids: Ids) -> Iterator[Mistake]:
    """Yield what is wrong with the header of a planted bug: what its reader does not take, ids that nothing has."""
    lines = text.splitlines()
    diff = next((number for number, line in enumerate(lines) if line.startswith("diff --git ")), len(lines))
    if diff == len(lines):
        yield Mistake(name, 1, "has no line `diff --git`: it changes nothing")
    read = 0
    for number, line in enumerate(lines):
        taken = planted.EXPECT.fullmatch(line) if number < diff else None
        if taken:
            read += 1
            if not ids.has(taken[1]):
                yield Mistake(name, number + 1, f"expects {taken[1]} to be red, and nothing gives a verdict with this id")
        elif number < diff and _HEADER.match(line):
            yield Mistake(name, number + 1, f"is not read: a line is `Expect-Red: ID`, not {line.strip()[:60]!a}")
    if read != len(planted.expectations(text)):
        yield Mistake(name, 1, "its reader takes other lines for its header")


# Posture


def posture(document: Document) -> Iterator[Mistake]:
    """Yield what posture.yml refers to and does not have: services, networks."""
    data = document.data
    services, networks = mapping(data, "services"), mapping(data, "networks")
    if not services:
        return
    named: list[tuple[Place, Any]] = [(("always", number), one) for number, one in enumerate(listing(data, "always"))]
    named += [(("published", one), one) for one in mapping(data, "published")]
    named += [(("listening", one), one) for one in mapping(data, "listening")]
    named += [(("networks", key, one), one) for key in networks for one in mapping(networks, key)]
    for place, name in named:
        if isinstance(name, str) and name not in services:
            yield document.mistake(place, f"no service {name} is described; there are {', '.join(map(str, services))}")
    for name, one in services.items():
        network = one.get("network") if isinstance(one, dict) else None
        if isinstance(network, str) and network != "host" and network not in networks:
            there = ", ".join([*map(str, networks), "host"])
            yield document.mistake(("services", name, "network"), f"{name}: no network {network}; there are {there}")
