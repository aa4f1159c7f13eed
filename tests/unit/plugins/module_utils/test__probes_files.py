from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _probes_files
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"k" * 32


def look(**spec: Any) -> dict[str, Any]:
    document = take({"it": spec}, {"run_id": "r", "host": "h", "key": KEY})
    return {part: document[part].get("it") for part in ("invariant", "observed", "errors")}


def test_a_file_is_described_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"secret content")
    file.chmod(0o600)
    seen = look(kind="file", path=str(file))["invariant"]
    assert {key: seen[key] for key in ("exists", "type", "mode", "size")} == {
        "exists": True,
        "type": "file",
        "mode": "0600",
        "size": 14,
    }
    assert len(seen["fp"]) == 64
    assert "secret" not in json.dumps(seen)


def test_one_byte_makes_another_fingerprint_and_the_key_too(tmp_path: Path) -> None:
    file = tmp_path / "f"
    prints = set()
    for content, key in ((b"a", KEY), (b"b", KEY), (b"a", b"other" * 8)):
        file.write_bytes(content)
        document = take({"it": {"kind": "file", "path": str(file)}}, {"run_id": "r", "host": "h", "key": key})
        prints.add(document["invariant"]["it"]["fp"])
    assert len(prints) == 3


def test_the_canonical_view_outlives_a_rewrite(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    spec = {"kind": "file", "path": str(file), "canonical": ["pools[].url"]}
    seen = []
    for text in (
        '{"pools":[{"url":"a","pass":"x"}],"n":1}',
        '{\n "n": 2,\n "pools": [ {"pass": "y", "url": "a"} ]\n}\n',
        '{"pools":[{"url":"b"}]}',
    ):
        file.write_text(text, "utf-8")
        seen.append(look(**spec)["invariant"])
    assert seen[0]["fp"] != seen[1]["fp"]
    assert seen[0]["canonical_fp"] == seen[1]["canonical_fp"] != seen[2]["canonical_fp"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for kind in ("file", "tree"):
        assert look(kind=kind, path=f"{tmp_path}/no/such")["invariant"] == {"exists": False}
    assert look(kind="dotenv", path=f"{tmp_path}/no")["invariant"] == {"exists": False}
    assert look(kind="json", path=f"{tmp_path}/no", show="*")["observed"] == {"exists": False}
    assert look(kind="lock", path=f"{tmp_path}/no")["observed"] == {"exists": False, "held": False, "holder": ""}


def test_links_pipes_and_directories_are_told_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", "utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert look(kind="file", path=f"{tmp_path}/link")["invariant"]["type"] == "link"
    assert look(kind="file", path=f"{tmp_path}/pipe")["invariant"]["type"] == "pipe"
    assert look(kind="file", path=str(tmp_path))["invariant"]["type"] == "directory"
    for name in ("link", "pipe", "."):
        for kind in ("json", "dotenv"):
            assert "unreadable" in look(kind=kind, path=f"{tmp_path}/{name}", show="*")["errors"], (kind, name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b'\xef\xbb\xbf{"a": 1}', "byte-order mark"),
        (b'{"pools": [{"url": "a"', "cut off"),
        (b'{"a": 1}}', "not JSON, line 1"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (1024 * 1024 + 1), "huge"),
    ],
)
def test_a_bad_config_is_an_error_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    for spec in ({"kind": "json", "show": "*"}, {"kind": "file", "canonical": ["pools"]}):
        seen = look(**spec, path=str(file))
        assert reason in seen["errors"]
        assert seen["invariant"] is None


def test_huge_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probes_files, "HASH_LIMIT", 10)
    file = tmp_path / "f"
    file.write_bytes(b"x" * 11)
    assert look(kind="file", path=str(file))["errors"] == "huge: 11 bytes"


