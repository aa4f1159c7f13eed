"""Ways in which the keeper could be wrong, each with the case that notices: a case that stays green would prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from keeper import hold, item_file, late, restore
from keeper.core import BEFORE, GuardedRun, Keeper
from keeper.store import RunDir, Store
from tests.unit.keeper import memory, test_acquire, test_crash, test_fence, test_late_writes, test_simulation, test_triggers
from tests.unit.keeper.bench import Bench

if TYPE_CHECKING:
    from pathlib import Path

Patch = pytest.MonkeyPatch


def no_sync_of_the_journal(patch: Patch) -> None:
    """What stands in the journal may be lost after what it announces has happened."""
    sync = memory.MemoryDirectory.sync

    def lazy(self: Any, name: str = "") -> None:
        if name != "journal.jsonl":
            sync(self, name)

    patch.setattr(memory.MemoryDirectory, "sync", lazy)


def no_sync_of_the_original(patch: Patch) -> None:
    """The staged original may be empty after a power cut."""

    def stage(directory: Any, staged: str, content: Any) -> None:
        directory.create(staged, content)
        directory.sync()

    patch.setattr(item_file, "_stage", stage)


def changed_before_it_is_said(patch: Patch) -> None:
    """The INTENT comes after the change."""
    replace, intent = _fsio.replace, GuardedRun.intent

    def early(self: GuardedRun, request: Any, kind: str, guards: Any, **fields: Any) -> Any:
        if kind == "file" and fields["after"]["exists"]:
            parent, name = _fsio.split(fields["path"])
            with _fsio.opened(self.keeper.store.files, parent) as directory:
                replace(directory, name, directory.read(name, 10**6), ".early")
                directory.write_at(name, 0, b"too early")
                directory.sync(name)
        return intent(self, request, kind, guards, **fields)

    patch.setattr(GuardedRun, "intent", early)


def no_token(patch: Patch) -> None:
    """Whoever shows the run and its nonce is let in, however old the token is."""
    check = Keeper.check_fence

    def lax(self: Keeper, fence: Any) -> Lease:
        lease = self.lease(fence.resource)
        same = fence.__class__(lease.resource, lease.run_id, fence.nonce, self.store.token(fence.resource))
        return check(self, same) if lease.state == _lease.HELD else check(self, fence)

    patch.setattr(Keeper, "check_fence", lax)
    patch.setattr(Lease, "owned_by", lambda _self, _nonce: True)


def no_nonce(patch: Patch) -> None:
    """The name of a run is enough."""
    patch.setattr(Lease, "owned_by", lambda _self, _nonce: True)


def the_original_goes_early(patch: Patch) -> None:
    """The staged original is deleted once the file is changed."""
    done = GuardedRun.done

    def tidy(self: GuardedRun, item: Any, **fields: Any) -> None:
        done(self, item, **fields)
        if item.kind == "file":
            parent, _name = _fsio.split(item.intent["path"])
            with _fsio.opened(self.keeper.store.files, parent) as directory:
                if directory.stat(item.intent["staged"]) is not None:
                    directory.unlink(item.intent["staged"])

    patch.setattr(GuardedRun, "done", tidy)


def a_corrupt_journal_is_clean(patch: Patch) -> None:
    """Whatever does not read back ends the journal."""
    parse = _journal.parse

    def lenient(raw: bytes) -> Any:
        try:
            return parse(raw)
        except _journal.JournalError:
            return parse(raw[: raw.index(b"\n") + 1])

    patch.setattr(_journal, "parse", lenient)


def the_wall_clock(patch: Patch) -> None:
    """Deadlines are judged by the clock on the wall."""
    patch.setattr(Keeper, "over", lambda self, lease: lease.deadline is None or self.clock.wall() >= lease.deadline.wall)


def no_generation(patch: Patch) -> None:
    """Whichever connection ends, the hold is cut."""

    def cut(self: hold.Hold) -> None:
        with self.keeper.store.host_lock():
            lease = self.keeper.lease(self.fence.resource)
            self.keeper.store.save(lease.next(hold={**(lease.hold or {}), "lost_at": self.keeper.clock.boottime()}))

    patch.setattr(hold.Hold, "cut", cut)


def free_before_proof(patch: Patch) -> None:
    """What is restored is given away without a look."""
    prove = restore._prove

    def trusting(keeper: Keeper, lease: Lease, deadline: Any) -> Any:
        run = keeper.open_run(lease.run_id, lease.resource)
        taken = run.dir.load(BEFORE) or {}
        run.dir.write(BEFORE, {**taken, "probes": {}, "snapshot": {"invariant": {}, "observed": {}, "errors": {}}})
        return prove(keeper, lease, deadline)

    patch.setattr(restore, "_prove", trusting)


def a_token_is_given_twice(patch: Patch) -> None:
    """The last token is not remembered beside the lease."""
    patch.setattr(Store, "bump", lambda _self, _resource, at_least: at_least + 1)


def the_torn_line_stays(patch: Patch) -> None:
    """A torn last line is taken for a record."""
    length = RunDir.append

    def blunt(self: RunDir, record_type: str, **fields: Any) -> Any:
        record = length(self, record_type, **fields)
        with _fsio.opened(self.files, self.path) as directory:
            directory.write_at("journal.jsonl", len(directory.read("journal.jsonl", 10**7).data), b"{}\n")
        return record

    patch.setattr(RunDir, "append", blunt)


def the_watch_never_ends(patch: Patch) -> None:
    """Late writes are looked for as long as there is a machine."""
    patch.setattr(late, "lasts", lambda _keeper, _run: True)


def history(_bench: Bench) -> None:
    """Some hundred histories of the simulation, without looking for the shortest that fails."""
    rules = settings(
        max_examples=300,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(test_simulation.History, settings=rules)  # type: ignore[no-untyped-call]


def power(_bench: Bench) -> None:
    """A power cut at every step of a borrow, with several fates of what was not synced."""
    for crash_at in range(1, test_crash.BORROW_STEPS + 1):
        test_crash.test_a_crash_at_every_step_of_the_borrow(crash_at, power=True)


Case = Callable[[Bench], Any]
MUTANTS: Dict[Callable[[Patch], None], Tuple[str, Case]] = {
    no_sync_of_the_journal: ("a power cut at every step", power),
    no_sync_of_the_original: ("a power cut at every step", power),
    changed_before_it_is_said: ("a power cut at every step", power),
    no_token: ("a zombie bounces", test_fence.test_a_zombie_bounces_after_the_restore_and_after_the_next_acquisition),
    no_nonce: ("a lost answer", test_acquire.test_a_lost_answer_is_given_again_but_not_to_somebody_with_another_nonce),
    the_original_goes_early: ("histories", history),
    a_corrupt_journal_is_clean: (
        "what cannot be trusted",
        lambda bench: test_fence.test_what_cannot_be_trusted_is_not_acted_upon(bench, "journal"),
    ),
    the_wall_clock: ("a wall clock that jumps", test_acquire.test_a_wall_clock_that_jumps_neither_ends_nor_lengthens_a_lease),
    no_generation: (
        "a holder that comes back",
        test_triggers.test_a_holder_that_comes_back_in_its_grace_goes_on_and_the_older_end_says_nothing,
    ),
    free_before_proof: (
        "what somebody changed after the undo",
        test_triggers.test_what_somebody_changed_after_the_undo_can_be_accepted_by_a_person,
    ),
    a_token_is_given_twice: ("tokens grow", test_acquire.test_tokens_grow_even_if_the_leases_are_lost),
    the_watch_never_ends: ("one ttl", test_late_writes.test_the_watch_ends_after_one_ttl_and_takes_the_key_along),
    the_torn_line_stays: ("a lease that ran out", test_triggers.test_a_lease_that_ran_out_goes_back_by_itself_and_is_proven),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_killed_by_its_case(mutant: Callable[[Patch], None], tmp_path: Path) -> None:
    _name, case = MUTANTS[mutant]
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        try:
            case(Bench(tmp_path))
        except Exception:  # noqa: BLE001 - however it notices
            return
    pytest.fail(f"{mutant.__name__} lives: {_name} did not notice")
