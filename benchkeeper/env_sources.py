"""Where environment names stand: reads every file that a list names. Judges nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ansible_collections.benchkeeper.core.plugins.module_utils import _jsonpath

from benchkeeper import env_code, env_compose, env_settings, located
from benchkeeper.env_found import Found, Source
from benchkeeper.environment import Settings
from benchkeeper.located import BrokenFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchkeeper.environment import Inventory, Listed
    from benchkeeper.located import Mistake, Place


def shown(path: Path, top: Path) -> str:
    """Return how a file is called in messages: from the top of the checkout, where it is in there."""
    return str(path.relative_to(top)) if path.is_relative_to(top) else str(path)


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files that a shell pattern finds below a folder, sorted; `../` leads out of it."""
    while pattern.startswith("../"):
        folder, pattern = folder.parent, pattern[3:]
    if not pattern or pattern.startswith("/"):
        return []
    return sorted(path for path in folder.glob(pattern) if path.is_file() and "__pycache__" not in path.parts)


@dataclass
class _Gatherer:
    listed: Listed
    folder: Path
    top: Path
    found: Found = field(default_factory=Found)
    broken: list[Mistake] = field(default_factory=list)

    def files(self, place: Place, pattern: str) -> list[tuple[Path, str]]:
        """Return the files of a pattern of the list; none is a mistake: a misspelled one would be green for ever."""
        files = [(path, shown(path, self.top)) for path in matching(self.folder, pattern)]
        if not files:
            self.broken.append(self.listed.document.mistake(place, f"no file is {pattern}"))
        return files

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Note what is wrong with one file and go on to the next."""
        try:
            yield
        except BrokenFileError as error:
            self.broken += error.mistakes

    def compose(self) -> None:
        """Read the compose files."""
        for number, pattern in enumerate(self.listed.list.sources.compose):
            for path, name in self.files(("sources", "compose", number), pattern):
                with self.reading():
                    read = env_compose.read(path, name, self.top)
                    self.found.given.extend(replace(one, component=self.listed.service(one.service)) for one in read.given)
                    self.found.filled.extend(read.filled)
                    self.found.services.update(read.services)

    def settings(self) -> None:
        """Read the settings files and the inventories."""
        for kind, ones in self.listed.list.sources.files().items():
            for number, one in enumerate(ones):
                for path, name in self.files(("sources", kind, number, "file"), one.file):
                    with self.reading():
                        self._take(one, path, name, ("sources", kind, number, "at"))

    def _take(self, one: Settings | Inventory, path: Path, name: str, place: Place) -> None:
        if isinstance(one, Settings):
            text = located.read_text(path, name)
            given = list(env_settings.written(text, name, one.names)) if one.names else env_settings.lines(text, name)
        else:
            try:
                given = env_settings.inventory(located.read(path, name), one.at)
            except _jsonpath.PathError as error:
                raise BrokenFileError([self.listed.document.mistake(place, str(error))]) from None
        self.found.given.extend(replace(each, component=one.component) for each in given)
        self.found.sources.append(Source(name, one.component, one.complete, frozenset(each.name for each in given)))

    def code(self) -> None:
        """Read the readers' code."""
        for key, reader in self.listed.list.readers.items():
            files = [pair for number, one in enumerate(reader.code) for pair in self.files(("readers", key, "code", number), one)]
            if reader.code:
                self.found.code[key] = env_code.read(files, reader)


def gather(listed: Listed, folder: Path, top: Path) -> Found:
    """Read everything that a list names.

    Args:
        listed: The list.
        folder: The stack's folder.
        top: The checkout, from which files are called.

    Raises:
        BrokenFileError: with the mistakes of every file that cannot be read.
    """
    gatherer = _Gatherer(listed, folder, top)
    gatherer.compose()
    gatherer.settings()
    gatherer.code()
    if gatherer.broken:
        raise BrokenFileError(gatherer.broken)
    return gatherer.found
