"""`./bench validate`: the files of a stack read as a run would read them, every mistake named with its line.

Three layers, each for what the one before cannot say: the schemas (shape and types), the readers' own refusals piece by piece with
what refers to what, and at last the readers themselves on the whole.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils import _run_context

from benchkeeper import env_sources, environment, located, replay_header, schema, stack_checks, stack_schema
from benchkeeper.errors import UsageError
from benchkeeper.located import BrokenFileError, Document, Mistake
from benchkeeper.stack_readers import Readers, listing, mapping, steps

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchkeeper.located import Place
    from benchkeeper.paths import Paths

SCHEMA = 1
MODELS: dict[str, Any] = {
    "profile": stack_schema.Profile,
    "exercise": stack_schema.Exercise,
    "posture": stack_schema.Posture,
    "faults": stack_schema.Faults,
    "checks": stack_schema.Checks,
    "embedded": stack_schema.Embedded,
    "environment": environment.Environment,
    "replay": replay_header.ReplayHeader,
}
_LACKS = re.compile(r"lacks (\S+)\Z")
# What the run context has besides what `build` makes; module run_context adds it.
_ADDED = ("posture", "binding_blobs", "stack_dir", "results", "work", "repo", "origin", "pool_host", "owner_id", "state_file")
# What checks see besides: verdicts.judge_look adds it.
_JUDGED = ("before", "look")


@dataclass
class _Examined:
    """One stack while it is examined."""

    folder: Path
    top: Path
    today: dt.date
    mistakes: list[Mistake] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def name(self, path: Path) -> str:
        return env_sources.shown(path, self.top)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def document(self, path: Path) -> Document | None:
        """Return a YAML file; None when it is not there or cannot be read, which is told."""
        if not path.is_file():
            return None
        self.count("files")
        try:
            return located.read(path, self.name(path))
        except BrokenFileError as error:
            self.mistakes += error.mistakes
            return None

    def shape(self, document: Document | None, model: Any) -> None:
        """Judge a document by its schema; what a reader lacks is told in the reader's words."""
        if document is None:
            return
        if document.data is None:
            self.mistakes.append(document.mistake((), "is empty"))
            return
        for one in schema.mistakes(model, document, skip=stack_schema.OP_ERRORS):
            found = _LACKS.search(one.text)
            file = document.name.rpartition("/")[2]
            whole = found is not None and one.text == found[0] and file in ("profile.yml", "exercise.yml")
            words = _run_context.lacks(found[1], file) if found and whole else one.text
            self.mistakes.append(Mistake(one.file, one.line, words))

    # Files

    def run(self) -> None:
        """Examine everything."""
        profile = self.document(self.folder / "profile.yml")
        exercise = self.document(self.folder / "exercise.yml")
        posture = self.document(self.folder / "posture.yml")
        faults = self.document(self.folder / "faults.yml")
        self.shape(profile, stack_schema.Profile)
        self.shape(exercise, stack_schema.Exercise)
        self.shape(posture, stack_schema.Posture)
        self.shape(faults, stack_schema.Faults)
        ids = stack_checks.Ids(open=exercise is None)
        known = stack_checks.Known()
        if profile is not None and isinstance(profile.data, dict):
            known = self._driven(profile, exercise, posture)
        elif exercise is not None and not (self.folder / "profile.yml").is_file():
            self.mistakes.append(exercise.mistake((), "is there without a profile.yml"))
        if posture is not None:
            self.mistakes += stack_checks.posture(posture)
        self._ids_of_steps(exercise, ids)
        self._checks(known, ids)
        self._planted(ids)
        self._replays()
        listed = self.document(self.folder / environment.FILE)
        if listed is not None:
            self.mistakes += environment.check(listed)
        self._embedded()

    def _driven(self, profile: Document, exercise: Document | None, posture: Document | None) -> stack_checks.Known:
        """Ask the readers of profile and exercise; return what checks may refer to."""
        data = profile.data
        if isinstance(data.get("name"), str) and data["name"] != self.folder.name:
            text = f"the name is the folder's, {self.folder.name}, not {data['name']}"
            self.mistakes.append(profile.mistake(("name",), text))
        if exercise is None:
            if not (self.folder / "exercise.yml").is_file():
                self.mistakes.append(profile.mistake((), "is there without an exercise.yml"))
        elif not isinstance(exercise.data, dict):
            exercise = None
        readers = Readers(profile, exercise)
        self.mistakes += readers.mistakes()
        seen = {kind: frozenset(map(str, readers.looked(kind))) for kind in stack_checks.KINDS}
        probes = {**seen, "bench": seen["bench"] | frozenset(map(str, mapping(data, "binding")))}
        demanded = posture.data if posture is not None else {} if not (self.folder / "posture.yml").is_file() else None
        if exercise is None:
            return stack_checks.Known(probes, posture=demanded)
        return stack_checks.Known(probes, stack_checks.looks(exercise), self._built(profile, exercise), demanded)

    def _built(self, profile: Document, exercise: Document) -> frozenset[str] | None:
        """Build run contexts as a run does, for what no schema said; return the keys of one, None when it cannot be built."""
        miner = bool(mapping(profile.data, "hosts", "miner"))
        keys: frozenset[str] | None = None
        for mode in ("targeted", "journal") if mapping(exercise.data).get("journal") else ("targeted",):
            names = ["miner-0"] if miner else []
            asked: dict[str, Any] = {"branch": "main", "stack": self.folder.name, "mode": mode, "bench": "bench-0", "miners": names}
            asked |= {"worker_names": {name: name for name in names}, "workers": len(names), "keep": False, "ttl": 120, "wait": 0}
            asked |= {"run_id": "20260101T000000Z-000000", "commit": "0" * 40, "time_scale": 1.0}
            try:
                run = _run_context.build(asked, profile.data, exercise.data, {})
            except _run_context.UsageError as error:
                document = exercise if "exercise.yml" in str(error) else profile
                found = _LACKS.search(str(error))
                place = tuple(found[1].split(".")) if found else ()
                if not any(one.text == str(error) for one in self.mistakes) and (found or not self.mistakes):
                    self.mistakes.append(document.mistake(place, str(error)))
                return None
            except (TypeError, KeyError, AttributeError, ValueError, IndexError) as error:
                if not self.mistakes:
                    self.mistakes.append(profile.mistake((), f"no run can be made of it: {type(error).__name__}: {error}"))
                return None
            keys = frozenset((*run, *_ADDED, *_JUDGED))
        return keys

    def _ids_of_steps(self, exercise: Document | None, ids: stack_checks.Ids) -> None:
        for _key, place, step in steps(exercise) if exercise is not None else ():
            self.count("steps")
            if isinstance(step.get("id"), str) and exercise is not None:
                # Twice in the exercise itself was told by its reader.
                ids.first.setdefault(step["id"], exercise.mistake((*place, "id"), step["id"]))

    def _checks(self, known: stack_checks.Known, ids: stack_checks.Ids) -> None:
        folder = self.folder / "checks"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix == ".yml":
                document = self.document(path)
                ids.open = ids.open or document is None
                if document is not None:
                    self.shape(document, stack_schema.Checks)
                    self.count("checks", len(document.data) if isinstance(document.data, list) else 0)
                    self.mistakes += stack_checks.data_checks(document, known, ids)
            elif path.suffix == ".py":
                self.count("files")
                self.mistakes += stack_checks.code_checks(path, self.name(path), known, ids)
            elif path.is_file() and not path.name.startswith("."):
                self.mistakes.append(Mistake(self.name(path), 1, "is not read: checks are *.yml and *.py"))

    def _planted(self, ids: stack_checks.Ids) -> None:
        folder = self.folder / "planted"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix != ".patch":
                if path.is_file() and not path.name.startswith(".") and path.suffix != ".md":
                    self.mistakes.append(Mistake(self.name(path), 1, "is not read: planted bugs are *.patch"))
                continue
            self.count("planted bugs")
            # As `planted` reads it: a diff may hold what is no text.
            text = path.read_text(encoding="utf-8", errors="replace")
            self.mistakes += stack_checks.planted_header(text, self.name(path), ids)

    def _replays(self) -> None:
        for path in replay_header.replays(self.folder / "replays"):
            self.count("replays")
            name = self.name(path)
            if not path.name.startswith("test_") and not path.stat().st_mode & stat.S_IXUSR:
                self.mistakes.append(Mistake(name, 1, "is not executable, and no test_*.py"))
            try:
                replay_header.read(located.read_text(path, name), name, self.today)
            except BrokenFileError as error:
                self.mistakes += error.mistakes

    def _embedded(self) -> None:
        document = self.document(self.folder / "embedded.yml")
        if document is None:
            return
        self.shape(document, stack_schema.Embedded)
        there = sorted(path.parent.name for path in (self.folder / "images").glob("*/Dockerfile"))
        for name in mapping(document.data, "groups"):
            place: Place = ("groups", name)
            for number, image in enumerate(listing(document.data, *place, "images")):
                called = image.get("image") if isinstance(image, dict) else None
                if isinstance(called, str) and called not in there:
                    why = f"there is no image {called}; there are {', '.join(there) or 'none'}"
                    self.mistakes.append(document.mistake((*place, "images", number), why))
            for number, step in enumerate(listing(document.data, *place, "steps")):
                for kind in ("file", "tree"):
                    source = mapping(step, kind).get("src")
                    if isinstance(source, str) and not (self.folder / "embedded" / source).exists():
                        text = f"embedded/{source} is not there"
                        self.mistakes.append(document.mistake((*place, "steps", number), text))


