"""No file of a run holds a secret in any spelling; one that does is taken away."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from benchkeeper import canary

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "bkcanary0123456789abcdef01234567"


@pytest.mark.parametrize(
    "raw",
    [
        SECRET.encode(),
        b"xy" + base64.b64encode(b"user:" + SECRET.encode()),
        SECRET.encode().hex().encode(),
        SECRET[:20].encode() + b"\\\n    " + SECRET[20:].encode(),
        b"\xff\xfe binary " + SECRET.encode() + b"\x00",
        b"\x1b[31m" + SECRET[:5].encode() + b"\x1b[0m" + SECRET[5:].encode(),
    ],
    ids=["plain", "base64", "hex", "two lines", "binary", "colours"],
)
def test_a_file_with_the_secret_is_taken_away(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log.txt").write_bytes(b"before " + raw + b" after")
    (tmp_path / "good.txt").write_text("nothing here", encoding="utf-8")
    leaks = canary.gate(tmp_path, [SECRET])
    assert [leak.path for leak in leaks] == ["deep/log.txt"]
    assert SECRET not in str(leaks)
    assert not (tmp_path / "deep" / "log.txt").exists()
    assert (tmp_path / "good.txt").exists()


def test_what_cannot_be_searched_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "LARGEST", 10)
    (tmp_path / "huge").write_bytes(b"x" * 11)
    assert [leak.why for leak in canary.gate(tmp_path, [SECRET])] == ["too large to be searched"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(SECRET, encoding="utf-8")
    inside = tmp_path / "run"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    assert canary.gate(inside, [SECRET]) == []
    assert outside.exists()


def test_a_missing_or_broken_state_file_has_no_secrets(tmp_path: Path) -> None:
    assert canary.secrets_of(None) == []
    assert canary.secrets_of(tmp_path / "absent") == []
    (tmp_path / "broken").write_text("{", encoding="utf-8")
    assert canary.secrets_of(tmp_path / "broken") == []
