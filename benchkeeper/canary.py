"""The last gate before results are read by people: no file of a run may hold a secret, in any spelling.

The secrets that the controller knows are the run's nonce and the canary, a value of ours that is planted in the branch's
configuration: were any tool to copy a configuration into an output, the canary would be in it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# What a recovery decides from: cleaned in place, never taken away.
NEEDED = (
    "events.jsonl",
    "work/context.json",
    "work/restore.json",
    "work/recover.json",
    "work/supervisor.json",
)
LARGEST = 64 * 1024 * 1024  # bytes: a file that is too large to be searched is not published


@dataclass(frozen=True)
class Leak:
    """A file that must not be published, and in which spelling of which secret that was seen. The secret itself is not here."""

    path: str
    why: str


def secrets_of(state_file: Path | None) -> list[str]:
    """Return the secrets of a run's state file; none when there is no such file any more."""
    try:
        state = json.loads(state_file.read_text(encoding="utf-8")) if state_file else {}
    except (OSError, ValueError):
        return []
    return [str(state[name]) for name in ("nonce", "canary") if state.get(name)]


def search(files: Iterable[Path], secrets: Iterable[str], root: Path) -> Iterator[Leak]:
    """Yield a leak for each file that holds a secret or could not be searched."""
    redactor = Redactor(secrets, shapes=False)
    for path in files:
        name = str(path.relative_to(root))
        try:
            if path.stat().st_size > LARGEST:
                yield Leak(name, "too large to be searched")
                continue
            raw = path.read_bytes()
        except OSError as error:
            yield Leak(name, f"could not be searched: {error.strerror}")
            continue
        hits = redactor.scan(raw)
        if hits:
            yield Leak(name, f"holds a secret {len(hits)} times, spelled as {', '.join(sorted({hit.encoding for hit in hits}))}")


def gate(run_dir: Path, secrets: Iterable[str]) -> list[Leak]:
    """Search every file of a run's results and take away what must not be read; return what was found.

    What a recovery decides from stays, without the secret.
    """
    known = list(secrets)
    files = sorted(path for path in run_dir.rglob("*") if path.is_file() and not path.is_symlink())
    leaks = list(search(files, known, run_dir))
    for leak in leaks:
        path = run_dir / leak.path
        if leak.path in NEEDED:
            _clean(path, known)
        else:
            path.unlink()
    return leaks


def _clean(path: Path, secrets: Iterable[str]) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_size <= LARGEST:
            text = Redactor(secrets, shapes=False).text(path.read_text(encoding="utf-8", errors="replace"))
            temp = path.with_name(f".{path.name}.tmp")
            temp.write_text(text, encoding="utf-8")
            temp.chmod(path.stat().st_mode & 0o777)
            temp.replace(path)
