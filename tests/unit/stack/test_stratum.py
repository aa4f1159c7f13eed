"""The stand-ins speak stratum as the recorded pool and a real xmrig did, message for message."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from common import stratum
from common.stratum import Job, Refused, Session
from pool.work import job

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "mining" / "stratum"


def recorded(name: str) -> list[dict[str, Any]]:
    """Return a recording's messages without opens and closes."""
    return [entry for entry in json.loads((GOLDEN / name).read_text()) if entry["dir"] in {"C>S", "S>C"}]


class Replayed:
    """A desk that hands out recorded jobs and takes every share, as the recording pool did."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.job: Job | None = None
        self.shares: list[tuple[str, str]] = []
        self.left = 0

    async def login(self, session: Session) -> Job:
        session.session_id = "sess1"
        if self.refuse or self.job is None:
            message = "Unauthenticated"
            raise Refused(message, close=True)
        return self.job

    async def submit(self, session: Session, job: Job, nonce: str, result: str) -> None:
        self.shares.append((nonce, result))

    async def gone(self, session: Session) -> None:
        self.left += 1


async def replay(name: str, desk: Replayed) -> list[dict[str, Any]]:
    """Send a recording's requests over a real connection; return what came back, pushed jobs included."""
    messages = recorded(name)
    jobs = [entry["msg"]["params"] for entry in messages if entry["msg"].get("method") == "job"]
    first = [
        entry["msg"]["result"]["job"] for entry in messages if entry["dir"] == "S>C" and "job" in (entry["msg"].get("result") or {})
    ]
    desk.job = stratum.job_from_wire(first[0]) if first else None
    server = stratum.Server(desk)
    listener = await server.start("127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for entry in messages:
        if entry["dir"] == "C>S":
            writer.write(json.dumps(entry["msg"]).encode() + b"\n")
        elif entry["msg"].get("method") == "job":
            next(iter(server.sessions)).push(stratum.job_from_wire(jobs.pop(0)))
            answers.append(json.loads(await reader.readline()))
        else:
            answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    listener.close()
    return answers


@pytest.mark.parametrize("name", ["session-login-job-submit.json", "keepalive.json", "borrowed-session-login.json"])
def test_answers_are_the_recorded_ones(name: str) -> None:
    expected = [entry["msg"] for entry in recorded(name) if entry["dir"] == "S>C"]
    assert asyncio.run(replay(name, Replayed())) == expected


def test_a_refused_login_ends_the_session() -> None:
    expected = [entry["msg"] for entry in recorded("login-refused.json") if entry["dir"] == "S>C"]
    assert asyncio.run(replay("login-refused.json", Replayed(refuse=True))) == expected


def test_a_rig_names_itself_and_its_tag() -> None:
    desk = Replayed()
    seen = {}

    async def login(session: Session) -> Job:
        seen.update(login=session.login, rig_id=session.rig_id)
        return await Replayed.login(desk, session)

    desk.login = login  # type: ignore[method-assign] # the test listens to what the desk is told
    asyncio.run(replay("borrowed-session-login.json", desk))
    assert seen == {"login": "RIGHOST", "rig_id": "pithead-e2e"}


def test_recorded_shares_meet_the_recorded_target() -> None:
    work = stratum.job_from_wire(recorded("pushed-job.json")[0]["msg"]["params"])
    assert (work.difficulty, stratum.target_of(200)) == (200, "14ae4701")
    shares = [
        entry["msg"]["params"]["result"]
        for entry in recorded("session-login-job-submit.json")
        if entry["msg"].get("method") == "submit"
    ]
    assert shares
    assert all(stratum.meets_target(share, 200) for share in shares)
    assert not stratum.meets_target("ff" * 32, 200)
    assert stratum.meets_difficulty(shares[0], 200)
    assert not stratum.meets_difficulty("ff" * 32, 2)


@pytest.mark.parametrize("difficulty", [1, 2, 5, 20, 100, 200, 4096, 1_000_000])
def test_a_difficulty_survives_the_wire(difficulty: int) -> None:
    assert abs(stratum.difficulty_of(stratum.target_of(difficulty)) - difficulty) <= difficulty / 1000


def test_twice_the_same_share_an_unknown_job_and_nonsense_are_refused() -> None:
    async def talk() -> list[str]:
        desk = Replayed()
        desk.job = Job("j1", "00" * 76, 1, 1, "00" * 32)
        listener = await stratum.Server(desk).start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.sockets[0].getsockname()[1])
        writer.write(stratum.request(1, "login", {"login": "rig", "pass": "x"}))
        session = json.loads(await reader.readline())["result"]["id"]
        share = {"id": session, "job_id": "j1", "nonce": "00000001", "result": "00" * 32}
        said = []
        for change in ({}, {}, {"job_id": "j2"}, {"nonce": "zz"}, {"id": "another"}):
            writer.write(stratum.request(2, "submit", {**share, **change}))
            answer = json.loads(await reader.readline())
            said.append(answer["error"]["message"] if answer["error"] else "OK")
        assert await reader.read() == b""
        writer.close()
        listener.close()
        return said

    assert asyncio.run(talk()) == ["OK", "Duplicate share", "Block expired", "Malformed share", "Unauthenticated"]


def test_a_nonce_goes_where_miners_put_it() -> None:
    blob = recorded("pushed-job.json")[0]["msg"]["params"]["blob"]
    assert len(job("j", 3_000_000, b"extra", 1_795_000_000, 20).blob) == len(blob)
    changed = stratum.with_nonce(blob, "deadbeef")
    assert len(changed) == len(blob)
    assert [at for at in range(len(blob)) if blob[at] != changed[at]] == list(range(78, 86))
