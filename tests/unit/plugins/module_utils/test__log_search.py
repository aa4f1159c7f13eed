from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _log_search
from ansible_collections.benchkeeper.core.plugins.module_utils._log_search import GapError, Search, frames
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "bkcanary0123456789abcdef01234567"


def search(limit: int = _log_search.LIMIT) -> Search:
    return Search(Redactor([CANARY], shapes=False), limit)


def frame(raw: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxI", stream, len(raw)) + raw


@pytest.mark.parametrize("cut", [0, 1, 16, len(CANARY) + 2])
def test_a_secret_that_is_cut_by_a_chunk_is_found_once(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr(_log_search, "CHUNK", 64)
    raw = b"x" * (128 - cut) + CANARY.encode() + b"y" * 500
    done = search()
    done.read("journal", [raw[place : place + 16] for place in range(0, len(raw), 16)])
    assert (done.hits, done.gaps) == (["journal: raw"], [])


def test_a_secret_far_from_the_end_is_found() -> None:
    done = search()
    done.read("journal", [CANARY.encode(), *[b"line after line\n" * 4096] * 40])
    assert done.hits == ["journal: raw"]


def test_more_than_the_bound_is_a_gap_and_never_a_pass() -> None:
    done = search(limit=100)
    done.read("a", [b"x" * 60])
    done.read("b", [CANARY.encode(), b"x" * 60])
    assert done.hits == []
    assert done.gaps == ["b: the logs have more than 100 bytes"]


def test_what_was_found_before_a_gap_stays_found() -> None:
    def broken() -> Iterator[bytes]:
        yield CANARY.encode() * (_log_search.CHUNK // len(CANARY) + 1)
        raise GapError("broke")

    done = search()
    done.read("a", broken())
    assert (done.hits, done.gaps) == (["a: raw"], ["a: broke"])


def test_the_log_of_a_container_comes_without_headers() -> None:
    raw = frame(b"one ") + frame(b"two ", 2) + frame(b"") + frame(b"three", 0)
    assert b"".join(frames(io.BytesIO(raw).read)) == b"one two three"
    assert b"".join(frames(io.BytesIO(b"a log of a terminal").read)) == b"a log of a terminal"
    assert list(frames(io.BytesIO(b"").read)) == []
    assert b"".join(frames(io.BytesIO(b"short").read)) == b"short"


@pytest.mark.parametrize("raw", [frame(b"one") + frame(b"two")[:-1], frame(b"one") + b"garbage!", frame(b"one") + b"\1\0"])
def test_a_log_that_breaks_off_is_a_gap(raw: bytes) -> None:
    with pytest.raises(GapError):
        list(frames(io.BytesIO(raw).read))
