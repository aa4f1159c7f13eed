"""The fence: every guarded call passes it, and nothing is changed on a leased machine by anything else."""

from __future__ import annotations

import contextlib
import datetime as dt
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._fingerprint import KEY_BYTES, Fingerprinter
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Deadline, Lease, LeaseError

from keeper.errors import CONFLICT, FENCE, UNFIT, UNPROVEN, USAGE, KeeperError
from keeper.store import KEY, RunDir, Store

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine

    from keeper.looker import Looker
    from keeper.ports import Clock, Sessions
    from keeper.triggers import Triggers
    from keeper.units import Services, Units

Request = Mapping[str, Any]
BEFORE = "before.json"
TTL_DEFAULT = 3600.0
TTL_LIMIT = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Fence:
    """What a run shows to prove that a resource is its own: the nonce it made, the token it was given."""

    resource: str
    run_id: str
    nonce: str
    token: int


@dataclass
class Keeper:
    """One machine's keeper with everything that it reaches the machine by."""

    store: Store
    clock: Clock
    units: Units
    services: Services
    looker: Looker
    engine: Callable[[], Engine]
    triggers: Triggers
    sessions: Sessions

    # Leases

    def deadline(self, ttl: float) -> Deadline:
        """Return the deadline of a lease that is given or renewed now."""
        return Deadline(self.clock.wall() + ttl, self.clock.boottime() + ttl, self.clock.boot())

    def over(self, lease: Lease) -> bool:
        """Whether a held lease has run out."""
        return lease.over(self.clock.boottime(), self.clock.boot())

    def check_fence(self, fence: Fence) -> Lease:
        """Return the lease when it is the caller's and has not run out. The host lock must be held.

        Raises:
            KeeperError: fence, saying who has it now.
        """
        lease = self.lease(fence.resource)
        token = self.store.token(fence.resource)
        if lease.state != _lease.HELD:
            why = f": {lease.reason}" if lease.run_id == fence.run_id and lease.reason else ""
            raise KeeperError(
                FENCE,
                f"the lease of {fence.resource} is {lease.state}, run {fence.run_id} does not hold it (any more){why}",
                lease=public(lease),
            )
        same = hmac.compare_digest(lease.run_id, fence.run_id) and lease.owned_by(fence.nonce)
        if not same or lease.token != fence.token or token != fence.token:
            raise KeeperError(
                FENCE,
                f"stale fence: run {fence.run_id} shows token {fence.token} for {fence.resource}, "
                f"which run {lease.run_id} holds with token {token}",
                lease=public(lease),
            )
        if self.over(lease):
            raise KeeperError(FENCE, f"the lease of {fence.resource} ran out; nothing is changed any more", lease=public(lease))
        return lease

    def lease(self, resource: str) -> Lease:
        """Return a lease. Raises KeeperError(unproven) when it cannot be read."""
        try:
            return self.store.lease(resource)
        except LeaseError as error:
            raise KeeperError(UNPROVEN, f"the lease of {resource} cannot be trusted: {error}; nothing is touched") from error

    def renew(self, lease: Lease) -> Lease:
        """Give a held lease its whole time again. The host lock must be held."""
        return self.store.save(lease.next(deadline=self.deadline(lease.ttl)))

    # Guarded calls

    @contextlib.contextmanager
    def guarded(self, fence: Fence) -> Iterator[GuardedRun]:
        """Hold the host lock over a block that may change things, its fence compared and its lease renewed."""
        with self.store.host_lock():
            lease = self.renew(self.check_fence(fence))
            yield self.open_run(lease.run_id, lease.resource)

    def open_run(self, run_id: str, resource: str) -> GuardedRun:
        """Return the run of a lease with its journal.

        Raises:
            KeeperError: unproven, when the journal cannot be trusted.
        """
        run = self.store.run(run_id, resource)
        try:
            run.journal()
            key = run.read(KEY)
        except (_journal.JournalError, _fsio.FileError, FileNotFoundError) as error:
            raise KeeperError(UNPROVEN, f"the journal of run {run_id} on {resource} cannot be trusted: {error}") from error
        if key is None or len(key) != KEY_BYTES:
            raise KeeperError(UNPROVEN, f"the key of run {run_id} on {resource} is missing")
        return GuardedRun(self, run, Fingerprinter(run_id, resource, key))


