"""`python -m benchkeeper`: what `./bench` hands over to."""

from __future__ import annotations

import io
import locale
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


def speak_utf8() -> None:
    """Give the programs that we start a locale: ansible-core and its like do not start without one in UTF-8.

    ``LC_ALL=C``, and a locale that a person's terminal brought along but this computer does not have, are usual on servers.
    """
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
        known = str(locale.getlocale()[1]).lower() in ("utf-8", "utf8")
    except (locale.Error, ValueError):
        known = False
    finally:
        locale.setlocale(locale.LC_ALL, before)
    if not known:
        for name in [name for name in os.environ if name.startswith("LC_")]:
            del os.environ[name]
        os.environ["LC_ALL"] = "C.UTF-8"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal cannot show stops nothing


def say_the_rest(stream: IO[str]) -> None:
    """Print what is not printed yet; where that cannot be, it changes nothing about how a command ended."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    open_what_is_closed()
    speak_utf8()

    from benchkeeper.cli import main

    code = 4  # whatever ends without a code of its own has proven nothing
    try:
        code = main(sys.argv[1:])
    finally:
        say_the_rest(sys.stdout)
        say_the_rest(sys.stderr)
    sys.exit(code)
