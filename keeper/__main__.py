"""Entry point of the zipapp and of ``python -m keeper``."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

INSTALLED = "/usr/local/lib/benchkeeper/keeper"
CACHE = "/run/benchkeeper"
LOOKING = ("status", "explain", "version", "evidence")
UNIT_RUN_WORDS = 3


def only_looks(arguments: list[str]) -> bool:
    """Return whether a command line asks for a look, which leaves no trace: no directory, no byte code."""
    words = arguments[1:] if arguments[:1] == ["call"] else arguments
    return bool(words) and words[0] in LOOKING


def unpacked(archive: str, *, make: bool = True) -> str:
    """Return a directory with the program's modules, made at its first start after a boot unless ``make`` is false.

    Python keeps no byte code of what it imports from an archive, and compiling takes longer than most calls. The directory is
    root's alone, in memory, and named after the very file it was made from; without it the archive itself serves.
    """
    # Path would cost as much as all this saves.
    if os.geteuid() != 0 or os.path.realpath(archive) != INSTALLED:
        return archive
    found = os.stat(archive)  # noqa: PTH116
    place = f"{CACHE}/{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"
    if make:
        with contextlib.suppress(OSError):  # there already, or there can be none
            os.mkdir(CACHE, 0o700)  # noqa: PTH102
    try:
        above = os.lstat(CACHE)
    except OSError:
        return archive
    if not stat.S_ISDIR(above.st_mode) or above.st_uid != 0 or above.st_mode & 0o077:
        return archive
    if make and not os.path.isdir(place):  # noqa: PTH112
        with contextlib.suppress(OSError):
            _unpack(archive, place)
    return place if os.path.isdir(place) else archive  # noqa: PTH112


def _unpack(archive: str, place: str) -> None:
    import shutil  # noqa: PLC0415 - only after a boot or an update
    import tempfile  # noqa: PLC0415
    import zipfile  # noqa: PLC0415

    for old in os.listdir(CACHE):  # noqa: PTH208
        if not old.startswith("new-") and f"{CACHE}/{old}" != place:  # another one may be unpacking at this moment
            shutil.rmtree(f"{CACHE}/{old}", ignore_errors=True)
    temporary = tempfile.mkdtemp(dir=CACHE, prefix="new-")
    try:
        with zipfile.ZipFile(archive) as program:
            program.extractall(temporary)
        os.rename(temporary, place)  # noqa: PTH104
    except OSError:  # no space, or another one was faster
        shutil.rmtree(temporary, ignore_errors=True)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def open_what_is_closed() -> None:
    """Give every standard stream a file: the next file that is opened would get its number, and be printed into."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    open_what_is_closed()
    looking = only_looks(sys.argv[1:])
    sys.dont_write_bytecode = sys.dont_write_bytecode or looking
    sys.path[0] = unpacked(sys.path[0], make=not looking)

    if sys.argv[1:2] == ["unit-run"] and len(sys.argv) == UNIT_RUN_WORDS:  # the program of every guarded command needs no more
        from keeper.unit_run import main as unit_run

        sys.exit(unit_run(sys.argv[2]))

    from keeper.cli import main

    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:  # what was done is done, whether anybody can be told or not
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
