from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._looking import LookingError, given_context, look_context
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import KINDS, known_secrets, take

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-nonce/+'\"x"


def test_every_part_of_the_document_is_there() -> None:
    document = take({"d": {"kind": "disk", "path": "/"}}, {"run_id": "r", "host": "h"}, now=lambda: 1_795_248_000.5)
    assert document["taken_at"] == "2026-11-21T08:00:00.500+00:00"
    assert (document["schema"], document["host"], document["run_id"]) == (1, "h", "r")
    assert document["kinds"] == {"d": "disk"}
    parts = ["boot", "errors", "host", "invariant", "kinds", "observed", "run_id", "schema", "seconds", "taken_at"]
    assert sorted(document) == parts
    assert json.dumps(document)


def test_without_a_key_two_looks_cannot_be_compared() -> None:
    spec = {"f": {"kind": "file", "path": __file__}}
    prints = [take(spec, {})["invariant"]["f"]["fp"] for _look in range(2)]
    assert prints[0] != prints[1]


def test_a_canary_does_not_travel(tmp_path: Path) -> None:
    env, config = tmp_path / ".env", tmp_path / "config.json"
    env.write_text("NTFY_TOKEN=" + "'" + CANARY.replace("'", "'\\''") + "'\nMODE=x\n", "utf-8")
    config.write_text(json.dumps({"ntfy": {"token": CANARY}, "note": f"see {CANARY}", "list": [CANARY]}), "utf-8")
    document = take(
        {
            "env": {"kind": "dotenv", "path": str(env), "show": ["NTFY_TOKEN", "MODE"]},
            "config": {"kind": "json", "path": str(config), "show": "*"},
            "file": {"kind": "file", "path": str(config), "canonical": ["ntfy"]},
            "said": {"kind": "command", "argv": ["cat", str(env), str(config)], "keep_output": True},
            "failed": {"kind": "command", "argv": [f"/no/{CANARY}"]},
        },
        {"run_id": "r", "host": "h"},
    )
    text = json.dumps(document)
    assert CANARY not in text
    assert json.dumps(CANARY)[1:-1] not in text
    assert "canary-nonce" not in text


def test_secrets_come_from_every_file_that_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A_TOKEN=tok-one\n", "utf-8")
    (tmp_path / "c.json").write_text(
        '{"http": {"access-token": "tok-two"}, "user": "somebody", "passwords": {"x": "tok-three"}}', "utf-8"
    )
    probes = {
        "a": {"kind": "http", "url": "x", "bearer": {"file": f"{tmp_path}/c.json", "json": "http.access-token"}},
        "b": {"kind": "jsonrpc", "url": "x", "digest": {"file": f"{tmp_path}/env", "user_key": "U", "password_key": "P"}},
    }
    assert known_secrets(probes, [f"{tmp_path}/none"]) == ["tok-one", "tok-two"]


def test_every_kind_is_documented() -> None:
    for kind, probe in KINDS.items():
        assert (probe.__doc__ or "").startswith(f"``{kind} {{")


def test_a_lease_gives_key_and_snapshot_from_before(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "run-1" / "bench-0"
    directory.mkdir(parents=True)
    lease = {"resource": "bench-0", "run_id": "run-1"}
    with pytest.raises(LookingError, match="missing"):
        look_context(lease, str(tmp_path))
    (directory / "key").write_bytes(b"k" * 32)
    assert look_context(lease, str(tmp_path)) == {"run_id": "run-1", "host": "bench-0", "key": b"k" * 32, "before": None}
    (directory / "before.json").write_text('{"probes": {}, "snapshot": {"host": "bench-0", "observed": {}}}', "utf-8")
    assert look_context(lease, str(tmp_path))["before"] == {"host": "bench-0", "observed": {}}
    for text, reason in (("{", "not JSON"), ("[]", "not a snapshot"), ("{}", "not a snapshot")):
        (directory / "before.json").write_text(text, "utf-8")
        with pytest.raises(LookingError, match=reason):
            look_context(lease, str(tmp_path))
    for wrong in ({}, {"resource": "..", "run_id": "run-1"}, {"resource": "a/b", "run_id": "run-1"}):
        with pytest.raises(LookingError, match="names its run"):
            look_context(wrong, str(tmp_path))


def test_a_key_may_come_from_a_file_or_a_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    assert given_context({"key_file": f"{tmp_path}/key", "host": "h"}) == {"key": b"k" * 32, "host": "h", "secrets_from": []}
    assert len(given_context({"key": "nonce"})["key"]) == 32
    assert given_context({"key": "nonce"}) == given_context({"key": "nonce"}) != given_context({"key": "other"})
    assert "key" not in given_context({})
    with pytest.raises(LookingError):
        given_context({"key_file": f"{tmp_path}/none"})
