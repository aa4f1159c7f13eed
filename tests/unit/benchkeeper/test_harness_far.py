"""A file that says where tenants are: read whole or refused with its line; no token comes from anywhere but a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchkeeper.errors import UsageError
from benchkeeper.harness import far

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
edge: http://127.0.0.1:8080
build_id: b1
tenants:
  - { name: alpha, host: a.example, org: org-a, token_file: alpha.token }
  - { name: beta, host: b.example, org: org-b, token_file: alpha.token, direct: "http://10.0.0.2:8080" }
"""


def written(tmp_path: Path, text: str, inside: str = "t-1\n") -> Path:
    (tmp_path / "alpha.token").write_text(inside, encoding="utf-8")
    path = tmp_path / "far.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_in_it(tmp_path: Path) -> None:
    place = far.read(written(tmp_path, GOOD))
    assert (place.kind, place.edge, place.build_id, place.stub, place.redis) == ("url", "http://127.0.0.1:8080", "b1", "", "")
    assert [(one.name, one.direct, one.database) for one in place.tenants] == [
        ("alpha", "http://127.0.0.1:8080", ""),
        ("beta", "http://10.0.0.2:8080", ""),
    ]
    assert "t-1" not in repr(place)
    assert place.secrets == ["t-1", "t-1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "far.yml:1"),
        ("tenants: []", "far.yml:1: lacks edge"),
        (GOOD.replace("http://127.0.0.1:8080", "ftp://x"), "far.yml:1: edge"),
        (GOOD.replace("name: alpha", "name: A B"), r"far.yml:4: tenants\[0\].name"),
        (GOOD.replace("org: org-a", "org: 'a b'"), r"far.yml:4: tenants\[0\].org"),
        (GOOD.replace("host: a.example", "host: 'a/b'"), r"far.yml:4: tenants\[0\].host"),
        (GOOD.replace("token_file", "token"), "unknown key"),
        (GOOD.replace("name: beta", "name: alpha"), "same name"),
        (GOOD.replace("alpha.token }", "none }"), "cannot be read"),
        (GOOD + GOOD, "far.yml"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        far.read(written(tmp_path, text))


@pytest.mark.parametrize("token", ["", "\n", "a b", "a\x07"])
def test_a_file_without_a_token(tmp_path: Path, token: str) -> None:
    with pytest.raises(UsageError, match="holds no token"):
        far.read(written(tmp_path, GOOD, token))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        far.read(tmp_path / "none.yml")
