"""Fingerprints: what leaves a host instead of a secret.

A fingerprint is an HMAC-SHA256 over ``run|host|label|len|value`` under a key that is made on the host
and stays there, so that two looks of one run can be compared and nothing can be guessed from one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any, Sequence, Union

from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import keep_paths

KEY_BYTES = 32  # as long as the digest: a longer HMAC key adds nothing


@dataclass(frozen=True)
class Fingerprinter:
    """Makes the fingerprints of one run on one host.

    Args:
        run_id: The run, or any word of the caller's when there is none.
        host: Name of the host in the inventory.
        key: Secret of the run on this host, 32 random bytes.
    """

    run_id: str
    host: str
    key: bytes = field(repr=False)

    def start(self, label: str, size: int) -> hmac.HMAC:
        """Return an HMAC that waits for exactly ``size`` bytes of the value called ``label``."""
        head = f"{self.run_id}|{self.host}|{label}|{size}|".encode("utf-8", "surrogateescape")
        return hmac.new(self.key, head, hashlib.sha256)

    def of(self, label: str, value: Union[bytes, str]) -> str:
        """Return the fingerprint of a value as 64 hexadecimal digits."""
        raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        digest = self.start(label, len(raw))
        digest.update(raw)
        return digest.hexdigest()


def canonical_bytes(document: Any, paths: Sequence[Union[str, Sequence[str]]] = ()) -> bytes:
    """Return one spelling of a JSON document, reduced to the keys we own.

    Args:
        document: What ``json.loads`` returned.
        paths: Dotted paths to keep (``pools[].url``); empty keeps everything.

    Returns:
        UTF-8 JSON with sorted keys and no white space.
    """
    kept = keep_paths(document, paths) if paths else document
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
