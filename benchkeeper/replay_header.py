"""The header of a replay: what it is about and how it may be run, as data inside of the program itself.

Any language: a block of comment lines between ``# /// replay`` and ``# ///`` (or ``//``, ``--``, ``;`` for ``#``), as PEP 723 has
it, holding YAML::

    # /// replay
    # issue: "2397"
    # bug_class: five causes, one message
    # timeout: 30
    # needs: shared
    # ///
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Annotated, Literal

from ansible_collections.benchkeeper.core.plugins.module_utils._check import SKIP_CLASSES
from pydantic import AfterValidator, Field, model_validator

from benchkeeper import located, schema
from benchkeeper.located import BrokenFileError, Mistake
from benchkeeper.schema import Strict, Text

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 3600  # seconds that a replay may take
_BEGIN = re.compile(r"[ \t]*(?P<mark>#|//|--|;)[ \t]*///[ \t]+replay[ \t]*\Z")


def _class(text: str) -> str:
    if text not in SKIP_CLASSES:
        raise ValueError(f"unknown class {text!r}; there are {', '.join(SKIP_CLASSES)}")
    return text


class Declared(Strict):
    """Why a replay is skipped, or is expected to fail.

    Attributes:
        kind: One of the classes of a skip.
        issue: Where it is written down what has to happen.
        expires: The last day on which it holds.
    """

    kind: Annotated[str, AfterValidator(_class)] = Field(alias="class")
    issue: Text
    expires: dt.date
    reason: str = ""


class ReplayHeader(Strict):
    """The header of a replay.

    Attributes:
        issue: The report of the bug.
        bug_class: What kind of bug it stands for.
        timeout: Seconds after which it has failed.
        needs: `exclusive`: nothing else runs; `own-tenant`: a tenant that no other replay uses; `shared`: anything.
        admin: False: the tenant of its own has no admin token.
        breaks: By part (`tenant`, `stub`, `edge`), the switches that bring the bug back.
        skip: It is not run.
        xfail: It is run and must fail; a pass is a failure.
    """

    issue: Text
    bug_class: Text
    timeout: Annotated[float, Field(gt=0, le=LONGEST)]
    needs: Literal["exclusive", "own-tenant", "shared"]
    admin: bool = True
    breaks: dict[Literal["tenant", "stub", "edge"], list[Text]] = Field(alias="break", default_factory=dict)
    skip: Declared | None = None
    xfail: Declared | None = None

    @model_validator(mode="after")
    def _one_of(self) -> ReplayHeader:
        if self.skip and self.xfail:
            raise ValueError("skip or xfail, not both")
        if not self.admin and self.needs != "own-tenant":
            raise ValueError("admin: false is said of a tenant of its own, so it needs: own-tenant")
        return self


def block(text: str, name: str) -> tuple[str, int]:
    """Return the YAML of a header and the number of lines before it.

    Raises:
        BrokenFileError: there is none, it has no end, or there are two.
    """
    lines = text.splitlines()
    begins = [(number, match["mark"]) for number, line in enumerate(lines) if (match := _BEGIN.match(line))]
    if not begins:
        raise BrokenFileError([Mistake(name, 1, "has no header: a comment block from `/// replay` to `///`")])
    if len(begins) > 1:
        raise BrokenFileError([Mistake(name, begins[1][0] + 1, f"a second header, the first begins in line {begins[0][0] + 1}")])
    first, mark = begins[0]
    inside: list[str] = []
    for number in range(first + 1, len(lines)):
        line = lines[number].strip()
        if not line.startswith(mark):
            break
        if line.removeprefix(mark).strip() == "///":
            return "\n".join(inside), first + 1
        inside.append(line.removeprefix(mark).removeprefix(" "))
    raise BrokenFileError([Mistake(name, first + 1, "the header has no end: a comment line `///`")])


def read(text: str, name: str, today: dt.date) -> ReplayHeader:
    """Read the header of a replay.

    Args:
        text: The whole replay.
        name: How it is called in messages.
        today: What an expiry is compared with.

    Raises:
        BrokenFileError: with every mistake in it. A skip or xfail that has expired is one.
    """
    inside, before = block(text, name)
    document = located.parse(inside, name, before)
    found = list(schema.mistakes(ReplayHeader, document))
    data = document.data if isinstance(document.data, dict) else {}
    for key in ("skip", "xfail"):
        until = data[key].get("expires") if isinstance(data.get(key), dict) else None
        if isinstance(until, dt.date) and until < today:
            found.append(document.mistake((key, "expires"), f"the {key} has expired on {until}"))
    if found:
        raise BrokenFileError(found)
    return ReplayHeader.model_validate(document.data)


def replays(folder: Path) -> list[Path]:
    """Return the replays of a folder, sorted: every file but helpers (`_...`, conftest.py), pages and hidden ones."""
    files = (path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else ()
    return sorted(path for path in files if not path.name.startswith(("_", ".", "conftest.")) and path.suffix != ".md")
