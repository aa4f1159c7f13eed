from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client


@pytest.mark.parametrize(
    ("verb", "answer", "seconds"),
    [
        ("file", {"changed": True, "seconds": 9.0}, 0.0),
        ("command", {"rc": 0, "seconds": 2.5}, 2.5),
        ("engine", {"calls": [{"seconds": 1.0}, {"seconds": 0.5}]}, 1.5),
        (
            "recover",
            {
                "resources": {
                    "bench-0": {
                        "proof_seconds": 3.0,
                        "items": [{"kind": "engine", "seconds": 4.0}, {"kind": "file", "seconds": 0.2}],
                    }
                }
            },
            7.0,
        ),
    ],
)
def test_what_the_keeper_was_asked_for_is_not_its_own_time(verb: str, answer: dict[str, Any], seconds: float) -> None:
    assert _keeper_client.work_seconds(verb, answer) == seconds


def test_the_time_of_all_calls_of_a_module_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 13.0, 20.0, 21.0])
    monkeypatch.setattr(_keeper_client, "_spent", [0.0])
    monkeypatch.setattr(_keeper_client.time, "monotonic", lambda: next(ticks))
    answers = iter([{"rc": 0, "seconds": 2.5}, {"changed": True}])

    def run(_argv: list[str], _request: bytes) -> tuple[int, bytes, bytes]:
        return 0, json.dumps(next(answers)).encode(), b""

    assert _keeper_client.call("command", {}, run)["keeper_wall"] == 0.5
    assert _keeper_client.call("file", {}, run)["keeper_wall"] == 1.5
