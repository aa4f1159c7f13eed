"""Looking at the machine: the same snapshots, predicates and proof that checks and controller use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Protocol, Sequence

from ansible_collections.benchkeeper.core.plugins.module_utils import _predicate

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils._fingerprint import Fingerprinter

Document = Mapping[str, Any]


class Looker(Protocol):
    """Takes snapshots and judges them."""

    def take(self, probes: Mapping[str, Any], prints: Fingerprinter, before: Optional[Document]) -> Dict[str, Any]:
        """Return a snapshot document."""

    def redact(self, text: str, sources: Sequence[str]) -> str:
        """Return a program's output without the secrets of some settings files, and without what looks like one."""


class RealLooker:
    """Looks with the probes of this machine. Its parts are imported when they are needed: most calls look at nothing."""

    def take(self, probes: Mapping[str, Any], prints: Fingerprinter, before: Optional[Document]) -> Dict[str, Any]:
        """Return a snapshot document."""
        from ansible_collections.benchkeeper.core.plugins.module_utils import _snapshot  # noqa: PLC0415

        given = {"run_id": prints.run_id, "host": prints.host, "key": prints.key, "before": before}
        return _snapshot.take(probes, given)

    def redact(self, text: str, sources: Sequence[str]) -> str:
        """Return a text without secrets."""
        from ansible_collections.benchkeeper.core.plugins.module_utils import _snapshot  # noqa: PLC0415
        from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor  # noqa: PLC0415

        return Redactor(_snapshot.known_secrets({}, list(sources))).text(text)


def reasons(predicates: Sequence[Mapping[str, Any]], document: Document, before: Optional[Document]) -> List[str]:
    """Return why predicates do not hold, empty when all do."""
    return [outcome.why for _one, outcome in _predicate.evaluate_all(list(predicates), document, before=before)]
