"""The state directory: leases, tokens, and a directory per run and resource. Nothing here decides anything."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import TYPE_CHECKING, Any, ContextManager, Dict, List, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio, _journal, _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Lease, LeaseError

if TYPE_CHECKING:
    from keeper.ports import Locks

ROOT = "/var/lib/benchkeeper"
HOST_LOCK_WAIT = 30.0
CLOSED = "CLOSED"
JOURNAL = "journal.jsonl"
KEY = "key"
RESERVE = 256 * 1024  # bytes of journal reserved when a lease is taken
MARGIN = 64 * 1024  # and kept free for what a restore has to write
_LIMIT = 16 * 1024 * 1024


class RunDir:
    """The directory of one run and resource: journal, key, documents."""

    def __init__(self, files: _fsio.Files, path: str, run_id: str, resource: str) -> None:
        self.files = files
        self.path = path
        self.run_id = run_id
        self.resource = resource
        self._parsed: Optional[_journal.Parsed] = None
        self._reserved = 0
        self._torn = False

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with _fsio.opened(self.files, self.path) as directory:
            return directory.stat(name) is not None

    def write(self, name: str, document: Any) -> None:
        """Write a document (bytes, or anything JSON) durably, replacing an older one."""
        data = document if isinstance(document, bytes) else json.dumps(document, sort_keys=True).encode("ascii")
        with _fsio.opened(self.files, self.path) as directory:
            content = _fsio.Content(data, 0o600, os.geteuid(), os.getegid())
            _fsio.replace(directory, name, content, f".{name}.new")

    def read(self, name: str) -> Optional[bytes]:
        """Return a document's bytes, None when there is none."""
        with _fsio.opened(self.files, self.path) as directory:
            try:
                return directory.read(name, _LIMIT).data
            except FileNotFoundError:
                return None

    def load(self, name: str) -> Optional[Dict[str, Any]]:
        """Return a JSON document, None when there is none or it is not an object."""
        raw = self.read(name)
        try:
            found = json.loads(raw) if raw is not None else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def remove(self, *names: str) -> None:
        """Remove files, durably; missing ones are fine."""
        with _fsio.opened(self.files, self.path) as directory:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    directory.unlink(name)
            directory.sync()

    def names(self) -> List[str]:
        """Return what is in it."""
        with _fsio.opened(self.files, self.path) as directory:
            return directory.names()

    # Journal

    def journal(self) -> _journal.Parsed:
        """Return the journal without its torn last line, if there is one.

        It is not cut off here: who only looks may see a line that somebody else is writing at this moment.

        Raises:
            JournalError: When it is damaged or missing.
        """
        if self._parsed is None:
            try:
                raw = self.read(JOURNAL)
            except _fsio.FileError as error:  # a link, a directory, far too large: damage like any other
                raise _journal.JournalError(str(error)) from error
            if raw is None:
                raise _journal.JournalError("there is no journal")
            self._parsed = _journal.parse(raw)
            self._torn = self._parsed.length != len(raw)
        return self._parsed

    def items(self) -> List[_journal.Item]:
        """Return the items of the journal. Raises JournalError."""
        return _journal.items(self.journal().records)

    def open_journal(self, **fields: Any) -> None:
        """Create the journal with its first record and its reserved space."""
        line = _journal.encode({"v": _journal.FORMAT, "seq": 1, "type": _journal.OPEN, **fields})
        with _fsio.opened(self.files, self.path) as directory:
            directory.create(JOURNAL, _fsio.Content(line, 0o600, os.geteuid(), os.getegid()))
            directory.reserve(JOURNAL, RESERVE)
            directory.sync(JOURNAL)
            directory.sync()

    def reserve(self) -> None:
        """Make sure that there is space for what a restore has to write. Raises OSError when there is none."""
        wanted = self.journal().length + MARGIN
        if wanted > max(self._reserved, RESERVE - MARGIN):
            with _fsio.opened(self.files, self.path) as directory:
                directory.reserve(JOURNAL, wanted + RESERVE)
            self._reserved = wanted + RESERVE

    def append(self, record_type: str, **fields: Any) -> _journal.Record:
        """Write one record durably and return it."""
        parsed = self.journal()
        record = {**fields, "v": _journal.FORMAT, "seq": len(parsed.records) + 1, "type": record_type}
        line = _journal.encode(record)
        with _fsio.opened(self.files, self.path) as directory:
            if self._torn:
                directory.truncate(JOURNAL, parsed.length)
                directory.sync(JOURNAL)
                self._torn = False
            directory.write_at(JOURNAL, parsed.length, line)
            directory.sync(JOURNAL)
        self._parsed = _journal.Parsed((*parsed.records, record), parsed.length + len(line))
        return record


