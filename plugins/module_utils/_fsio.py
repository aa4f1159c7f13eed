"""Files, reached only through open directories and never through a symbolic link.

Directories on a borrowed machine may be under the control of the branch that is tested, so a path is walked component by
component with ``O_NOFOLLOW`` and everything happens relative to the directory that was reached. What must survive a power
cut is synced by its caller, file and directory each on its own: a model of this interface can lose either.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat as stat_module
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Tuple

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
FALLOC_FL_KEEP_SIZE = 1  # linux/falloc.h
_CHUNK = 1024 * 1024
_LINK_HOPS = 8


class FileError(Exception):
    """A path could not be used; the message names it and says why."""


class UnsafePathError(FileError):
    """A component of a path is a symbolic link or no directory."""


class _TrustedLinkError(Exception):
    """A link on the way that only root can have made; ``target`` is the whole path with it resolved."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


class TooLargeError(FileError):
    """A file is larger than we read."""


@dataclass(frozen=True)
class Stat:
    """What matters of a file: ``kind`` is file, dir, link or other; ``mode`` the permission bits; times in ns."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    dev: int
    ino: int
    mtime_ns: int = 0


@dataclass(frozen=True)
class Content:
    """A whole file: bytes, permission bits, owner, time and extended attributes."""

    data: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: Optional[int] = None
    xattrs: Mapping[str, bytes] = ()  # type: ignore[assignment] # an empty tuple is the one immutable empty mapping


class Directory(Protocol):
    """An open directory. ``name`` is always one component."""

    path: str

    def stat(self, name: str = "") -> Optional[Stat]:
        """Return the stat of an entry, of the directory itself for ``""``, None when there is none."""

    def names(self) -> List[str]:
        """Return the sorted names of all entries."""

    def child(self, name: str) -> Directory:
        """Open a directory in this one. Raises UnsafePathError, FileNotFoundError."""

    def read(self, name: str, limit: int) -> Content:
        """Read a regular file. Raises TooLargeError, FileError, FileNotFoundError."""

    def create(self, name: str, content: Content) -> None:
        """Create a file that must not exist, with mode and owner. Not synced."""

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        """Write into an existing file in place. Not synced."""

    def reserve(self, name: str, size: int) -> None:
        """Reserve blocks up to ``size`` without changing the length. Raises OSError when there is no space."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file."""

    def sync(self, name: str = "") -> None:
        """Make a file durable, or with ``""`` the directory's own entries."""

    def rename(self, old: str, new: str) -> None:
        """Rename within this directory, replacing."""

    def unlink(self, name: str) -> None:
        """Remove a file; FileNotFoundError when there is none."""

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> None:
        """Create a directory."""

    def rmdir(self, name: str) -> None:
        """Remove an empty directory."""

    def own(self, name: str, mode: int, uid: int, gid: int) -> None:
        """Set owner and mode of a directory or file that is no link."""

    def close(self) -> None:
        """Close it."""


class Files(Protocol):
    """Where directories are opened."""

    def open(self, path: str) -> Directory:
        """Open the directory at an absolute path. Raises UnsafePathError, FileNotFoundError."""


def split(path: str) -> Tuple[str, str]:
    """Return directory and last component of an absolute, normalised path.

    Raises:
        FileError: When it is relative, has empty, ``.`` or ``..`` components, or a NUL.
    """
    parts = path.split("/")
    if not path.startswith("/") or path == "/" or any(one in ("", ".", "..") for one in parts[1:]) or "\0" in path:
        raise FileError(f"an absolute path without '.', '..' and '//' is wanted, not {path!r}")
    return "/".join(parts[:-1]) or "/", parts[-1]


@contextlib.contextmanager
def opened(files: Files, path: str) -> Iterator[Directory]:
    """Open a directory for a block."""
    directory = files.open(path)
    try:
        yield directory
    finally:
        directory.close()


def replace(directory: Directory, name: str, content: Content, temporary: str) -> None:
    """Put a whole file in place, durably: temporary file, owner, mode, sync, rename, sync of the directory."""
    with contextlib.suppress(FileNotFoundError):
        directory.unlink(temporary)
    directory.create(temporary, content)
    directory.sync(temporary)
    directory.rename(temporary, name)
    directory.sync()


def _stat(result: os.stat_result) -> Stat:
    kinds = {stat_module.S_IFREG: "file", stat_module.S_IFDIR: "dir", stat_module.S_IFLNK: "link"}
    return Stat(
        kind=kinds.get(stat_module.S_IFMT(result.st_mode), "other"),
        mode=stat_module.S_IMODE(result.st_mode),
        uid=result.st_uid,
        gid=result.st_gid,
        size=result.st_size,
        dev=result.st_dev,
        ino=result.st_ino,
        mtime_ns=result.st_mtime_ns,
    )


