"""Environment names in compose files: what each service is given, and every `${NAME}` that is filled in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from benchkeeper import env_settings, located
from benchkeeper.env_found import Filled, Found, Given
from benchkeeper.located import BrokenFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PLACE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*))")


def places(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield (name, default) for each place that compose fills in, those inside of defaults too; `$$` is a dollar."""
    position = 0
    while match := _PLACE.search(text, position):
        position = match.end()
        if match["plain"]:
            yield match["plain"], None
        if not match["name"]:
            continue
        end = _closing(text, match.end("name"))
        inner = text[match.end("name") : end]
        default = inner.removeprefix(":").removeprefix("-") if re.match(r":?-", inner) else None
        yield match["name"], default
        yield from places(inner)
        position = end


def _closing(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return len(text)


def literal(value: str) -> tuple[str, ...]:
    """Return what a value is known to be without its surroundings: itself, or the default of a place that is all of it."""
    found = list(places(value))
    if not found:
        return (value.replace("$$", "$"),)
    whole = re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*:?-([^{}$]*)\}", value)
    return (whole[1],) if whole else ()


def _scalars(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for element in node.value:
            yield from _scalars(element, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(key, seen)
            yield from _scalars(value, seen)


def _line_of(node: yaml.ScalarNode, name: str, lines: list[str]) -> int:
    """Return the line in which a place stands in a text of several lines."""
    first, last = node.start_mark.line, min(node.end_mark.line, len(lines) - 1)
    place = re.compile(rf"\$\{{?{name}(?![A-Za-z0-9_])")
    return next((number for number in range(first, last + 1) if place.search(lines[number])), first) + 1


def filled_in(document: located.Document) -> Iterator[Filled]:
    """Yield the places of a compose file; what is written once and used again by an anchor is one place."""
    lines = document.text.splitlines() or [""]
    for node in _scalars(document.node, set()):
        for name, default in places(node.value):
            yield Filled(name, default, document.name, _line_of(node, name, lines))


def _mapping(document: located.Document, *place: Any) -> dict[Any, Any]:
    data = document.data
    for step in place:
        data = data.get(step) if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise BrokenFileError([document.mistake(place, f"lacks a mapping {'.'.join(map(str, place))}".rstrip())])
    return data


def _env_files(document: located.Document, service: str, folder: Path) -> Iterator[Path]:
    """Yield the settings files that a service is given as a whole, those that are there."""
    named = document.data["services"][service].get("env_file") or []
    for one in [named] if isinstance(named, (str, dict)) else named:
        path = folder / str(one.get("path", "") if isinstance(one, dict) else one)
        if path.is_file():
            yield path


def read(path: Path, name: str, top: Path) -> Found:
    """Read a compose file: what each service is given, and every place in it."""
    document = located.read(path, name)
    given: list[Given] = []
    services = {}
    for service in _mapping(document, "services"):
        place: located.Place = ("services", service)
        one = _mapping(document, *place)
        services[(str(service), name)] = document.line((*place, "environment"))
        found = env_settings.environment(document, (*place, "environment")) if "environment" in one else []
        for file in _env_files(document, service, path.parent):
            called = str(file.relative_to(top)) if file.is_relative_to(top) else str(file)
            found += env_settings.lines(located.read_text(file, called), called)
        given += [replace(each, service=str(service)) for each in found]
    return Found(given, list(filled_in(document)), services)
