"""Environment names in settings files, in YAML files such as inventories, and in production lists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils import _dotenv, _jsonpath

from benchkeeper import located
from benchkeeper.env_found import Given
from benchkeeper.environment import NAME
from benchkeeper.located import BrokenFileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _raw(document: located.Document, place: located.Place) -> str | None:
    """Return a value as it is written: `true` stays `true`; None for no value."""
    node = document.at(place)
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        return None
    return str(node.value)


def _named(found: Iterable[Given]) -> list[Given]:
    """Return what was found; what is no name is refused without its text, it may be a secret that stands in the wrong place."""
    names = list(found)
    wrong = [Mistake(one.file, one.line, "not a name") for one in names if not NAME.fullmatch(one.name)]
    if wrong:
        raise BrokenFileError(wrong)
    return names


def environment(document: located.Document, place: located.Place) -> list[Given]:
    """Return the names of a mapping, or of a list of `NAME=value` and `NAME`.

    Raises:
        BrokenFileError: it is neither.
    """
    data = document.data
    for step in place:
        data = data[step]
    if isinstance(data, dict):
        places = {name: (*place, name) for name in data}
        return _named(Given(str(name), _raw(document, at), document.name, document.line(at)) for name, at in places.items())
    if isinstance(data, list) and all(isinstance(one, str) for one in data):
        parts = [(number, *one.partition("=")) for number, one in enumerate(data)]
        return _named(
            Given(name, value if equals else None, document.name, document.line((*place, number)))
            for number, name, equals, value in parts
        )
    if data is not None:
        raise BrokenFileError([document.mistake(place, "an environment is a mapping or a list of NAME=value")])
    return []


def lines(text: str, name: str, *, bare: bool = False) -> list[Given]:
    """Return the names of a settings file; with `bare` a line may also be a name alone, as in a list of names.

    Raises:
        BrokenFileError: lines that are neither; their text is not told, it may be a secret.
    """
    parsed = _dotenv.parse(text)
    rows = text.splitlines()
    found = [Given(key, one.value, name, text.count("\n", 0, one.start) + 1) for key, one in parsed.entries.items()]
    broken = []
    for number in parsed.bad_lines:
        word = rows[number - 1].partition("#")[0].strip()
        if bare and NAME.fullmatch(word):
            found.append(Given(word, None, name, number))
        else:
            broken.append(Mistake(name, number, "not a line NAME=value" + (" or NAME" if bare else "")))
    if broken:
        raise BrokenFileError(broken)
    return _named(found)


def written(text: str, name: str, pattern: str) -> Iterator[Given]:
    """Yield the names that code writes, each where it stands first."""
    seen = set()
    for match in re.finditer(pattern, text):
        if match[1] not in seen:
            seen.add(match[1])
            yield Given(match[1], None, name, text.count("\n", 0, match.start(1)) + 1)


def _at(document: located.Document, text: str) -> list[located.Place]:
    """Return the places that a path names: keys, indexes and `[]` for all.

    Raises:
        BrokenFileError: nothing is there.
    """
    found: list[tuple[located.Place, Any]] = [((), document.data)]
    for step in _jsonpath.parse(text):
        below: list[tuple[located.Place, Any]] = []
        for place, data in found:
            if isinstance(step, _jsonpath.Each):
                keys: Iterable[Any] = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
            else:
                there = step in data if isinstance(data, dict) else isinstance(data, list) and step in range(len(data))
                keys = [step] if there else []
            below += [((*place, key), data[key]) for key in keys]
        found = below
    if not found:
        raise BrokenFileError([document.mistake((), f"has nothing at {text}")])
    return [place for place, _data in found]


def inventory(document: located.Document, at: str) -> list[Given]:
    """Return the names at a path of a YAML file."""
    return [one for place in _at(document, at) for one in environment(document, place)]


def production(text: str, name: str) -> list[Given]:
    """Return the names of a production list: lines `NAME` or `NAME=value`, or YAML or JSON, a list or a mapping.

    Raises:
        BrokenFileError: it is none of these, or empty.
    """
    if name.endswith((".yml", ".yaml", ".json")) or text.lstrip().startswith(("{", "[")):
        found = environment(located.parse(text, name), ())
    else:
        found = lines(text, name, bare=True)
    if not found:
        raise BrokenFileError([Mistake(name, 1, "names nothing")])
    return found
