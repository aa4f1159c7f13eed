"""Whether the environment names of a stack are coherent: the list of environment.yml compared with everything that was found.

Pure functions. A finding never tells the value of a secret: what the list calls secret has no value in it, and values are told only
of names that have one there.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchkeeper.env_compose import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchkeeper.env_found import Asked, Found, Given
    from benchkeeper.environment import Listed, Name, Reader

KINDS = ("unknown", "missing", "dead", "drifted", "exposed")


@dataclass(frozen=True, order=True)
class Finding:
    """One drift.

    Attributes:
        file: Where, from the top of the checkout.
        line: Counted from 1.
        name: The environment name.
        kind: One of `KINDS`: something has a name that the list lacks; something lacks a name that it must have; nobody reads it; a
            value or default is another one than the list says; a secret stands in a file.
        component: Component of the list; empty when it belongs to none.
        text: What is wrong, one sentence.
    """

    file: str
    line: int
    name: str
    kind: str
    component: str
    text: str

    def __str__(self) -> str:
        """Return it as editors and CI systems read it."""
        return f"{self.file}:{self.line}: {self.kind}: {self.text}"


@dataclass(frozen=True)
class Report:
    """How one stack compares.

    Attributes:
        stack: Its name.
        findings: Sorted by file, line and name.
        compared: What was compared, counted, so that an empty comparison is seen.
        not_judged: By reader whose code is elsewhere, how many names only it reads: nobody can tell whether they are dead.
    """

    stack: str
    findings: tuple[Finding, ...]
    compared: dict[str, int]
    not_judged: dict[str, int]

    def as_data(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        rows = [asdict(one) for one in self.findings]
        return {
            "stack": self.stack,
            "coherent": not rows,
            "findings": rows,
            "compared": self.compared,
            "not_judged": self.not_judged,
        }


def same(one: str, other: str) -> bool:
    """Whether two spellings are one value: `30` and `30.0` are, `true` and `True` are."""
    if one.strip().lower() == other.strip().lower():
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f"; is it {near[0]}?" if near else ""


@dataclass(frozen=True)
class _Comparison:
    listed: Listed
    found: Found
    production: Sequence[Given] | None
    production_file: str

    def __iter__(self) -> Iterator[Finding]:
        for given in self.found.given:
            yield from self._given(given)
        yield from self._required()
        yield from self._filled()
        yield from self._names()
        for reader, code in self.found.code.items():
            for asked in code.asked:
                yield from self._asked(reader, asked)
        yield from self._produced() if self.production is not None else ()

    def _owner(self, component: str) -> str:
        return f"{component} of {self.listed.document.name}"

    def _at(self, given: Given | Asked, kind: str, component: str, text: str) -> Finding:
        return Finding(given.file, given.line, given.name, kind, component, text)

    def _here(self, component: str, name: str, kind: str, text: str) -> Finding:
        return Finding(self.listed.document.name, self.listed.line(component, name), name, kind, component, text)

    def _given(self, given: Given) -> Iterator[Finding]:
        """What somebody is given: is the name known, alive, and the value what the list says?"""
        if not given.component:
            text = f"{given.service} is given {given.name} and is a service of no component in {self.listed.document.name}"
            yield self._at(given, "unknown", "", text)
            return
        component = self.listed.list.components[given.component]
        one = component.names.get(given.name)
        if one is None:
            others = [key for key, other in self.listed.list.components.items() if given.name in other.names]
            hint = f"; {', '.join(others)} has it" if others else _near(given.name, component.names)
            yield self._at(given, "unknown", given.component, f"{given.name} is not a name of {self._owner(given.component)}{hint}")
            return
        if one.dead:
            yield self._at(given, "dead", given.component, f"{given.name} is given, and nobody reads it: {one.dead}")
        if one.not_here:
            text = f"{given.name} is given, and the list says that it is not given here: {one.not_here}"
            yield self._at(given, "unknown", given.component, text)
        for value in literal(given.value) if given.value is not None else ():
            yield from self._value(given, one, value)

    def _value(self, given: Given, one: Name, value: str) -> Iterator[Finding]:
        if one.secret and value:
            text = f"{given.name} is a secret, and its value stands in the file"
            yield self._at(given, "exposed", given.component, text)
        spellings = one.spellings()
        if spellings and not any(same(value, spelling) for spelling in spellings):
            text = f"{given.name} is {value!r}, the list says {' or '.join(map(repr, spellings))}"
            yield self._at(given, "drifted", given.component, text)

    def _required(self) -> Iterator[Finding]:
        """What must be given and is not."""
        composed = {file for _service, file in self.found.services}
        for key, component in self.listed.list.components.items():
            wanted = [name for name, one in component.names.items() if one.required]
            for service in component.services if composed else ():
                files = {file: line for (name, file), line in self.found.services.items() if name == service}
                if not files:
                    text = f"no compose file has the service {service} of {key}"
                    yield Finding(self.listed.document.name, self.listed.line(key), service, "missing", key, text)
                    continue
                has = {given.name for given in self.found.given if given.service == service}
                file, line = next(iter(files.items()))
                for name in wanted:
                    if name not in has:
                        yield Finding(file, line, name, "missing", key, f"{service} is not given {name}, which {key} needs")
            for source in self.found.sources:
                if source.component == key and source.complete:
                    for name in wanted:
                        if name not in source.names:
                            yield Finding(source.file, 1, name, "missing", key, f"lacks {name}, which {key} needs")

    def _filled(self) -> Iterator[Finding]:
        """What compose files are filled in from."""
        known = {
            name: (key, one)
            for key, part in self.listed.list.components.items()
            if part.filled_in
            for name, one in part.names.items()
        }
        for place in self.found.filled:
            if place.name not in known:
                text = f"${{{place.name}}} is filled in from no component{_near(place.name, known)}"
                yield Finding(place.file, place.line, place.name, "unknown", "", text)
                continue
            key, one = known[place.name]
            if one.dead:
                text = f"${{{place.name}}} is used, and the list says that nobody reads it: {one.dead}"
                yield Finding(place.file, place.line, place.name, "dead", key, text)
            default = place.default
            if default is None or "$" in default:
                continue
            if one.secret and default:
                text = f"{place.name} is a secret, and a default for it stands in the file"
                yield Finding(place.file, place.line, place.name, "exposed", key, text)
            spellings = one.spellings()
            if spellings and not any(same(default, spelling) for spelling in spellings):
                text = f"the default of {place.name} is {default!r}, the list says {' or '.join(map(repr, spellings))}"
                yield Finding(place.file, place.line, place.name, "drifted", key, text)

    def _reads(self, key: str, reader: Reader, name: str) -> bool | None:
        """Whether a reader has the name in its code; None where its code is elsewhere."""
        if reader.elsewhere:
            return None
        if reader.compose:
            return any(place.name == name for place in self.found.filled)
        return name in self.found.code[key].words

    def _names(self) -> Iterator[Finding]:
        """What the list says of its names: do those who are said to read them?"""
        for key, component in self.listed.list.components.items():
            for name, one in component.names.items():
                for reader, how in self.listed.readers(key, name).items():
                    reads = self._reads(reader, how, name)
                    where = "the compose files" if how.compose else ", ".join(how.code)
                    if one.dead and reads:
                        yield self._here(key, name, "dead", f"{name} is said to be read by nobody, and {reader} reads it ({where})")
                    elif not one.dead and reads is False:
                        yield self._here(key, name, "dead", f"{name} is said to be read by {reader}, and nothing in {where} does")

    def _asked(self, reader: str, asked: Asked) -> Iterator[Finding]:
        """What code asks for: is it listed for whom it is, with this default?"""
        mine = {
            key: part.names[asked.name]
            for key, part in self.listed.list.components.items()
            if asked.name in part.names and reader in self.listed.readers(key, asked.name)
        }
        if not mine:
            known = {name for part in self.listed.list.components.values() for name in part.names}
            text = f"{reader} reads {asked.name}, and no component has it with this reader{_near(asked.name, known - {asked.name})}"
            yield self._at(asked, "unknown", "", text)
        # An empty default says that somebody else knows one.
        for key, one in mine.items() if asked.default else ():
            if one.default is None or not same(str(asked.default), one.default):
                wanted = "has none" if one.default is None else f"says {one.default!r}"
                shown = "a default" if one.secret else repr(asked.default)
                yield self._at(asked, "drifted", key, f"{reader} takes {shown} where {asked.name} is not given, the list {wanted}")

    def _produced(self) -> Iterator[Finding]:
        """What production has: do we know it, and do we give it, too?"""
        rules = self.listed.list.production
        wanted = rules.components if rules else list(self.listed.list.components)
        names = {name: (key, one) for key in wanted for name, one in self.listed.list.components[key].names.items()}
        here = {given.name for given in self.found.given} | {place.name for place in self.found.filled}
        produced = list(self.production or ())
        for given in produced:
            if given.name not in names:
                text = f"production has {given.name}, and {', '.join(wanted)} of the list does not{_near(given.name, names)}"
                yield self._at(given, "missing", "", text)
                continue
            key, one = names[given.name]
            if one.not_in_production:
                text = f"production has {given.name}, and the list says that it has not: {one.not_in_production}"
                yield self._at(given, "unknown", key, text)
            if one.dead:
                yield self._at(given, "dead", key, f"production has {given.name}, and nobody reads it: {one.dead}")
            elif here and given.name not in here and not one.not_here:
                yield self._at(given, "missing", key, f"production has {given.name}, and this stack gives it to nobody")
            if given.value and one.default is not None and not same(given.value, one.default):
                text = f"{given.name} is {given.value!r} in production, the list says {one.default!r}"
                yield self._at(given, "drifted", key, text)
        has = {given.name for given in produced}
        for name, (key, one) in names.items():
            if one.required and name not in has and not one.not_in_production:
                text = f"{name} is needed, and production ({self.production_file}) does not have it"
                yield self._here(key, name, "missing", text)


def compare(
    stack: str, listed: Listed, found: Found, production: Sequence[Given] | None = None, production_file: str = ""
) -> Report:
    """Compare a list with everything that was found.

    Args:
        stack: Name of the stack.
        listed: Its list.
        found: What stands in its compose files, settings, inventories and code.
        production: Names of the production list; None when there is none to compare with.
        production_file: How that list is called in messages.
    """
    findings = sorted(set(_Comparison(listed, found, production, production_file)))
    elsewhere: dict[str, int] = {}
    for key, component in listed.list.components.items():
        for name in component.names:
            readers = listed.readers(key, name)
            if readers and all(reader.elsewhere for reader in readers.values()):
                for reader in readers:
                    elsewhere[reader] = elsewhere.get(reader, 0) + 1
    compared = {
        "names": sum(len(component.names) for component in listed.list.components.values()),
        "services": len(found.services),
        "given": len(found.given),
        "filled_in": len(found.filled),
        "files_of_code": sum(code.files for code in found.code.values()),
        "production": len(production or ()),
    }
    return Report(stack, tuple(findings), compared, elsewhere)
