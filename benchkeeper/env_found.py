"""What was found of environment names, as data. Made by `env_sources` and what it reads with, judged by `coherence`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Given:
    """A name that something is given.

    Attributes:
        name: The name.
        value: Its value as it is written; None when only the name stands there.
        file: How the file is called in messages.
        line: Where, counted from 1.
        service: Compose service; empty for other sources.
        component: Component it is for; empty when the service is in none.
    """

    name: str
    value: str | None
    file: str
    line: int
    service: str = ""
    component: str = ""


@dataclass(frozen=True)
class Filled:
    """A `${NAME}` in a compose file; `default` is what stands behind `:-`, None without."""

    name: str
    default: str | None
    file: str
    line: int


@dataclass(frozen=True)
class Asked:
    """A name that code reads, with the default it has there."""

    name: str
    default: str | None
    file: str
    line: int


@dataclass(frozen=True)
class Code:
    """What a reader's code does: names it asks for, and every word in it that could be a name."""

    asked: tuple[Asked, ...]
    words: frozenset[str]
    files: int


@dataclass(frozen=True)
class Source:
    """A file that is the environment of a component, and whether it must have all of it."""

    file: str
    component: str
    complete: bool
    names: frozenset[str]


@dataclass
class Found:
    """All that stands anywhere.

    Attributes:
        given: Names with values.
        filled: Places in compose files.
        services: (service, file) and the line of its environment.
        sources: Settings files and inventories.
        code: By reader.
    """

    given: list[Given] = field(default_factory=list)
    filled: list[Filled] = field(default_factory=list)
    services: dict[tuple[str, str], int] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    code: dict[str, Code] = field(default_factory=dict)
