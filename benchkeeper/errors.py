"""What can go wrong on the controller, each with the exit code that `./bench` ends with."""

from __future__ import annotations

from typing import ClassVar


class BenchError(Exception):
    """Something failed that has no better word; exit code 1. The message is for a person and holds no secret."""

    exit_code: ClassVar[int] = 1


class UsageError(BenchError):
    """The caller typed something wrong; nothing was changed."""

    exit_code: ClassVar[int] = 2


class UnfitError(BenchError):
    """This computer or its bench cannot be used as it stands."""

    exit_code: ClassVar[int] = 3


class BusyError(BenchError):
    """Somebody else holds what was asked for."""

    exit_code: ClassVar[int] = 75