@dataclass
class GuardedRun:
    """A run inside a guarded call or a restore: its journal, and what fingerprints are made with."""

    keeper: Keeper
    dir: RunDir
    fingerprints: Fingerprinter

    @property
    def tag(self) -> str:
        """Return the mark that hidden files of this run carry in their name."""
        return f"bk-{self.dir.run_id}"

    def find(self, name: str) -> Optional[_journal.Item]:
        """Return the newest item of a name that is still open."""
        return next((one for one in reversed(self.dir.items()) if one.name == name and one.open), None)

    def check_guards(self, guards: Tuple[str, ...]) -> None:
        """Refuse what another live lease of this host guards.

        Raises:
            KeeperError: conflict.
        """
        for resource in self.keeper.store.resources():
            if resource == self.dir.resource:
                continue
            for other in self.keeper.store.open_runs(resource):
                with contextlib.suppress(_journal.JournalError):
                    taken = {guard for item in other.items() if item.open for guard in item.guards}
                    for guard in guards:
                        if guard in taken:
                            raise KeeperError(CONFLICT, f"{guard} is guarded by run {other.run_id} for {resource}")

    def intent(self, request: Request, kind: str, guards: Tuple[str, ...], **fields: Any) -> _journal.Item:
        """Journal a change durably before it is made.

        Args:
            request: The call; its ``item``, ``group`` and ``covered_by`` are taken.
            kind: Kind of item.
            guards: What other leases must not touch.
            **fields: What the undo needs to know.

        Raises:
            KeeperError: conflict, unfit (no space), usage.
        """
        name = name_of("item", request.get("item"))
        covered = request.get("covered_by")
        if covered is not None and self.find(covered) is None:
            raise KeeperError(USAGE, f"item {name!r} says it is covered by {covered!r}, which is not journaled")
        self.check_guards(guards)
        record = self.note(
            _journal.INTENT,
            item=name,
            group=name_of("group", request.get("group") or "default"),
            kind=kind,
            guards=list(guards),
            covered_by=covered,
            at=self.keeper.clock.wall(),
            boottime=self.keeper.clock.boottime(),
            **fields,
        )
        return next(one for one in self.dir.items() if one.seq == record["seq"])

    def note(self, record_type: str, **fields: Any) -> _journal.Record:
        """Journal something before it happens, while there is still space for what its undo has to write.

        Raises:
            KeeperError: unfit, when there is none; usage, when nobody looked how the machine was.
        """
        if not self.dir.exists(BEFORE):
            raise KeeperError(
                USAGE,
                "nothing was changed: there is no look from before, without which nothing could be proven afterwards; take it "
                "first (module host_proof with the probes that matter, keeper call snapshot)",
            )
        try:
            self.dir.reserve()
            return self.dir.append(record_type, **fields)
        except OSError as error:
            raise KeeperError(UNFIT, f"nothing was changed, the journal has no space: {error.strerror}") from error

    def done(self, item: _journal.Item, **fields: Any) -> None:
        """Journal that a change was made."""
        self.dir.append(_journal.DONE, ref=item.seq, at=self.keeper.clock.wall(), **fields)

    def covering_tree(self, path: str) -> Optional[_journal.Item]:
        """Return the open directory of this run that a path lies in: its removal undoes the path too."""
        for item in self.dir.items():
            if item.kind == "tree" and item.open and path.startswith(item.intent["path"] + "/"):
                return item
        return None


def name_of(kind: str, value: Any) -> str:
    """Return the name of a resource, run or item of a request. Raises KeeperError(usage)."""
    try:
        return _lease.check_name(kind, value)
    except ValueError as error:
        raise KeeperError(USAGE, str(error)) from error


def fence_of(request: Request) -> Fence:
    """Return the fence of a request. Raises KeeperError(usage)."""
    raw = request.get("fence")
    if not isinstance(raw, Mapping):
        raise KeeperError(USAGE, "a guarded call shows its fence: {resource, run_id, nonce, token}")
    token = raw.get("token")
    if not isinstance(token, int) or isinstance(token, bool) or not isinstance(raw.get("nonce"), str):
        raise KeeperError(USAGE, "the fence has a nonce (text) and a token (whole number)")
    return Fence(name_of("resource", raw.get("resource")), name_of("run", raw.get("run_id")), raw["nonce"], token)


def number(request: Request, key: str, default: float, low: float, high: float) -> float:
    """Return a number of a request within bounds. Raises KeeperError(usage)."""
    value = request.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise KeeperError(USAGE, f"{key} is a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def text(request: Request, key: str) -> str:
    """Return a text of a request. Raises KeeperError(usage)."""
    value = request.get(key)
    if not isinstance(value, str) or not value or "\0" in value:
        raise KeeperError(USAGE, f"{key} is a text, not {value!r}")
    return value


def public(lease: Lease) -> Dict[str, Any]:
    """Return what anybody may know of a lease."""
    return {
        "resource": lease.resource,
        "state": lease.state,
        "run_id": lease.run_id,
        "holder": dict(lease.holder),
        "token": lease.token,
        "ttl": lease.ttl,
        "keep": lease.keep,
        "since": iso(lease.since) if lease.since else None,
        "deadline": iso(lease.deadline.wall) if lease.deadline else None,
        "reason": lease.reason,
        "arming": lease.arming,
        "attempts": lease.attempts,
    }


def iso(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="seconds")


def new_key() -> bytes:
    """Return the secret of a run on this machine."""
    return os.urandom(KEY_BYTES)


def check_path(path: str) -> Tuple[str, str]:
    """Return directory and name of a path of a request. Raises KeeperError(usage)."""
    try:
        return _fsio.split(path)
    except _fsio.FileError as error:
        raise KeeperError(USAGE, str(error)) from error


Items = List[_journal.Item]
