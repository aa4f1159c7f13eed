""".env: read and written here and nowhere else. Values are quoted so that a shell and compose read the same."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path

PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")


def parse(text: str) -> dict[str, str]:
    """Read the lines of a .env; comments and lines without `=` are skipped."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, raw = line.partition("=")
        if not equals or line.lstrip().startswith("#"):
            continue
        try:
            words = shlex.split(raw)
        except ValueError:
            words = [raw]
        values[name.strip()] = " ".join(words)
    return values


def read(path: Path) -> dict[str, str]:
    """Read a .env, empty when there is none."""
    try:
        return parse(path.read_text())
    except FileNotFoundError:
        return {}


def render(values: dict[str, str]) -> str:
    """Write values as the file's text, one key a line, in the order given."""
    lines = ["# Written by ./pithead from config.json: change that file and run ./pithead apply."]
    return "\n".join([*lines, *(f"{name}={quoted(value)}" for name, value in values.items())]) + "\n"


def quoted(value: str) -> str:
    """Quote a value when it needs it: single quotes keep everything but themselves."""
    if PLAIN.fullmatch(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file at once; nobody ever sees half of it, or a wider mode."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
