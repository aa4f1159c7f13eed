"""What is shown without a terminal: a line for each phase, task and item, a sign of life in between."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from benchkeeper import progress
from benchkeeper.progress import Progress, Tail, View

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(path: Path, *events: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_half_a_line_waits_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert list(tail.events()) == []
    path.write_text('{"a": 1}\n{"b":', encoding="utf-8")
    assert list(tail.events()) == [{"a": 1}]
    with path.open("a", encoding="utf-8") as file:
        file.write(" 2}\nnot json\n[3]\n")
    assert list(tail.events()) == [{"b": 2}]


def test_plain_lines(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    stream = io.StringIO()
    with Progress(events, stream=stream) as shown:
        write(
            events,
            {"event": "phase.start", "phase": "deploy"},
            {"event": "task.start", "phase": "deploy", "task": "Validating arguments against arg spec 'main'"},
            {"event": "task.start", "phase": "deploy", "task": "Deploy the branch"},
            {"event": "item", "item": "bench-0", "status": "failed", "msg": "no space"},
            {"event": "check", "id": "deploy.synced", "ok": True, "seconds": 2.0},
            {"event": "failed", "task": "Deploy the branch", "msg": "no space"},
            {"event": "failed", "task": "Say that it failed", "msg": "no space"},
        )
        shown.beat()
    text = stream.getvalue()
    for part in ("── deploy", "Deploy the branch", "✗ bench-0: no space", "✓ deploy.synced (2.0 s)"):
        assert part in text
    assert "Validating" not in text
    assert "Say that it failed" not in text


def test_a_sign_of_life_names_what_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.0)
    events, context = tmp_path / "events.jsonl", tmp_path / "context.json"
    context.write_text(
        json.dumps({"lifecycle": [{"id": "a", "title": "restart"}, {"id": "b", "title": "flip the pool"}]}), encoding="utf-8"
    )
    stream = io.StringIO()
    with Progress(events, context, stream) as shown:
        write(events, {"event": "phase.start", "phase": "lifecycle"}, {"event": "check", "id": "a", "ok": False, "why": "late"})
        shown.beat()
        shown.beat()
    assert "… flip the pool" in stream.getvalue()
    assert "1 fail" in stream.getvalue()


def test_gates_come_first() -> None:
    view = View(0)
    view.know_steps({"scenario": [{"title": "second"}, {"title": "first", "gate": True}]})
    view.feed({"event": "phase.start", "phase": "scenario"}, 0)
    assert view.waiting_for == "first"


def test_a_terminal_that_is_gone_does_not_stop_a_run(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Progress(tmp_path / "none", stream=Gone()).line("text")
