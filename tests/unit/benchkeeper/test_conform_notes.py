"""What a case needs is read from the recorder's words; what nobody understands is not played, and never passed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from benchkeeper.conform import notes, recording

OWNER = "66666666-6666-4666-8666-666666666666"


def case(seq: int = 1, note: str = "", name: str = "c", **parts: Any) -> recording.Case:
    request = {"method": parts.pop("method", "GET"), "path": parts.pop("path", "/x"), "headers": {}, **parts.pop("request", {})}
    response = {"status": 200, "headers": {}, "body_kind": "json", "body": {}, **parts.pop("response", {})}
    line = {"seq": seq, "case": name, "group": "g", "via": "direct", "instance": "i", "request": request, "response": response}
    return recording.parse(json.dumps({**line, "note": note, **parts}))


def needs(one: recording.Case, *others: recording.Case) -> notes.Needs:
    return notes.Instance(sorted([one, *others], key=lambda known: known.seq)).needs(one)


@pytest.mark.parametrize(
    ("note", "name", "down"),
    [
        ("upstream refuses connections", "c", notes.CONTROL_PLANE),
        ("UI process refuses connections", "c", notes.CANVAS),
        ("redis down", "c", notes.REDIS),
        ("postgres down; health does not look at it", "c", notes.POSTGRES),
        ("provision answer scripted: nothing listens", "c", notes.CONTROL_PLANE),
        ("", "session control plane down new cookie", notes.CONTROL_PLANE),
        ("", "outage postgres down peers of somebody", notes.POSTGRES),
        ("", "canvas down with org", notes.CANVAS),
    ],
)
def test_what_is_away(note: str, name: str, down: str) -> None:
    assert needs(case(note=note, name=name)) == notes.Needs(down=frozenset({down}))


@pytest.mark.parametrize(
    ("text", "status", "body", "fault"),
    [
        ("201 with instance_id and state", 201, {"instance_id": "mol-ws-unseen", "state": "running"}, ""),
        ("200 instead of 201", 200, {"instance_id": "mol-ws-x", "state": "running"}, ""),
        ("201 {}", 201, {}, ""),
        ("201 HTML", 201, notes.PAGE, ""),
        ("500 {error}", 500, {"error": "no capacity"}, ""),
        ("connection closed", 200, None, "hangup"),
        ("not HTTP", 200, None, "garbage"),
    ],
)
def test_scripted_starts(text: str, status: int, body: Any, fault: str) -> None:
    script = notes.Script("POST", "/cp/workspaces/provision", status, (), body, fault)
    assert needs(case(note=f"provision answer scripted: {text}")) == notes.Needs(scripts=(script,))


def test_a_start_gives_the_instance_that_later_calls_name() -> None:
    start = case(1, "provision answer scripted: 201 with instance_id and state", response={"body": {"id": "<uuid:4>"}})
    saw = {"method": "DELETE", "path": "/cp/workspaces/<uuid:4>?instance_id=mol-ws-7", "headers": {}}
    assert needs(start, case(2, upstream_saw=[saw])).scripts[0].body == {"instance_id": "mol-ws-7", "state": "running"}


def test_an_answer_that_passes_through_is_what_was_recorded() -> None:
    told = "the control plane answer is scripted by the recorder for this path: "
    one = case(note=f"{told}503 JSON", path="/cp/auth/err?a=1", response={"status": 503, "body": {"error": "x"}})
    assert needs(one).scripts == (notes.Script("GET", "/cp/auth/err", 503, (), {"error": "x"}),)
    closed = case(note=f"{told}connection closed", path="/cp/auth/h")
    assert needs(closed).scripts == (notes.Script("GET", "/cp/auth/h", fault="hangup"),)
    assert needs(case(note=f"{told}something else")).unknown


def test_sessions_hold_for_the_whole_server_and_the_last_is_for_all_others() -> None:
    told = "tenant-member is scripted: session=good -> member; nouser -> empty user_id; notmember; notjson; else 401"
    scripts = needs(case(2), case(1, told)).scripts
    assert [(one.cookie, one.status, one.body) for one in scripts] == [
        ("session=good", 200, {"member": True, "user_id": "u1"}),
        ("session=nouser", 200, {"member": True, "user_id": ""}),
        ("session=notmember", 200, {"member": False, "user_id": "u2"}),
        ("session=notjson", 200, notes.PAGE),
        ("", 401, {"error": "no session"}),
    ]


def test_rows() -> None:
    told = "four rows row 1..row 4, one minute apart, inserted by SQL; row 2 has type task_update, row 3 has a source_id"
    one = case(note=told, path=f"/workspaces/{OWNER}/activity?limit=2")
    rows = notes.Instance([one]).rows[OWNER]
    assert [row.summary for row in rows] == ["row 1", "row 2", "row 3", "row 4"]
    assert [first.age - then.age for first, then in zip(rows, rows[1:], strict=False)] == [60.0] * 3
    assert [bool(row.source_id) for row in rows] == [False, False, True, False]
    assert [row.activity_type for row in rows] == ["a2a_receive", "task_update", "a2a_receive", "a2a_receive"]
    many = case(note="620 rows inserted by SQL", path=f"/workspaces/{OWNER}/activity")
    assert len({row.id for row in notes.Instance([many]).rows[OWNER]}) == 620


def test_time_passes_and_states_are_scripted() -> None:
    assert needs(case(name="session after negative ttl of 5 s is asked again")).wait == 6.0
    assert needs(case(name="a2a to somebody, status running")).scripts == (
        notes.Script("GET", "/cp/workspaces/:id/status", body={"state": "running"}),
    )


def test_nobody_may_be_where_a_dead_agent_said_that_it_is() -> None:
    body = {"id": "<uuid:9>", "url": "http://10.255.255.1:8000/"}
    register = case(1, method="POST", path="/registry/register", request={"body": body})
    message = case(
        2, name="a2a to dead agent", method="POST", path="/workspaces/<uuid:9>/a2a", response={"body": {"id": "<uuid:9>"}}
    )
    assert needs(message, register).nowhere == "10.255.255.1:8000"


@pytest.mark.parametrize(
    "note",
    ["the moon is scripted: full", "both replicas are stopped", "the clock was turned by an hour", "three rows dropped by SQL"],
)
def test_what_nobody_can_arrange_is_not_played(note: str) -> None:
    assert note in needs(case(note=note)).unknown


def test_a_value_that_no_answer_shows_cannot_be_sent() -> None:
    one = case(2, path="/workspaces/<uuid:3>")
    assert "<uuid:3>" in needs(one).unknown
    assert needs(one, case(1, response={"body": {"id": "<uuid:3>"}})) == notes.NOTHING


@pytest.mark.parametrize("note", ["header order is not kept", "the admin token is refused here", "200 although nothing existed"])
def test_remarks_need_nothing(note: str) -> None:
    assert needs(case(note=note)) == notes.NOTHING


def start(events: list[str], note: str = "", **parts: Any) -> notes.Start:
    one = case(note=note, via="process", response={"events": events, **parts})
    return notes.start(dataclasses.replace(one, via="process"))


def test_starts_are_read_from_what_the_program_said() -> None:
    assert start(["config fetch answered 501, continued"]) == notes.Start()
    assert start(["config fetch answered 401, continued"]).needs.scripts[0].status == 401
    assert start(["config fetch failed, continued"]).needs.down == {notes.CONTROL_PLANE}
    assert not start(["no migrations directory, schema left empty"]).migrations
    assert start(["a .env file was read"], "the .env lies next to go.mod").needs.unknown
    assert start(["config values applied"]).needs.unknown, "nobody says which values"


def test_config_values() -> None:
    note = "config answer scripted: RATE_LIMIT=7, one value of 5000 bytes, one empty key, another org id"
    probe = {"status": 200, "headers": {"X-Molecule-Org-Id": "other"}}
    body = start(["config values applied"], note, probes=[probe]).needs.scripts[0].body
    assert body == {"RATE_LIMIT": "7", "LONG": "x" * 5000, "": "y", "MOLECULE_ORG_ID": "other"}
