"""Probes of files: file, tree, dotenv, json, disk, lock."""

from __future__ import annotations

import fcntl
import fnmatch
import grp
import json
import os
import pwd
import re
import shlex
import stat
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._dotenv import parse as parse_dotenv
from ansible_collections.benchkeeper.core.plugins.module_utils._fingerprint import canonical_bytes
from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import (
    MissingError,
    PathError,
    keep_paths,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import (
    parse as parse_path,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._probes import (
    Context,
    ProbeError,
    Seen,
    Spec,
    need,
    printable,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import (
    SETTINGS_LIMIT,
    open_regular,
    read_regular,
    why,
)

HASH_LIMIT = 64 * 1024 * 1024  # bytes of a file that are fingerprinted
ENTRY_LIMIT = 20_000  # names in a tree
_CHUNK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_ASSIGNED = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=", re.MULTILINE)
_BARE_EXPANSION = re.compile(r"(?<!\\)[$`]")
_TYPES = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "link"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "block"),
    (stat.S_ISCHR, "character"),
)


def _type(mode: int) -> str:
    return next((name for test, name in _TYPES if test(mode)), "unknown")


def _mode(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def describe(path: str) -> Optional[Dict[str, Any]]:
    """Return type, mode, owner, group and size of a path without following a link, ``None`` when nothing is there.

    Raises:
        ProbeError: When it cannot be looked at.
    """
    try:
        seen = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ProbeError(f"unreadable: {why(error)}") from error
    return {
        "exists": True,
        "type": _type(seen.st_mode),
        "mode": _mode(seen.st_mode),
        "owner": _owner(seen.st_uid),
        "group": _group(seen.st_gid),
        "size": seen.st_size,
    }


def _file_print(path: str, label: str, context: Context) -> Tuple[str, int]:
    """Return the fingerprint and the size of a regular file, read in pieces."""
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > HASH_LIMIT:
                raise ProbeError(f"huge: {size} bytes")
            digest = context.fingerprints.start(label, size)
            read = 0
            for chunk in iter(lambda: stream.read(_CHUNK), b""):
                read += len(chunk)
                if read > HASH_LIMIT:
                    break
                digest.update(chunk)
    except OSError as error:
        raise ProbeError(f"unreadable: {why(error)}") from error
    if read != size:
        raise ProbeError("changed while it was read")
    return digest.hexdigest(), size


def probe_file(_name: str, spec: Spec, context: Context) -> Seen:
    """``file {path, canonical?, label?}``: what it is, and a fingerprint of its bytes."""
    path = str(need(spec, "path"))
    seen = describe(path)
    if seen is None:
        return Seen({"exists": False})
    label = str(spec.get("label") or path)
    if seen["type"] == "link":
        # Where a link points is its content; what stands there is another file.
        seen["fp"] = context.fingerprints.of(label, os.fsencode(Path(path).readlink()))
    elif seen["type"] == "file":
        seen["fp"], seen["size"] = _file_print(path, label, context)
        if spec.get("canonical"):
            view = canonical_bytes(load_json(path), spec["canonical"])
            seen["canonical_fp"] = context.fingerprints.of(f"{label}#canonical", view)
    elif seen["type"] == "directory":
        del seen["size"]  # an accident of the filesystem
    return Seen(seen)


def load_json(path: str) -> Any:
    """Return a JSON file.

    Raises:
        FileNotFoundError: There is none.
        UnreadableError: It cannot be read, begins with a byte-order mark, is huge, or is not (completely) JSON.
    """
    raw = read_regular(path, SETTINGS_LIMIT)
    if raw.startswith(_BOM):
        raise ProbeError("begins with a byte-order mark")
    if not raw.strip():
        raise ProbeError("empty")
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProbeError("not UTF-8") from error
    except json.JSONDecodeError as error:
        cut = " (cut off?)" if error.pos >= len(raw.rstrip()) - 1 else ""
        raise ProbeError(f"not JSON, line {error.lineno}{cut}") from error
    except RecursionError as error:
        raise ProbeError("not JSON we can read: nested too deeply") from error


def probe_json(_name: str, spec: Spec, context: Context) -> Seen:
    """``json {path, show: [paths] | "*", mask?: [paths]}``: chosen values of a JSON file, in their own shape."""
    try:
        document = load_json(str(need(spec, "path")))
    except FileNotFoundError:
        return Seen(observed={"exists": False})
    values = select(document, spec.get("show", []), context, spec.get("mask", []))
    return Seen(observed={"exists": True, "values": values})


def select(document: Any, wanted: Any, context: Context, masked: Any = ()) -> Any:
    """Return the part of a document that may travel: redacted, and reduced to some paths unless ``"*"`` is wanted.

    Under ``"*"`` every text under a key that says secret is masked, whatever its value.
    """
    try:
        kept = document if wanted == "*" else keep_paths(document, list(wanted))
        clean = context.redactor.data(kept, names=wanted == "*")
        for path in masked or ():
            _mask(clean, path)
    except (PathError, MissingError) as error:
        raise ProbeError(str(error)) from error
    return clean


def _mask(node: Any, path: Any) -> None:
    steps = parse_path(path)
    for step in steps[:-1]:
        if not isinstance(node, Mapping) or not isinstance(step, str) or step not in node:
            return
        node = node[step]
    if steps and isinstance(node, dict) and steps[-1] in node:
        node[str(steps[-1])] = "[masked]"


def probe_dotenv(_name: str, spec: Spec, context: Context) -> Seen:
    """``dotenv {path, show?, label?}``: a fingerprint per key, the values of harmless keys, and which keys are not well written.

    ``repeated`` are keys that stand there twice, ``loose`` those whose value a shell would not read as one word. Values are
    fingerprinted under ``env#KEY`` (or ``LABEL#KEY``), not under the path, so that two checkouts' files, and a file and the
    environment of a container, can be compared on one host within one run.
    """
    path = str(need(spec, "path"))
    seen = describe(path)
    if seen is None:
        return Seen({"exists": False}, {"values": {}})
    try:
        raw = read_regular(path)
    except FileNotFoundError as error:
        raise ProbeError("vanished while it was read") from error
    text = raw.decode("utf-8", "surrogateescape")
    parsed = parse_dotenv(text)
    label = str(spec.get("label") or "env")
    seen["size"] = len(raw)
    seen["fp"] = context.fingerprints.of(path, raw)
    seen["keys"] = {
        printable(key): context.fingerprints.of(f"{label}#{key}", value) for key, value in sorted(parsed.values.items())
    }
    seen["bad_lines"] = list(parsed.bad_lines)
    names = Counter(_ASSIGNED.findall(text))
    seen["repeated"] = sorted(printable(name) for name, count in names.items() if count > 1)
    seen["loose"] = sorted(printable(key) for key, entry in parsed.entries.items() if _is_loose(text[entry.start : entry.end]))
    shown = {key: context.redactor.text(printable(parsed.values[key])) for key in spec.get("show", []) if key in parsed.entries}
    return Seen(seen, {"values": shown})


def _is_loose(assignment: str) -> bool:
    """Whether a shell would read more, or less, than one word, or run something, where a value stands."""
    raw = assignment.partition("=")[2]
    lexer = shlex.shlex(raw, posix=True, punctuation_chars="();<>|&`")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a quote that is never closed
        return True
    return len(words) > 1 or bool(_BARE_EXPANSION.search(re.sub(r"'[^']*'", "", raw)))


def _walk(path: str, prefix: str, *, deep: bool) -> Iterator[Tuple[str, os.stat_result]]:
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            seen = entry.stat(follow_symlinks=False)
            yield prefix + entry.name, seen
            if deep and stat.S_ISDIR(seen.st_mode):
                yield from _walk(entry.path, f"{prefix}{entry.name}/", deep=deep)


def probe_tree(_name: str, spec: Spec, _context: Context) -> Seen:
    """``tree {path, glob?, recursive?}``: sorted names with mode and type, such as ``a/b 0600 file``."""
    path = str(need(spec, "path"))
    top = describe(path)
    if top is None:
        return Seen({"exists": False})
    if top["type"] != "directory":
        return Seen({key: top[key] for key in ("exists", "type", "mode", "owner", "group")})
    globs: List[str] = [spec["glob"]] if isinstance(spec.get("glob"), str) else list(spec.get("glob") or ["*"])
    entries: List[str] = []
    try:
        for count, (name, seen) in enumerate(_walk(path, "", deep=spec.get("recursive", True))):
            if count >= ENTRY_LIMIT:
                raise ProbeError(f"huge: more than {ENTRY_LIMIT} names")
            if any(fnmatch.fnmatchcase(name, glob) for glob in globs):
                entries.append(f"{printable(name)} {_mode(seen.st_mode)} {_type(seen.st_mode)}")
    except OSError as error:
        raise ProbeError(f"unreadable: {why(error)}") from error
    shown = {key: top[key] for key in ("exists", "type", "mode", "owner", "group")}
    return Seen({**shown, "entries": sorted(entries)})


def probe_disk(_name: str, spec: Spec, _context: Context) -> Seen:
    """``disk {path}``: room for an ordinary user on the filesystem, in bytes and inodes."""
    try:
        seen = os.statvfs(str(need(spec, "path")))
    except OSError as error:
        raise ProbeError(why(error)) from error
    return Seen(
        observed={
            "free_bytes": seen.f_bavail * seen.f_frsize,
            "total_bytes": seen.f_blocks * seen.f_frsize,
            # Filesystems without a fixed number of inodes say 0 of 0: they have no such limit.
            "free_inodes": seen.f_favail if seen.f_files else None,
        }
    )


_HOLDER_SHOWN = 200  # characters


def probe_lock(_name: str, spec: Spec, _context: Context) -> Seen:
    """``lock {path, holder?}``: whether somebody holds an flock on the file, exclusive or shared, and who says so.

    ``holder`` is the file in which its holder may have written who he is (default: the path and ``.holder``); it is shown,
    never trusted. Observes ``holder`` as an empty text when nobody holds the lock.
    """
    path = str(need(spec, "path"))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Seen(observed={"exists": False, "held": False, "holder": ""})
    except OSError as error:
        raise ProbeError(f"unreadable: {why(error)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = False
    except BlockingIOError:
        held = True
    finally:
        os.close(descriptor)  # which gives the lock back at once
    return Seen(observed={"exists": True, "held": held, "holder": _holder(spec, path) if held else ""})


def _holder(spec: Spec, path: str) -> str:
    """Return what the holder of a lock wrote about himself; the last one's words are no proof, so they are only shown."""
    try:
        with open(str(spec.get("holder") or f"{path}.holder"), encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            line = stream.readline(_HOLDER_SHOWN).strip()
    except OSError:
        line = ""
    return line or "somebody who is not recorded"
