"""What a person asked for, validated: the only form in which wishes travel from the command line to the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class E2EOptions:
    """One run of `./bench e2e`.

    Attributes:
        branch: Validated branch name.
        commit: Full commit id in the bench's repository; empty when the bench fetches its own origin (live).
        stack: Folder name below `stacks/`.
        mode: `check`, `targeted`, or `journal`: every kind of change and no check, for the crash tier to kill.
        miners: Inventory host names to borrow, unique, in the order given; empty for none.
        workers: Distinct workers the bench must see mining; None means as many as were borrowed.
        keep: Leave everything as the run made it until `ttl` is over or somebody recovers it.
        ttl: Seconds a lease lives without a sign of life; None means the default.
        wait: Seconds to wait for a lease that somebody else holds.
        extra: Further validated variables (`-e K=V`).
        inventory: Absolute path of the inventory.
        embedded: The inventory is the embedded bench of this checkout.
        verbose: How often `-v` was given.
    """

    branch: str
    commit: str
    stack: str
    mode: str
    miners: tuple[str, ...]
    workers: int | None
    keep: bool
    ttl: int | None
    wait: int
    inventory: Path
    embedded: bool = True
    extra: dict[str, str] = field(default_factory=dict)
    verbose: int = 0


@dataclass(frozen=True)
class RecoverOptions:
    """One run of `./bench recover`.

    Attributes:
        hosts: Inventory host names to recover; empty means every host of the run, or of the inventory without a run.
        run_id: The run to recover; None means whatever is left over.
        force: Overrule a holder that is still alive (needs `run_id`).
        inventory: Absolute path of the inventory; None means the one the run was started with.
        verbose: How often `-v` was given.
    """

    hosts: tuple[str, ...]
    run_id: str | None
    force: bool
    inventory: Path | None
    verbose: int = 0


@dataclass(frozen=True)
class PlantedOptions:
    """`./bench planted`: which planted bugs to prove red; empty `patches` means every one of the stack."""

    patches: tuple[Path, ...]
    stack: str
    verbose: int = 0


@dataclass(frozen=True)
class SignalsOptions:
    """`./bench signals`: how many random moments, and the seed that makes them the same again."""

    count: int
    seed: int | None
    stack: str
    verbose: int = 0


@dataclass(frozen=True)
class CrashOptions:
    """One call of `./bench crash`.

    Attributes:
        random: How many runs are killed at random moments.
        world: Whether the world fails: reboots, a pulled cable, a paused controller.
        borrowers: How often two borrowers race.
        seed: Makes it the same again; None draws one.
        stack: Folder name below `stacks/`.
        sweep: Boundaries of each kind of change to strike at; None for no sweep, 0 for every one.
        cases: Names of cases of the battery.
    """

    random: int
    world: bool
    borrowers: int
    seed: int | None
    stack: str
    sweep: int | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConformOptions:
    """One call of `./bench conform`.

    Attributes:
        recording: The recording, a file that exists.
        kind: Kind of tenant: `builtin`, `image`, `binary`, `url`.
        target: Image, path of the program or URL; empty for the kind's own.
        as_seed: Everything is the recorded version, with all that was wrong with it.
        json: The result is for a program.
        install: What is missing on this computer may be installed.
    """

    recording: Path
    kind: str
    target: str
    as_seed: bool
    json: bool
    install: bool


@dataclass(frozen=True)
class TestOptions:
    """`./bench test`: which levels to run, in this order; empty means all."""

    levels: tuple[str, ...]
    verbose: int = 0
