"""The tenant as it is by default: today's profile, no defects. What the recording cannot show."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from stub.settings import Profile
from tenant.handlers import registry
from tenant_bench import Bench, Clock, Running, bench, running
from tenant_memory import activity

from benchkeeper.conform import recording, wire
from benchkeeper.conform.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


ORG = ("X-Molecule-Org-Id", "harness-org")
ADMIN = ("Authorization", "Bearer harness-admin-token")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TODAY = {"TENANT_PROFILE": "current", "TENANT_DEFECTS": ""}


@dataclass
class Client:
    """Sends plain requests to a running tenant."""

    now: Running
    around: Bench

    async def __call__(self, method: str, path: str, *headers: tuple[str, str], body: Any = None) -> tuple[int, Any]:
        sent = (("Host", "tenant.example"), *headers)
        text = None if body is None else json.dumps(body)
        request = recording.Request(method, path, sent, text, "1.1", {})
        answer = await wire.exchange(self.now.port, method, wire.encode(request, Symbols()))
        await self.now.tenant.provisioning.settle()
        try:
            return answer.status, json.loads(answer.body)
        except ValueError:
            return answer.status, answer.body.decode()


def play(story: Callable[[Client], Awaitable[None]], **env: str) -> None:
    async def inside() -> None:
        async with bench(profile=Profile.CURRENT) as around, running(around.environment({**TODAY, **env}), Clock()) as now:
            await story(Client(now, around))

    asyncio.run(inside())


def test_a_missing_organisation_is_told_a_wrong_one_is_not() -> None:
    async def story(client: Client) -> None:
        status, document = await client("GET", "/workspaces", ADMIN)
        assert (status, document["code"], document["required_header"]) == (400, "TENANT_ORG_HEADER_REQUIRED", "X-Molecule-Org-Id")
        assert await client("GET", "/workspaces", ADMIN, ("X-Molecule-Org-Id", "other")) == (404, "")
        assert await client("GET", "/buildinfo") == (200, {"git_sha": "dev"})

    play(story)


def test_a_workspace_is_provisioned_stopped_and_started_again() -> None:
    async def story(client: Client) -> None:
        status, made = await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"})
        assert (status, made["status"]) == (201, "provisioning")
        assert client.around.plane.stub.world.instances == {made["id"]: f"mol-ws-{made['id']}"}
        row = (await client("GET", "/workspaces", ORG, ADMIN))[1][0]
        assert (row["status"], row["last_sample_error"]) == ("provisioning", "")
        assert (await client("POST", f"/workspaces/{made['id']}/restart", ORG, ADMIN))[0] == 200
        entries = client.around.plane.stub.journal.after(0)
        called = [(entry.method, entry.path) for entry in entries if entry.path.startswith("/cp/workspaces")]
        start = ("POST", "/cp/workspaces/provision")
        assert called == [start, ("DELETE", f"/cp/workspaces/{made['id']}"), start]
        assert [entry.path for entry in entries if entry.unexpected or entry.complaint] == []

    play(story)


def test_chat_history_is_filtered_by_peer_and_time() -> None:
    async def story(client: Client) -> None:
        one = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"}))[1]["id"]
        peer, other = "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444"
        start = datetime.now(UTC) - timedelta(hours=1)
        ends: list[dict[str, str]] = [{"source_id": peer}, {"target_id": peer}, {"source_id": other}]
        times = [start + timedelta(minutes=number) for number in range(3)]
        client.now.store.lines += [activity(n, one, times[n], **ends[n]) for n in range(3)]

        async def summaries(query: str) -> Any:
            status, rows = await client("GET", f"/workspaces/{one}/activity?{query}", ORG, ADMIN)
            return [row["summary"] for row in rows] if status == 200 else status

        assert await summaries(f"peer_id={peer}") == ["row 1", "row 0"]
        stamp = times[1].isoformat().replace("+00:00", "Z")
        assert await summaries(f"peer_id={peer}&before_ts={stamp}") == ["row 0"]
        assert await summaries(f"since_id=a0000000-0000-4000-8000-{0:012d}") == ["row 1", "row 2"]
        bad = ["peer_id=x", "before_ts=x", "before_ts=2026-01-01T00:00:00", "peer_id='%20OR%201=1--"]
        assert [await summaries(query) for query in bad] == [400, 400, 400, 400]
        assert await summaries("since_id=b0000000-0000-4000-8000-000000000000") == 410

    play(story)


def test_clients_behind_our_proxy_are_counted_one_by_one() -> None:
    async def story(client: Client) -> None:
        async def hit(*chain: str) -> int:
            return (await client("GET", "/health", *(("X-Forwarded-For", hop) for hop in chain)))[0]

        assert [await hit("203.0.113.1") for _ in range(3)] == [200, 200, 429]
        assert await hit("203.0.113.2") == 200
        # What the client itself wrote stands in front of what the proxy wrote, and does not matter.
        assert await hit("203.0.113.9, 203.0.113.1") == 429
        assert await hit("203.0.113.9", "203.0.113.1") == 429

    play(story, RATE_LIMIT="2", TRUSTED_PROXIES="127.0.0.0/8")


def test_with_the_defect_all_clients_share_one_bucket() -> None:
    async def story(client: Client) -> None:
        hits = [(await client("GET", "/health", ("X-Forwarded-For", f"203.0.113.{number}")))[0] for number in range(3)]
        assert hits == [200, 200, 429]

    play(story, RATE_LIMIT="2", TRUSTED_PROXIES="127.0.0.0/8", TENANT_DEFECTS="one-bucket")


def test_a_start_that_is_answered_with_200_is_a_failure() -> None:
    async def story(client: Client) -> None:
        client.around.plane.script("POST", "/cp/workspaces/provision", status=200, body={"instance_id": "x", "state": "running"})
        await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"})
        assert (await client("GET", "/workspaces", ORG, ADMIN))[1][0]["status"] == "failed"

    play(story)


def test_an_agent_is_seen_by_its_family_only() -> None:
    async def story(client: Client) -> None:
        async def made(name: str, **more: str) -> str:
            return str((await client("POST", "/workspaces", ORG, ADMIN, body={"name": name, **more}))[1]["id"])

        top = await made("top")
        child, stranger = await made("child", parent_id=top), await made("below", parent_id=await made("other"))
        asked = {"caller_id": child, "target_id": stranger}
        assert await client("POST", "/registry/check-access", ORG, body=asked) == (200, {"allowed": False})
        assert await client("POST", "/registry/check-access", ORG, body={**asked, "target_id": top}) == (200, {"allowed": True})
        assert (await client("GET", f"/registry/{child}/peers", ORG))[0] == 401
        assert [row["id"] for row in (await client("GET", f"/registry/{child}/peers", ORG, ADMIN))[1]] == [top]

    play(story)


def test_malformed_requests_are_refused() -> None:
    async def story(client: Client) -> None:
        # Newer versions of aiohttp refuse the first and the last by themselves, in their own words.
        assert (await client("GET", "/health", ("Host", "second")))[0] == 400
        assert (await client("GET", "/%zz"))[0] == 400
        request = recording.Request("GET", "/health", (), None, "1.1", {})
        answer = await wire.exchange(client.now.port, "GET", wire.encode(request, Symbols()))
        assert answer.status == 400

    play(story)


def test_a_request_that_goes_wrong_tells_nobody_why(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "row-with-a-secret"

    async def story(client: Client) -> None:
        async def broken() -> None:
            raise KeyError(secret)

        monkeypatch.setattr(client.now.store, "listing", broken)
        assert await client("GET", "/workspaces", ORG, ADMIN) == (500, "")

    with caplog.at_level(logging.DEBUG):
        play(story)
    assert "KeyError" in caplog.text
    assert secret not in caplog.text


def test_nothing_that_is_logged_holds_a_credential(caplog: pytest.LogCaptureFixture) -> None:
    async def story(client: Client) -> None:
        client.around.plane.script("POST", "/cp/workspaces/provision", status=500, body={"error": "echo harness-admin-token"})
        await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"})
        await client("GET", "/workspaces?token=harness-admin-token", ORG, ("Authorization", "Bearer wrong-token"))

    with caplog.at_level(logging.DEBUG):
        play(story)
    assert "harness-admin-token" not in caplog.text
    assert "wrong-token" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"name": NaN}',
        b'{"name": "a\\u0000"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "tier": 1e3}',
        b'{"name": "a", "tier": 99999999999}',
        b'{"name": "a", "tier": ' + b"9" * 5000 + b"}",
        b"\xff",
    ],
    ids=repr,
)
def test_bodies_that_only_look_like_json_are_refused(body: bytes) -> None:
    async def story(client: Client) -> None:
        head = f"POST /workspaces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{ORG[0]}: {ORG[1]}\r\n{ADMIN[0]}: {ADMIN[1]}\r\n"
        raw = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        answer = await wire.exchange(client.now.port, "POST", raw)
        assert (answer.status, json.loads(answer.body)) == (400, {"error": "invalid workspace payload"})

    play(story)


def test_numbers_without_end_mean_the_default() -> None:
    async def story(client: Client) -> None:
        path = "/workspaces/33333333-3333-4333-8333-333333333333/activity"
        assert await client("GET", f"{path}?limit={'9' * 5000}", ORG, ADMIN) == (200, [])
        assert (await client("GET", f"{path}?since_secs={'9' * 5000}", ORG, ADMIN))[0] == 400

    play(story)


async def _listen(client: Client, *headers: tuple[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.now.port)
    upgrade = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "a" * 22 + "=="),
    )
    request = recording.Request("GET", "/ws", (("Host", "x"), ORG, *upgrade, *headers), None, "1.1", {})
    writer.write(wire.encode(request, Symbols()))
    assert (await wire.read_head(reader))[0] == 101
    return reader, writer


async def _listeners(client: Client, number: int) -> None:
    async with asyncio.timeout(5):
        while client.now.tenant.hub.listeners != number:  # noqa: ASYNC110 - the hub has no event for this, and no use for one
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("before", "rate", "state", "after"),
    [
        ("online", 0.49, "", "online"),
        ("online", 0.5, "", "degraded"),
        ("online", 0.0, "wedged", "degraded"),
        ("degraded", 0.1, "", "degraded"),
        ("degraded", 0.09, "wedged", "degraded"),
        ("degraded", 0.09, "", "online"),
        ("offline", 0.9, "", "online"),
        ("provisioning", 0.0, "", "online"),
        ("paused", 0.0, "", "paused"),
        ("removed", 0.0, "", "removed"),
    ],
)
def test_what_a_workspace_is_after_a_heartbeat(before: str, rate: float, state: str, after: str) -> None:
    assert registry.next_status(before, rate, state) == after


def test_an_agent_hears_of_its_family_and_the_canvas_of_all() -> None:
    async def story(client: Client) -> None:
        ids = [(await client("POST", "/workspaces", ORG, ADMIN, body={"name": name}))[1]["id"] for name in ("one", "two")]
        below = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "below", "parent_id": ids[1]}))[1]["id"]
        token = (await client("POST", f"/workspaces/{ids[0]}/tokens", ORG, ADMIN))[1]["auth_token"]
        agent = await _listen(client, ("X-Workspace-ID", ids[0]), ("Authorization", f"Bearer {token}"))
        canvas = await _listen(client)
        await _listeners(client, 2)
        for workspace in (below, ids[1]):
            assert (await client("POST", "/registry/heartbeat", ORG, body={"workspace_id": workspace}))[0] == 200
        async with asyncio.timeout(5):
            heard = [json.loads(await wire.first_frame(agent[0]))["workspace_id"]]
            frames = [json.loads(await wire.first_frame(canvas[0])) for _ in range(4)]
        assert heard == [ids[1]]
        # What a heartbeat changes is told before it.
        assert [(one["event"], one["workspace_id"]) for one in frames] == [
            (event, one) for one in (below, ids[1]) for event in ("WORKSPACE_ONLINE", "WORKSPACE_HEARTBEAT")
        ]
        assert frames[0]["payload"] == {"recovered_from": "provisioning"}
        for _, writer in (agent, canvas):
            writer.close()
            await writer.wait_closed()
        await _listeners(client, 0)

    play(story)


def test_what_follows_an_upgrade_goes_both_ways() -> None:
    async def story(client: Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.now.port)
        headers = (("Host", "x"), ORG, ADMIN, ("Connection", "Upgrade"), ("Upgrade", "websocket"))
        writer.write(wire.encode(recording.Request("GET", "/ws-upgrade", headers, None, "1.1", {}), Symbols()))
        status, _ = await wire.read_head(reader)
        assert status == 101
        async with asyncio.timeout(5):
            for text in (b"one", b"x" * 200_000):
                writer.write(text)
                assert await reader.readexactly(len(text)) == text
        assert [name.lower() for name, _ in client.around.saw[-1].headers].count("authorization") == 0
        writer.close()
        await writer.wait_closed()

    play(story)


def test_an_upstream_that_does_not_upgrade_is_passed_on() -> None:
    async def story(client: Client) -> None:
        upgrade = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
        assert await client("GET", "/boom", ORG, *upgrade) == (500, "<h1>boom</h1>")
        assert await client("GET", "/garbage", ORG, *upgrade) == (502, "canvas unavailable")
        await client.around.canvas.down()
        assert await client("GET", "/page", ORG, *upgrade) == (502, "canvas unavailable")

    play(story)


def test_a_redirect_cannot_carry_a_line_break() -> None:
    async def story(client: Client) -> None:
        request = recording.Request("GET", "/workspaces/a%0d%0aX:%201/?q=1", (("Host", "x"),), None, "1.1", {})
        answer = await wire.exchange(client.now.port, "GET", wire.encode(request, Symbols()))
        assert (answer.status, dict(answer.headers)["Location"]) == (301, "/workspaces/a%0D%0AX:%201?q=1")

    play(story, TENANT_DEFECTS="early-redirect")


def test_what_only_the_product_does_is_asked_for_as_there_and_then_told() -> None:
    """It used to fall to the UI, which answers anybody."""

    async def story(client: Client) -> None:
        one = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"}))[1]["id"]
        unbuilt = (501, {"error": "not a part of this tenant"})
        for path, answer in (
            ("/admin/secrets", (200, [])),
            ("/events/x", unbuilt),
            (f"/workspaces/{one}/memories", (200, [])),
            (f"/workspaces/{one}/files/a/b", unbuilt),
            (f"/workspaces/{one}/terminal", unbuilt),
        ):
            assert (await client("GET", path, ORG))[0] == 401, path
            assert await client("GET", path, ORG, ADMIN) == answer, path
        assert (await client("POST", "/webhooks/github", ORG))[0] == 501

    play(story)


@pytest.mark.parametrize(
    ("defects", "broken"),
    [("", (400, {"error": "invalid workspace ID"})), ("unparsed-ids", (500, {"error": "lookup failed"}))],
)
def test_who_may_use_the_queue_the_test_token_and_a_workspace_s_fields(defects: str, broken: tuple[int, Any]) -> None:
    """Seen at the real server: its table of routes says who may, and where a handler asks by itself."""

    async def story(client: Client) -> None:
        one = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"}))[1]["id"]
        token = (await client("POST", f"/workspaces/{one}/tokens", ORG, ADMIN))[1]["auth_token"]
        own = ("Authorization", f"Bearer {token}")
        queue = f"/workspaces/{one}/a2a/queue/"
        absent = (404, {"error": "queue item not found"})
        for item, headers, answer in (
            (one, (), absent),
            (one, (own,), absent),
            ("x", (), absent),
            ("x", (ADMIN,), absent),
            ("x", (own,), broken),
            ("x", (("X-Workspace-ID", "anything"),), broken),
        ):
            assert await client("GET", f"{queue}{item}", ORG, *headers) == answer, (item, headers)
        assert await client("GET", f"/admin/workspaces/{one}/test-token", ORG) == (404, {"error": "not found"})
        assert (await client("PATCH", f"/workspaces/{one}", ORG, body={"role": "r"}))[0] == 401
        assert await client("PATCH", f"/workspaces/{one}", ORG, own, body={"role": "r"}) == (200, {"status": "updated"})

    play(story, TENANT_DEFECTS=defects)


def test_a_workspace_s_state_is_its_own_from_its_first_token_on() -> None:
    async def story(client: Client) -> None:
        one = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"}))[1]["id"]
        path = f"/workspaces/{one}/state"
        known = {"workspace_id": one, "status": "provisioning", "deleted": False, "paused": False}
        assert (await client("GET", path, ORG))[0] == 401
        assert await client("GET", path, ORG, ADMIN) == (200, known)
        token = (await client("POST", f"/workspaces/{one}/tokens", ORG, ADMIN))[1]["auth_token"]
        assert await client("GET", path, ORG, ADMIN) == (401, {"error": "invalid workspace auth token"})
        assert await client("GET", path, ORG, ("Authorization", f"Bearer {token}")) == (200, known)
        assert (await client("DELETE", f"/workspaces/{one}?confirm=true", ORG, ADMIN))[0] == 200
        gone = {"workspace_id": one, "status": "removed", "deleted": True}
        assert await client("GET", path, ORG, ADMIN) == (404, gone)
        nobody = "99999999-9999-4999-8999-999999999999"
        assert await client("GET", f"/workspaces/{nobody}/state", ORG, ADMIN) == (404, {"workspace_id": nobody, "deleted": True})

    play(story)


def test_what_cannot_be_paused_or_started_again_is_told_as_there() -> None:
    async def story(client: Client) -> None:
        one = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "one"}))[1]["id"]
        nobody = "99999999-9999-4999-8999-999999999999"
        paused, working = "workspace not found or already paused", "workspace not found or not paused"
        assert await client("POST", f"/workspaces/{one}/resume", ORG, ADMIN) == (404, {"error": working})
        assert (await client("POST", f"/workspaces/{one}/pause", ORG, ADMIN))[0] == 200
        for which in (one, nobody):
            assert await client("POST", f"/workspaces/{which}/pause", ORG, ADMIN) == (404, {"error": paused}), which
        assert await client("POST", f"/workspaces/{nobody}/resume", ORG, ADMIN) == (404, {"error": working})
        token = f"/workspaces/{one}/tokens/{nobody}"
        assert await client("DELETE", token, ORG, ADMIN) == (404, {"error": "token not found or already revoked"})

    play(story)


def test_a_workspace_moves_but_not_below_itself() -> None:
    async def story(client: Client) -> None:
        async def made(name: str, **more: str) -> str:
            return str((await client("POST", "/workspaces", ORG, ADMIN, body={"name": name, **more}))[1]["id"])

        async def move(which: str, parent: str) -> tuple[int, Any]:
            return await client("PATCH", f"/workspaces/{which}", ORG, ADMIN, body={"parent_id": parent})

        top, other = await made("top"), await made("other")
        child = await made("child", parent_id=top)
        below = await made("below", parent_id=child)
        for parent in (top, child, below):
            assert await move(top, parent) == (422, {"error": "a workspace cannot be below itself"})
        assert await move(top, "99999999-9999-4999-8999-999999999999") == (422, {"error": "parent workspace not found"})
        assert await move(top, "x") == (400, {"error": "invalid workspace ID"})
        assert await move(child, other) == (200, {"status": "updated"})
        assert (await client("GET", f"/workspaces/{child}", ORG))[1]["parent_id"] == other
        # A circle that two changes at once could make is walked once.
        await client.now.store.change(other, {"parent_id": below})
        status, answer = await client("DELETE", f"/workspaces/{other}", ORG, ADMIN)
        assert (status, answer["children_count"]) == (409, 2)

    play(story)


def test_a_token_of_the_organisation_needs_no_name_and_is_revoked_once() -> None:
    async def story(client: Client) -> None:
        for body in (None, [], {"name": {}}):
            status, made = await client("POST", "/org/tokens", ORG, ADMIN, body=body)
            assert (status, "name" in made) == (200, False)
        _, listed = await client("GET", "/org/tokens", ORG, ADMIN)
        assert {frozenset(row) for row in listed["tokens"]} == {frozenset({"id", "prefix", "created_at", "created_by"})}
        place = f"/org/tokens/{listed['tokens'][0]['id']}"
        assert (await client("DELETE", place, ORG, ADMIN))[0] == 200
        again = await client("DELETE", place, ORG, ADMIN)
        assert again == (404, {"error": "token not found or already revoked"})

    play(story)


def test_a_message_is_an_object() -> None:
    async def story(client: Client) -> None:
        box = (await client("POST", "/workspaces", ORG, ADMIN, body={"name": "box", "delivery_mode": "poll"}))[1]["id"]
        for body in ("x", [], 7):
            answer = await client("POST", f"/workspaces/{box}/a2a", ORG, ADMIN, body=body)
            assert answer == (400, {"error": "invalid JSON"})

    play(story)
