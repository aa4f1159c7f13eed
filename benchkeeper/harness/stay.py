"""A harness that stays: brought up and proven, or taken down again with what its services printed kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchkeeper.errors import BenchError
from benchkeeper.harness import gate, life, seed, suite

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchkeeper.paths import Paths


class StoppedError(BenchError):
    """Somebody asked to stop before it was up; nothing is there."""


def bring_up(paths: Paths, wish: life.Wish, stop: Callable[[], bool] = lambda: False, *, seeded: bool = False) -> life.Harness:
    """Bring a harness up that stays.

    Args:
        paths: The checkout.
        wish: The harness.
        stop: Asked again and again: whether to give up.
        seeded: Whether it is seeded, too.

    Raises:
        LeftError: It did not come up, and something is left of it.
        BenchError: It did not come up, and nothing is left.
    """
    harness = life.begin(paths, wish, stop)
    why, up = "", False
    try:
        with life.engine_needed():
            found = harness.up()
            gate.wait_until_reachable(found)
            gate.check(harness)
            if seeded:
                seed.seed(found)
        if stop():
            raise StoppedError("it was asked to stop")
        up = True
    except BenchError as error:
        why = str(error)
        if stop():  # which is why it did not come up
            raise StoppedError(why) from error
        raise
    finally:
        if up:
            harness.keep()
        else:
            harness.save_logs(suite.results_of(paths, harness.run.lease.run) / "services")
            left = harness.down()
            if left:
                raise life.LeftError("; ".join(part for part in (why, *left) if part))
    return harness