def _fallocate(descriptor: int, length: int) -> None:
    """Reserve blocks without changing the length; Python's own call would lengthen the file."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if call is None:
        return
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if call(descriptor, FALLOC_FL_KEEP_SIZE, 0, length) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):  # a filesystem that cannot reserve has to do without
            raise OSError(code, os.strerror(code))


class RealDirectory:
    """A directory of this machine."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path

    def stat(self, name: str = "") -> Optional[Stat]:
        """Return a stat, see Directory."""
        if not name:
            return _stat(os.fstat(self.descriptor))
        try:
            return _stat(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def names(self) -> List[str]:
        """Return the entries, see Directory."""
        return sorted(os.listdir(self.descriptor))  # noqa: PTH208 - a descriptor has no Path

    def child(self, name: str) -> RealDirectory:
        """Open a directory, see Directory."""
        path = f"{self.path.rstrip('/')}/{name}"
        try:
            return RealDirectory(os.open(name, DIRECTORY_FLAGS, dir_fd=self.descriptor), path)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise UnsafePathError(f"{path} is a symbolic link or no directory; it is not followed") from error
            raise

    def _open(self, name: str, flags: int, mode: int = 0o600) -> int:
        try:
            return os.open(name, flags | FILE_FLAGS, mode, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePathError(f"{self.path}/{name} is a symbolic link; it is not followed") from error
            raise

    def read(self, name: str, limit: int) -> Content:
        """Read a file, see Directory."""
        descriptor = self._open(name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = _stat(os.fstat(descriptor))
            if found.kind != "file":
                raise FileError(f"{self.path}/{name} is no regular file")
            chunks: List[bytes] = []
            size = 0
            while True:
                chunk = os.read(descriptor, _CHUNK)
                if not chunk:
                    break
                size += len(chunk)
                if size > limit:
                    raise TooLargeError(f"{self.path}/{name} is larger than {limit} bytes")
                chunks.append(chunk)
            return Content(b"".join(chunks), found.mode, found.uid, found.gid, found.mtime_ns, _xattrs(descriptor))
        finally:
            os.close(descriptor)

    def create(self, name: str, content: Content) -> None:
        """Create a file, see Directory."""
        descriptor = self._open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            _write_all(descriptor, content.data)
            if (content.uid, content.gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, content.uid, content.gid)
            os.fchmod(descriptor, content.mode)
            for key, value in dict(content.xattrs).items():
                with contextlib.suppress(OSError):  # a label the filesystem does not take is judged by the proof
                    os.setxattr(descriptor, key, value)
            if content.mtime_ns is not None:
                os.utime(descriptor, ns=(content.mtime_ns, content.mtime_ns))
        finally:
            os.close(descriptor)

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        """Write in place, see Directory."""
        descriptor = self._open(name, os.O_WRONLY)
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def reserve(self, name: str, size: int) -> None:
        """Reserve blocks, see Directory."""
        descriptor = self._open(name, os.O_WRONLY)
        try:
            _fallocate(descriptor, size)
        finally:
            os.close(descriptor)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file, see Directory."""
        descriptor = self._open(name, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def sync(self, name: str = "") -> None:
        """Make durable, see Directory."""
        if not name:
            os.fsync(self.descriptor)
            return
        descriptor = self._open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        """Rename, see Directory."""
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file, see Directory."""
        os.unlink(name, dir_fd=self.descriptor)

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> None:
        """Create a directory, see Directory."""
        os.mkdir(name, 0o700, dir_fd=self.descriptor)
        self.own(name, mode, uid, gid)

    def rmdir(self, name: str) -> None:
        """Remove an empty directory, see Directory."""
        os.rmdir(name, dir_fd=self.descriptor)

    def own(self, name: str, mode: int, uid: int, gid: int) -> None:
        """Set owner and mode, see Directory."""
        descriptor = self._open(name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class RealFiles:
    """The files of this machine."""

    def open(self, path: str) -> RealDirectory:
        """Open a directory by walking to it, see Files.

        A link is followed only where nobody but root could have made it: it is root's, in a directory of root's that nobody
        else may write to. So ``/srv`` may be a link to a larger disk, and a branch can lead us nowhere.
        """
        for _hop in range(_LINK_HOPS):
            directory, path = self._try(path)
            if directory is not None:
                return directory
        raise UnsafePathError(f"{path}: too many symbolic links")

    def _try(self, path: str) -> Tuple[Optional[RealDirectory], str]:
        """Return the directory, or None and the path to try next."""
        try:
            return self._walk(path), path
        except _TrustedLinkError as link:
            return None, link.target

    def _walk(self, path: str) -> RealDirectory:
        directory = RealDirectory(os.open("/", DIRECTORY_FLAGS), "/")
        if path == "/":
            return directory
        parent, name = split(path)
        parts = [part for part in parent.split("/") if part] + [name]
        for position, part in enumerate(parts):
            try:
                below = directory.child(part)
            except UnsafePathError:
                target = _trusted_target(directory, part)
                if target is None:
                    raise
                raise _TrustedLinkError("/".join([target.rstrip("/"), *parts[position + 1 :]])) from None
            finally:
                directory.close()
            directory = below
        return directory


def _trusted_target(directory: RealDirectory, name: str) -> Optional[str]:
    """Return where a link points that nobody but root can have made, None for any other."""
    link = directory.stat(name)
    place = os.fstat(directory.descriptor)
    if link is None or link.kind != "link" or link.uid != 0 or place.st_uid != 0 or place.st_mode & 0o022:
        return None
    target = os.readlink(name, dir_fd=directory.descriptor)
    return os.path.normpath(f"{directory.path.rstrip('/')}/{target}" if not target.startswith("/") else target)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _xattrs(descriptor: int) -> Mapping[str, bytes]:
    found: Dict[str, Any] = {}
    try:
        for key in os.listxattr(descriptor):
            found[key] = os.getxattr(descriptor, key)
    except OSError:  # not every filesystem has them
        return {}
    return found
