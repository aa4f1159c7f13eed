"""Every value a person can type, judged before anything acts on it.

Pure functions; each returns the value or raises UsageError. Names reach git, SSH and Ansible. Ansible evaluates template
text in extra variables, git and SSH take a leading dash for an option: so names are allowed by shape, not forbidden by
example.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from benchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MODES = ("check", "targeted", "journal")
MAX_BRANCH = 200
MAX_VALUE = 1024
MAX_WORKERS = 64
MAX_WAIT = 86400
MIN_TTL = 10
MAX_TTL = 86400

_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*")
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
SETTABLE = ("bench_origin", "bench_pool_host", "bench_repo", "bench_time_scale")
"""Variables that `-e` may set. Extra variables beat every other in Ansible, those that roles hand to each other included, so that
anything else could switch off a restore; whatever has an option of its own is set by that."""
_TEMPLATE = ("{{", "{%", "{#", "}}", "%}", "#}")
# Format characters include every bidirectional override; surrogates stand for bytes that were not UTF-8.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def shown(value: str, limit: int = 60) -> str:
    """Return a value as it may be printed: quoted, in ASCII, and short."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}...' ({len(value)} characters)"


def plain_text(value: str, what: str) -> str:
    """Refuse what no name or setting needs: template text, control and direction characters, absurd length."""
    if len(value) > MAX_VALUE:
        raise UsageError(f"{what} is too long: {len(value)} characters, at most {MAX_VALUE}")
    if any(mark in value for mark in _TEMPLATE):
        raise UsageError(f"{what} contains template text: {shown(value)}")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in value):
        raise UsageError(f"{what} contains control or direction characters: {shown(value)}")
    return value


def branch_name(value: str) -> str:
    """Accept what git's `check-ref-format --branch` accepts and, of that, only letters, digits and `. _ / -`."""
    if not value:
        raise UsageError("the branch name is empty")
    if len(value) > MAX_BRANCH:
        raise UsageError(f"the branch name is too long: {len(value)} characters, at most {MAX_BRANCH}")
    plain_text(value, "the branch name")
    if value.startswith("-"):
        raise UsageError(f"a branch name does not start with a dash: {shown(value)}")
    if not _BRANCH.fullmatch(value):
        raise UsageError(f"not a branch name (letters, digits and . _ / - only): {shown(value)}")
    parts = value.split("/")
    if (
        ".." in value
        or value == "HEAD"
        or any(not part or part.startswith((".", "-")) or part.endswith((".lock", ".")) for part in parts)
    ):
        raise UsageError(f"git does not allow this branch name: {shown(value)}")
    return value


def mode(value: str) -> str:
    """Accept a mode of a run."""
    if value not in MODES:
        raise UsageError(f"unknown mode {shown(value)}; known: {', '.join(MODES)}")
    return value


def stack_name(value: str, known: Collection[str]) -> str:
    """Accept the name of a folder below `stacks/`."""
    if not _NAME.fullmatch(value) or value not in known:
        raise UsageError(f"unknown stack {shown(value)}; known: {', '.join(sorted(known)) or 'none'}")
    return value


def host_name(value: str, known: Collection[str] | None = None) -> str:
    """Accept a host name by shape and, when given, only one of the known."""
    if not value:
        raise UsageError("the host name is empty")
    if len(value) > 253 or not _HOST.fullmatch(value):
        raise UsageError(f"not a host name: {shown(value)}")
    if known is not None and value not in known:
        raise UsageError(f"unknown host {shown(value)}; known: {', '.join(sorted(known)) or 'none'}")
    return value


def miners(value: str, known: Collection[str], *, lends: bool = True) -> tuple[str, ...]:
    """Accept `none` or a comma-separated list of known, distinct miners; only `none` where the stack lends none."""
    if value == "none":
        return ()
    if not lends:
        raise UsageError("this stack borrows no miners, its profile.yml has no borrow: leave --miners out, or use --miners none")
    names = value.split(",")
    seen: set[str] = set()
    for name in names:
        if not name:
            raise UsageError("the list of miners has an empty name (use `none` for no miner)")
        if not _HOST.fullmatch(name) or name not in known:
            raise UsageError(f"unknown miner {shown(name)}; known: {', '.join(sorted(known)) or 'none'}")
        if name in seen:
            raise UsageError(f"the same miner twice: {shown(name)}")
        seen.add(name)
    return tuple(names)


def number(value: str, what: str, low: int, high: int) -> int:
    """Accept a whole number from `low` to `high`, written with plain digits."""
    if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise UsageError(f"{what} must be a whole number from {low} to {high}, not {shown(value)}")
    return int(value)


def workers(value: str) -> int:
    """Accept a number of workers."""
    return number(value, "--workers", 0, MAX_WORKERS)


def ttl(value: str) -> int:
    """Accept the life of a lease, in seconds."""
    return number(value, "--ttl", MIN_TTL, MAX_TTL)


def wait(value: str) -> int:
    """Accept how long to wait for a lease, in seconds."""
    return number(value, "--wait", 0, MAX_WAIT)


def run_id(value: str) -> str:
    """Accept the id of a run."""
    if not _RUN_ID.fullmatch(value):
        raise UsageError(f"not a run id (like 20260131T120000Z-0a1b2c): {shown(value)}")
    return value


def extra_vars(pairs: Iterable[str]) -> dict[str, str]:
    """Accept `K=V` pairs of distinct names that may be set."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"-e wants K=V, not {shown(pair)}")
        if not _KEY.fullmatch(key):
            raise UsageError(f"-e: not a variable name (lower case letters, digits, _): {shown(key)}")
        if key not in SETTABLE:
            raise UsageError(f"-e: {key} cannot be set this way; what can: {', '.join(SETTABLE)}")
        if key in found:
            raise UsageError(f"-e: {key} was given twice")
        found[key] = plain_text(value, f"the value of {key}")
    return found


def inventory_path(value: str) -> str:
    """Accept the text of an inventory path: no host list, no option, no template text."""
    if not value:
        raise UsageError("the inventory path is empty")
    if value.startswith("-") or "," in value:
        raise UsageError(f"not the path of an inventory: {shown(value)}")
    return plain_text(value, "the inventory path")
