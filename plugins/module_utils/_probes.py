"""What probes share: the context they look in, what they return, how they say that they could not look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._dotenv import Dotenv, parse
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import UnreadableError, read_regular

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._fingerprint import Fingerprinter

Spec = Mapping[str, Any]


class ProbeError(UnreadableError):
    """The probe could not look. The message is short and holds no content of what was looked at."""


@dataclass(frozen=True)
class Seen:
    """What one probe saw: what must be equal again, and what must satisfy a predicate."""

    invariant: Optional[Dict[str, Any]] = None
    observed: Optional[Dict[str, Any]] = None


@dataclass(frozen=True)
class Context:
    """Where and for whom we look.

    ``before`` is the snapshot taken before the run, if there is one; ``root`` stands before paths under ``/proc`` and
    ``/sys`` so that tests can bring their own.
    """

    run_id: str
    host: str
    fingerprints: Fingerprinter
    engine: Engine = field(default_factory=Engine)
    before: Optional[Mapping[str, Any]] = None
    redactor: Redactor = field(default_factory=Redactor)
    root: str = ""

    def earlier(self, name: str) -> Mapping[str, Any]:
        """Return what the probe of this name observed before the run, empty when it did not."""
        seen = ((self.before or {}).get("observed") or {}).get(name)
        return seen if isinstance(seen, Mapping) else {}


Probe = Callable[[str, Spec, Context], Seen]


def need(spec: Spec, name: str) -> Any:
    """Return an option of a probe that must be there.

    Raises:
        ProbeError: When it is not.
    """
    if spec.get(name) in (None, ""):
        raise ProbeError(f"the probe needs '{name}'")
    return spec[name]


def read_settings(path: str) -> Dotenv:
    """Return a parsed settings file.

    Raises:
        FileNotFoundError: There is none.
        UnreadableError: It cannot be read.
    """
    return parse(read_regular(path).decode("utf-8", "surrogateescape"))


def settings_values(path: str, keys: List[str]) -> Tuple[str, ...]:
    """Return some values of a settings file, for use as credentials.

    Raises:
        ProbeError: When the file or a key is missing.
        UnreadableError: When the file cannot be read.
    """
    try:
        values = read_settings(path).values
    except FileNotFoundError as error:
        raise ProbeError(f"credentials: {path} is missing") from error
    missing = [key for key in keys if key not in values]
    if missing:
        raise ProbeError(f"credentials: {path} has no {', '.join(missing)}")
    return tuple(values[key] for key in keys)


def printable(name: str) -> str:
    """Return a file name that can be written as UTF-8, foreign bytes escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
