"""Words to the person: messages on stdout, warnings and errors on stderr, colour only on a terminal that wants it."""

from __future__ import annotations

import os
import sys
from typing import TextIO


class Refusal(Exception):
    """The verb ends with a message and an exit code; nothing was changed unless the message says so."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class _Streams:
    """Where information goes: `doctor --json` keeps stdout for its document."""

    information: TextIO | None = None


def info(message: str) -> None:
    """Say what happens."""
    print(f"[pithead] {message}", file=_Streams.information or sys.stdout, flush=True)


def warning(message: str) -> None:
    """Say what is not quite right."""
    print(_tinted("33", "[WARNING]") + f" {message}", file=sys.stderr, flush=True)


def error(message: str) -> None:
    """Say what went wrong."""
    print(_tinted("31", "[ERROR]") + f" {message}", file=sys.stderr, flush=True)


def information_to_stderr() -> None:
    """Send information to stderr from now on."""
    _Streams.information = sys.stderr


def confirmed(question: str, expected: str = "y") -> bool:
    """Ask on a terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} ").strip() == expected


def _tinted(colour: str, text: str) -> str:
    return f"\033[{colour}m{text}\033[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else text