@dataclass(frozen=True)
class Examination:
    """What was found in one stack: mistakes sorted by file and line, and how much was looked at."""

    stack: str
    mistakes: tuple[Mistake, ...]
    counts: dict[str, int]

    def as_data(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "stack": self.stack,
            "valid": not self.mistakes,
            "mistakes": [vars(one) for one in self.mistakes],
            "read": self.counts,
        }

    def told(self) -> str:
        """Return its last line for a person."""
        read = ", ".join(f"{number} {what}" for what, number in self.counts.items())
        count = len(self.mistakes)
        found = "no mistakes" if not count else "1 mistake" if count == 1 else f"{count} mistakes"
        return f"{self.stack}: {found} ({read})"


def examine(folder: Path, top: Path, today: dt.date) -> Examination | None:
    """Examine one stack; return None when it has nothing to examine.

    Args:
        folder: Its folder.
        top: The checkout, from which files are called.
        today: What the expiry of skips is compared with.
    """
    examined = _Examined(folder, top, today)
    examined.run()
    if not examined.counts:
        return None
    return Examination(folder.name, tuple(sorted(set(examined.mistakes))), examined.counts)


def print_schema(name: str) -> int:
    """Print the JSON schema of one kind of file, for an editor."""
    if name not in MODELS:
        raise UsageError(f"no schema {name[:40]!a}; there are {', '.join(MODELS)}")
    print(json.dumps(schema.adapter(MODELS[name]).json_schema(by_alias=True), indent=1, sort_keys=True))
    return 0


def run(paths: Paths, stacks: Iterable[str], *, as_json: bool) -> int:
    """Examine stacks and print every mistake; 0 when there is none, 2 otherwise.

    Args:
        paths: The checkout.
        stacks: Names of their folders; none means all that have something to examine.
        as_json: Print a document for programs instead.

    Raises:
        UsageError: a stack that was named, or every one, has nothing to examine.
    """
    today = dt.datetime.now(tz=dt.timezone.utc).date()
    named = list(stacks)
    found = []
    for name in named or paths.stack_folders():
        one = examine(paths.stacks / name, paths.root, today)
        if one is None and named:
            raise UsageError(f"{env_sources.shown(paths.stacks / name, paths.root)} has nothing to validate")
        found += [one] if one else []
    if not found:
        raise UsageError("there is no stack")
    if as_json:
        print(json.dumps({"schema": SCHEMA, "stacks": [one.as_data() for one in found]}, indent=1))
    else:
        for one in found:
            for mistake in one.mistakes:
                print(mistake)
            print(one.told())
    return 2 if any(one.mistakes for one in found) else 0
