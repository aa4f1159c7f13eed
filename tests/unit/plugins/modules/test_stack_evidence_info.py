from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineUnreachableError
from ansible_collections.benchkeeper.core.plugins.modules import stack_evidence_info as module

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "bkcanary0123456789abcdef01234567"
PARAMS = {"project": "", "resource": "b", "run_id": "r", "canary": CANARY, "logs": False, "lines": 2, "redact": []}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journalctl that says what it was asked for, and then what is in a file."""
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$*"\ncat "${0%/*}/text"\nexit $(cat "${0%/*}/rc")\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "text").write_text("quiet\n", encoding="utf-8")
    (tmp_path / "rc").write_text("0", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def leases(monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any]) -> None:
    monkeypatch.setattr(_keeper_client, "call", lambda _verb, _request: {"leases": list(found)})


def test_everything_since_the_lease_is_searched_also_what_no_reader_gets(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases(monkeypatch, {"resource": "b", "run_id": "r", "since": "2026-01-01T00:01:00+00:00"})
    (journal / "text").write_text(CANARY + "\n" + "later line\n" * 200_000, encoding="utf-8")
    done = module.collect(PARAMS)
    assert done == {"hits": ["journal: raw"], "gaps": [], "texts": {}}
    asked = b"".join(module.journal_since(module.began("b", "r"))).partition(b"\n")[0].decode()
    began = int(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc).timestamp())
    assert asked.endswith(f"--all --since @{began}")


def test_without_a_lease_everything_that_is_there_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    leases(monkeypatch, {"resource": "b", "run_id": "another", "since": "2026-01-01T00:01:00+00:00"})
    assert module.began("b", "r") == 0


def test_a_journal_that_fails_is_a_gap(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases(monkeypatch)
    (journal / "rc").write_text("1", encoding="utf-8")
    assert module.collect(PARAMS)["gaps"] == ["journal: journalctl ended with 1"]


@pytest.mark.usefixtures("journal")
def test_an_engine_that_does_not_answer_is_a_gap_where_there_is_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_engine: object, _project: str) -> None:
        raise EngineUnreachableError("refused")

    leases(monkeypatch)
    monkeypatch.setattr(module.Engine, "project", silent)
    assert module.collect(PARAMS)["gaps"] == []
    told = module.collect({**PARAMS, "project": "p", "logs": True})
    assert "refused" in told["gaps"][0]
    assert "refused" in told["texts"]["logs/engine.txt"]
