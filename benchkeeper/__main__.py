"""`python -m benchkeeper`: what `./bench` hands over to."""

from __future__ import annotations

import os
import sys
from typing import IO


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def open_what_is_closed() -> None:
    """Give every standard stream a file: the next file that is opened would get its number, and children would print into it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if not _is_open(number):
            # The lowest free number is this one, since all below are open by now.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def say_the_rest(stream: IO[str]) -> None:
    """Print what is not printed yet; where that cannot be, it changes nothing about how a command ended."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    open_what_is_closed()

    from benchkeeper.cli import main

    code = 4  # whatever ends without a code of its own has proven nothing
    try:
        code = main(sys.argv[1:])
    finally:
        say_the_rest(sys.stdout)
        say_the_rest(sys.stderr)
    sys.exit(code)
