"""`stacks/<name>/environment.yml`: which environment names the parts of a stack have, what for, and who reads them.

The list is the one place that knows; `coherence` compares it with compose files, inventories, settings files, code and a production
list. Reading it refuses what could never be compared, every mistake with its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from benchkeeper import located, schema
from benchkeeper.located import BrokenFileError, Mistake
from benchkeeper.schema import Strict, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FILE = "environment.yml"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("a name has letters, digits and _, and does not begin with a digit")
    return text


def _one_group(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"has one group, the name; this one has {groups}")
    return text


EnvName = Annotated[str, AfterValidator(_name)]
Pattern = Annotated[str, AfterValidator(_one_group)]
Texts = list[Text]


class Name(Strict):
    """One name of a component.

    Attributes:
        purpose: What it is for, one sentence.
        secret: Its value must stand in no file.
        required: Every service of the component is given it, also where its readers would take a default.
        default: Value that its readers take when nobody gives one.
        value: Value that this stack gives on purpose although it is not the default; `why` says the reason.
        readers: Who reads it, where that is not who reads the component's other names.
        dead: Nobody reads it any more, since when and why: it must be given nowhere.
        not_here: Why production has it and this stack does not give it.
        not_in_production: Why this stack has it and production does not.
    """

    purpose: Text
    secret: bool = False
    required: bool = False
    default: str | None = None
    value: str | None = None
    why: str = ""
    readers: list[Text] | None = None
    dead: str = ""
    not_here: str = ""
    not_in_production: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Name:
        wrong = {
            "a secret has neither default nor value": self.secret and (self.default is not None or self.value is not None),
            "a value that is not the default says why": self.value is not None and self.default is not None and not self.why,
            "what nobody reads is not required": self.required and bool(self.dead),
            "what is required is given here": self.required and bool(self.not_here),
        }
        told = [text for text, applies in wrong.items() if applies]
        if told:
            raise ValueError("; ".join(told))
        return self

    def spellings(self) -> tuple[str, ...]:
        """Return the values that may be written down for it; none when any may."""
        return tuple(value for value in (self.value, self.default) if value is not None)


class Component(Strict):
    """A part of the stack with an environment of its own.

    Attributes:
        purpose: What it is.
        services: Compose services that are it; usually one, two of a kind when there are several.
        filled_in: Its environment is what `${NAME}` in compose files is filled in from.
        readers: Who reads its names.
        names: Its names.
    """

    purpose: Text
    services: Texts = Field(default_factory=list)
    filled_in: bool = False
    readers: Texts = Field(default_factory=list)
    names: dict[EnvName, Name]


class Reader(Strict):
    """Who reads names: code of this tree, the compose files themselves, or somebody whose code is not here.

    Attributes:
        code: Shell patterns below the stack's folder.
        reads: Regular expressions with one group, the name, besides those that are known for everybody.
        ignore: Names that it reads and that are no setting of the stack: PATH, HOME ...
        compose: It is `${NAME}` in the compose files.
        elsewhere: Where its code is; nobody here can look whether it reads a name.
    """

    code: Texts = Field(default_factory=list)
    reads: list[Pattern] = Field(default_factory=list)
    ignore: list[EnvName] = Field(default_factory=list)
    compose: bool = False
    elsewhere: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Reader:
        if sum((bool(self.code), self.compose, bool(self.elsewhere))) != 1:
            raise ValueError("a reader has one of code, compose and elsewhere")
        return self


class Settings(Strict):
    """A file of `NAME=value` lines, the environment of a component; `complete`: nothing that is required may be missing.

    `names` is for code that writes such a file: a regular expression whose group is a name.
    """

    file: Text
    component: Text
    complete: bool = False
    names: Pattern | None = None


class Inventory(Strict):
    """Names in a YAML file: at the path `at` stands a mapping of names and values, or a list of names."""

    file: Text
    at: Text
    component: Text
    complete: bool = False


class Sources(Strict):
    """What is compared with the list; every file is a shell pattern below the stack's folder."""

    compose: Texts = Field(default_factory=list)
    settings: list[Settings] = Field(default_factory=list)
    inventories: list[Inventory] = Field(default_factory=list)

    def files(self) -> dict[str, Sequence[Settings | Inventory]]:
        """Return those that are the environment of a component, by their key."""
        return {"settings": self.settings, "inventories": self.inventories}


class Production(Strict):
    """Which components have the names of the production list, and where it is, if it is a file of this tree."""

    components: Annotated[list[Text], Field(min_length=1)]
    file: str = ""


class Environment(Strict):
    """The whole list."""

    components: Annotated[dict[str, Component], Field(min_length=1)]
    readers: Annotated[dict[str, Reader], Field(min_length=1)]
    sources: Sources = Sources()
    production: Production | None = None


@dataclass(frozen=True)
class Listed:
    """A list that can be compared.

    Attributes:
        list: What stands in it.
        document: The file, for lines.
    """

    list: Environment
    document: located.Document

    def line(self, component: str, name: str = "") -> int:
        """Return where a component, or a name of it, stands."""
        return self.document.line(("components", component, *(("names", name) if name else ())))

    def service(self, name: str) -> str:
        """Return the component that a compose service is; empty for none."""
        return next((key for key, one in self.list.components.items() if name in one.services), "")

    def readers(self, component: str, name: str) -> Mapping[str, Reader]:
        """Return who reads a name."""
        one = self.list.components[component]
        named = one.names[name].readers
        return {key: self.list.readers[key] for key in (one.readers if named is None else named)}


def _named(listed: Environment) -> Iterator[tuple[located.Place, str, str]]:
    """Yield (place, what it must be, name) for every reader and component that is referred to."""
    for key, component in listed.components.items():
        place: located.Place = ("components", key)
        yield from (((*place, "readers", number), "reader", one) for number, one in enumerate(component.readers))
        for name, entry in component.names.items():
            places = (*place, "names", name, "readers")
            yield from (((*places, number), "reader", one) for number, one in enumerate(entry.readers or []))
    for kind, sources in listed.sources.files().items():
        yield from ((("sources", kind, number, "component"), "component", one.component) for number, one in enumerate(sources))
    for number, name in enumerate(listed.production.components if listed.production else []):
        yield ("production", "components", number), "component", name


def _references(document: located.Document, listed: Environment) -> Iterator[Mistake]:
    """Yield what the list says of readers, components and services that it does not have."""
    known = {"reader": list(listed.readers), "component": list(listed.components)}
    for place, what, name in _named(listed):
        if name not in known[what]:
            yield document.mistake(place, f"no {what} {name}; there are {', '.join(known[what])}")
    owner: dict[str, str] = {}
    for key, component in listed.components.items():
        for number, service in enumerate(component.services):
            if owner.setdefault(service, key) != key:
                text = f"service {service} is in {owner[service]} already"
                yield document.mistake(("components", key, "services", number), text)
        for name, one in component.names.items():
            if not (component.readers if one.readers is None else one.readers) and not one.dead:
                yield document.mistake(("components", key, "names", name), f"{name}: nobody is said to read it")


def check(document: located.Document) -> list[Mistake]:
    """Return everything for which a list cannot be compared."""
    found = list(schema.mistakes(Environment, document))
    return found or list(_references(document, Environment.model_validate(document.data)))


def read(path: Path, name: str) -> Listed:
    """Read a list.

    Raises:
        BrokenFileError: with every mistake in it.
    """
    document = located.read(path, name)
    found = check(document)
    if found:
        raise BrokenFileError(found)
    return Listed(Environment.model_validate(document.data), document)