def test_settings_travel_as_fingerprints(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MODE='a b'\nPROXY_AUTH_TOKEN=tok123456\nEMPTY=\n<<<<\n", "utf-8")
    document = take(
        {
            "env": {"kind": "dotenv", "path": str(file), "show": ["MODE", "PROXY_AUTH_TOKEN", "NONE"]},
            "again": {"kind": "dotenv", "path": str(file), "label": "other"},
        },
        {"run_id": "r", "host": "h", "key": KEY},
    )
    env = document["invariant"]["env"]
    assert sorted(env["keys"]) == ["EMPTY", "MODE", "PROXY_AUTH_TOKEN"]
    assert env["bad_lines"] == [4]
    assert document["observed"]["env"]["values"] == {"MODE": "a b", "PROXY_AUTH_TOKEN": "[redacted]"}
    assert env["keys"]["MODE"] != document["invariant"]["again"]["keys"]["MODE"]
    assert "tok123456" not in json.dumps(document)


def test_the_same_value_in_two_files_has_the_same_fingerprint(tmp_path: Path) -> None:
    keys = []
    for name in ("live", "checkout"):
        (tmp_path / name).write_text(f"A_TOKEN=same12345\nB={name}\n", "utf-8")
        keys.append(look(kind="dotenv", path=f"{tmp_path}/{name}")["invariant"]["keys"])
    assert keys[0]["A_TOKEN"] == keys[1]["A_TOKEN"]
    assert keys[0]["B"] != keys[1]["B"]


@pytest.mark.parametrize(
    ("text", "loose", "repeated"),
    [
        ("A=plain\nB='two words; $HOME'\nC=\"a\\$b\"\nD=\nE=x # note\n", [], []),
        ("A=two words\n", ["A"], []),
        ("A=a;b\n", ["A"], []),
        ("A=$HOME\n", ["A"], []),
        ('A="`id`"\n', ["A"], []),
        ("A=1\nB=2\nA=3\n", [], ["A"]),
    ],
)
def test_settings_that_a_shell_would_read_otherwise_are_named(
    tmp_path: Path, text: str, loose: list[str], repeated: list[str]
) -> None:
    (tmp_path / ".env").write_text(text, "utf-8")
    seen = look(kind="dotenv", path=f"{tmp_path}/.env")["invariant"]
    assert (seen["loose"], seen["repeated"]) == (loose, repeated)


def test_json_shows_what_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"pools": [{"url": "a:1", "pass": "hunter22"}], "note": "hunter22", "n": 1}), "utf-8")
    some = look(kind="json", path=str(file), show=["pools[].url", "note"])["observed"]
    assert some == {"exists": True, "values": {"pools": [{"url": "a:1"}], "note": "[redacted]"}}
    everything = look(kind="json", path=str(file), show="*", mask=["n"])["observed"]["values"]
    assert everything == {"pools": [{"url": "a:1", "pass": "[redacted]"}], "note": "[redacted]", "n": "[masked]"}


def test_a_tree_lists_names_modes_and_types(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir(mode=0o755)
    (tmp_path / "sub" / "a.tar").write_text("", "utf-8")
    (tmp_path / "sub" / "a.tar").chmod(0o600)
    (tmp_path / "l").symlink_to("/nowhere")
    with open(os.fsencode(tmp_path) + b"/odd\xff", "w", encoding="utf-8"):  # noqa: PTH123 - a name in bytes
        pass
    assert [entry.split(" ", 1)[0] for entry in look(kind="tree", path=str(tmp_path))["invariant"]["entries"]] == [
        "l",
        "odd\\udcff",
        "sub",
        "sub/a.tar",
    ]
    assert look(kind="tree", path=str(tmp_path), glob="sub/*.tar")["invariant"]["entries"] == ["sub/a.tar 0600 file"]
    assert look(kind="tree", path=str(tmp_path), recursive=False, glob="*.tar")["invariant"]["entries"] == []


def test_a_lock_is_seen_and_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("", "utf-8")
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        with file.open() as holder:
            fcntl.flock(holder, kind)
            assert look(kind="lock", path=str(file))["observed"] == {
                "exists": True,
                "held": True,
                "holder": "somebody who is not recorded",
            }
        assert look(kind="lock", path=str(file))["observed"] == {"exists": True, "held": False, "holder": ""}


def test_room_is_told_in_bytes_and_inodes(tmp_path: Path) -> None:
    seen = look(kind="disk", path=str(tmp_path))["observed"]
    assert 0 < seen["free_bytes"] <= seen["total_bytes"]
    assert look(kind="disk", path="/no/such")["errors"] == "no such file or directory"


@pytest.mark.parametrize(
    "spec",
    [{"kind": "file"}, {"kind": "nonsense"}, {}, {"kind": "json", "path": "/etc/passwd", "show": 7}, {"kind": "tree", "path": 3}],
)
def test_a_wrong_spec_is_an_error_of_its_probe_alone(spec: dict[str, Any]) -> None:
    document = take({"bad": spec, "good": {"kind": "disk", "path": "/"}}, {"run_id": "r", "host": "h"})
    assert "good" in document["observed"]
    assert "bad" in {**document["errors"], **document["invariant"]}


def test_the_holder_of_a_lock_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.touch()
    (tmp_path / "lock.holder").write_text("pithead e2e pid=7 started=2026-11-21T08:00:00Z\nmore\n", encoding="utf-8")
    with file.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert look(kind="lock", path=str(file))["observed"]["holder"] == "pithead e2e pid=7 started=2026-11-21T08:00:00Z"
    assert look(kind="lock", path=str(file))["observed"]["holder"] == ""