class Store:
    """The state directory of one machine.

    Args:
        files: Where files are.
        locks: How processes exclude each other.
        root: The directory, 0700.
    """

    def __init__(self, files: _fsio.Files, locks: Locks, root: str = ROOT) -> None:
        self.files = files
        self.locks = locks
        self.root = root

    def host_lock(self, wait: float = HOST_LOCK_WAIT) -> ContextManager[None]:
        """Hold the one lock under which leases change and fences are compared."""
        return self.locks.hold("host", wait)

    def restore_lock(self, resource: str, wait: float) -> ContextManager[None]:
        """Hold the lock of the one restore of a resource; who asks later waits for it and sees what it did."""
        return self.locks.hold(f"restore-{resource}", wait)

    def restoring(self, resource: str) -> bool:
        """Whether a restore of the resource runs now."""
        return self.locks.held(f"restore-{resource}")

    def make(self, *parts: str) -> str:
        """Create a directory below the root (0700) and return its path."""
        parent, name = _fsio.split(self.root)
        path = self.root
        _make_one(self.files, parent, name)
        for part in parts:
            _make_one(self.files, path, part)
            path = f"{path}/{part}"
        return path

    # Leases and tokens

    def resources(self) -> List[str]:
        """Return the resources that have a lease file or a run."""
        found = set(self._names("leases"))
        for run_id in self._names("runs"):
            found.update(self._names("runs", run_id))
        return sorted(found)

    def _names(self, *parts: str) -> List[str]:
        try:
            with _fsio.opened(self.files, "/".join((self.root, *parts))) as directory:
                return [name for name in directory.names() if not name.startswith(".")]
        except (FileNotFoundError, _fsio.UnsafePathError):
            return []

    def lease(self, resource: str) -> Lease:
        """Return a lease; one that was never given is free.

        Raises:
            LeaseError: When it cannot be read, or is missing beside a run that is not closed.
        """
        lease = self._slots("leases", resource)
        if lease is None:
            if self.open_runs(resource):
                raise LeaseError("the lease file is missing, but a run is not closed")
            return Lease(resource)
        if lease.resource != resource:
            raise LeaseError(f"the lease file is that of {lease.resource!r}")
        return lease

    def _slots(self, folder: str, resource: str) -> Optional[Lease]:
        try:
            with _fsio.opened(self.files, f"{self.root}/{folder}") as directory:
                raw = directory.read(resource, _lease.FILE_SIZE).data
        except FileNotFoundError:
            return None
        except _fsio.FileError as error:
            raise LeaseError(str(error)) from error
        return _lease.decode_file(raw)

    def save(self, lease: Lease) -> Lease:
        """Write a lease durably into the slot whose turn it is."""
        self._write_slot("leases", lease)
        return lease

    def _write_slot(self, folder: str, lease: Lease) -> None:
        path = self.make(folder)
        with _fsio.opened(self.files, path) as directory:
            found = directory.stat(lease.resource)
            if found is None or found.kind != "file" or found.size != _lease.FILE_SIZE:
                content = _fsio.Content(_lease.encode_file(lease), 0o600, os.geteuid(), os.getegid())
                _fsio.replace(directory, lease.resource, content, f".{lease.resource}.new")
                return
            directory.write_at(lease.resource, _lease.slot_offset(lease.serial), _lease.encode_slot(lease))
            directory.sync(lease.resource)

    def token(self, resource: str) -> int:
        """Return the last token ever given for a resource; it outlives leases and reinstallations."""
        found = self._slots("tokens", resource)
        return 0 if found is None else found.token

    def bump(self, resource: str, at_least: int) -> int:
        """Return a token that was never given before, durably taken."""
        try:
            last = self.token(resource)
        except LeaseError:
            last = at_least
        token = max(last, at_least) + 1
        self._write_slot("tokens", Lease(resource, token=token, serial=token))
        return token

    # Runs

    def run(self, run_id: str, resource: str) -> RunDir:
        """Return the directory of a run, which need not exist."""
        _lease.check_name("run", run_id)
        _lease.check_name("resource", resource)
        return RunDir(self.files, f"{self.root}/runs/{run_id}/{resource}", run_id, resource)

    def runs(self, resource: str) -> List[RunDir]:
        """Return all runs that left a directory for a resource, oldest name first."""
        return [self.run(run_id, resource) for run_id in self._names("runs") if resource in self._names("runs", run_id)]

    def open_runs(self, resource: str) -> List[RunDir]:
        """Return the runs whose traces were not cleaned up yet."""
        return [one for one in self.runs(resource) if not one.exists(CLOSED)]

    def prune(self, resource: str, keep: int) -> None:
        """Remove the oldest closed runs of a resource, ``keep`` stay."""
        # By their tokens: names are whatever callers chose, and clocks jump.
        closed = sorted((one for one in self.runs(resource) if one.exists(CLOSED)), key=_token_of)
        for one in closed[: max(0, len(closed) - keep)]:
            # What says that it is closed goes last, or the rest would look like a run that is not.
            names = one.names()
            one.remove(*[name for name in names if name != CLOSED])
            one.remove(CLOSED)
            self.drop(one)

    def drop(self, run: RunDir) -> None:
        """Remove the empty directory of a run."""
        for parent, name in ((f"runs/{run.run_id}", run.resource), ("runs", run.run_id)):
            with contextlib.suppress(OSError), _fsio.opened(self.files, f"{self.root}/{parent}") as directory:
                directory.rmdir(name)
                directory.sync()

    def known(self, resource: str) -> bool:
        """Whether a resource has a lease file."""
        return resource in self._names("leases")

    # Who waits

    def load_queue(self, resource: str) -> Dict[str, Any]:
        """Return who waits for a resource as it was written last; empty when it cannot be read: whoever waits asks again."""
        _lease.check_name("resource", resource)
        try:
            with _fsio.opened(self.files, f"{self.root}/queue") as directory:
                found = json.loads(directory.read(resource, _LIMIT).data)
        except (FileNotFoundError, _fsio.FileError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save_queue(self, resource: str, document: Dict[str, Any]) -> None:
        """Write who waits for a resource."""
        with _fsio.opened(self.files, self.make("queue")) as directory:
            content = _fsio.Content(json.dumps(document).encode("ascii"), 0o600, os.geteuid(), os.getegid())
            _fsio.replace(directory, resource, content, f".{resource}.new")


def _token_of(run: RunDir) -> int:
    """Return the token that a run was given with, 0 where its journal does not tell any more."""
    try:
        return int(run.journal().records[0].get("token") or 0)
    except _journal.JournalError:
        return 0


def _make_one(files: _fsio.Files, parent: str, name: str) -> None:
    with _fsio.opened(files, parent) as directory:
        found = directory.stat(name)
        if found is None:
            try:
                directory.mkdir(name, 0o700, os.geteuid(), os.getegid())
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
            directory.sync()
        elif found.kind != "dir":
            raise _fsio.UnsafePathError(f"{parent}/{name} is no directory")


Span = Tuple[float, float]
