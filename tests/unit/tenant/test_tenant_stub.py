"""The control-plane stub: held to its own schemas and the consumer's decoder, everything recorded, nothing secret written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from stub.masking import Mask
from stub.paths import cleaned, matches
from stub.routes import CURRENT, Asked, World
from stub.settings import Defect, Profile, Settings, read
from tenant_bench import ControlPlane
from wire import answers, consumer

Call = Callable[..., Awaitable[tuple[int, Any]]]
SETTINGS = Settings(key=b"k" * 32)


def play(story: Callable[[Call], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    async def inside() -> None:
        plane = await ControlPlane.start([], settings)
        try:
            async with ClientSession(f"http://127.0.0.1:{plane.port}") as http:

                async def call(method: str, path: str, **parts: Any) -> tuple[int, Any]:
                    async with http.request(method, path, **parts) as answer:
                        return answer.status, await answer.json(content_type=None)

                await story(call)
        finally:
            await plane.down()

    asyncio.run(inside())


async def entries(call: Call, query: str = "after=0") -> list[dict[str, Any]]:
    return list((await call("GET", f"/__stub/journal?{query}"))[1]["entries"])


def test_a_call_without_handler_is_recorded_and_unexpected_unless_announced() -> None:
    async def story(call: Call) -> None:
        assert (await call("GET", "/cp/nothing?token=abc"))[0] == 501
        await call("POST", "/__stub/expect", json={"method": "PUT", "path": "/cp/:anything"})
        assert (await call("PUT", "/cp/nothing"))[0] == 501
        status, journal = await call("GET", "/__stub/journal")
        assert (status, journal["unexpected"], journal["cursor"]) == (200, 1, 2)
        assert [(entry["method"], entry["status"], entry["unexpected"]) for entry in journal["entries"]] == [
            ("GET", 501, True),
            ("PUT", 501, False),
        ]

    play(story)


def test_each_replay_has_a_cursor_of_its_own() -> None:
    async def story(call: Call) -> None:
        await call("GET", "/healthz")
        assert (await call("POST", "/__stub/mark?replay=a"))[1] == {"cursor": 1}
        await call("GET", "/cp/auth/me")
        assert [entry["path"] for entry in await entries(call, "replay=a")] == ["/cp/auth/me"]
        assert await entries(call, "replay=a") == []
        assert [entry["path"] for entry in await entries(call, "replay=b")] == ["/healthz", "/cp/auth/me"]
        assert (await call("GET", "/__stub/journal?after=x"))[0] == 400

    play(story)


def test_credentials_are_masked_wherever_they_stand() -> None:
    secret = "s3cr3t-value"

    async def story(call: Call) -> None:
        headers = {"Authorization": f"Bearer {secret}", "Cookie": f"session={secret}", "X-Molecule-Admin-Token": secret}
        body = {"env": {"API_KEY": secret, "NAME": "n"}, "list": [{"password": secret}], "tokens": 3}
        await call("POST", f"/cp/x?access_token={secret}&plain=1", headers=headers, json=body)
        await call("POST", "/cp/x", data=f"not json {secret}")
        found = await entries(call)
        assert secret not in json.dumps(found)
        assert found[0]["query"].endswith("&plain=1")
        assert found[0]["body"]["env"]["NAME"] == "n"
        assert found[0]["body"]["tokens"] == 3
        assert found[1]["body"] == len(f"not json {secret}")
        # Whoever has the key can tell that it was this very value.
        assert dict(found[0]["headers"])["X-Molecule-Admin-Token"] == Mask(SETTINGS.key).value(secret)

    play(story)
    assert "k" * 32 not in repr(SETTINGS)
    assert "k" * 32 not in repr(Mask(SETTINGS.key))


@pytest.mark.parametrize("route", CURRENT, ids=lambda route: route.path)
def test_every_route_keeps_its_own_contract(route: Any) -> None:
    bodies: list[Any] = [None, {}, {"slug": "s", "name": "n", "owner_user_id": "o"}, {"workspace_id": "w"}]
    world = World(replace(SETTINGS, config={"RATE_LIMIT": "7"}))
    for body in bodies:
        status, document = route.answer(world, Asked({"id": "w"}, {}, body))
        assert route.complaint(status, document, json.dumps(document).encode()) == ""


@pytest.mark.parametrize(
    ("defect", "method", "path"),
    [(Defect.NESTED_CONFIG, "GET", "/cp/tenants/config"), (Defect.PROVISION_OK, "POST", "/cp/workspaces/provision")],
)
def test_the_schemas_notice_the_defects(defect: Defect, method: str, path: str) -> None:
    async def story(call: Call) -> None:
        assert (await call(method, path, json={}))[0] == 200
        status, journal = await call("GET", "/__stub/journal")
        assert (status, journal["complaints"]) == (200, 1)

    play(story, replace(SETTINGS, defects=frozenset({defect})))


def test_what_the_model_allows_the_consumer_must_decode() -> None:
    route = next(route for route in CURRENT if route.path == "/cp/tenants/config")
    assert route.complaint(200, {"A": "1"}, b'{"A": 1}').startswith("the consumer cannot decode it")
    assert route.complaint(200, {"A": "x" * 5000}, b"{}") == "against Config: the document"
    assert route.complaint(418, {}, b"{}") == "no model for status 418"
    for instance, good in (("i-0123", False), ("mol-ws-1", True), ("i", True), ("ix", True)):
        document = {"instance_id": instance, "state": "running", "workspace_id": "w", "url": ""}
        assert (answers.Started.model_validate(document) is not None) if good else _refused(answers.Started, document)


def _refused(model: Any, document: Any) -> bool:
    with pytest.raises(ValueError, match="instance_id"):
        model.model_validate(document)
    return True


def test_wrong_methods_are_refused_and_state_counts() -> None:
    async def story(call: Call) -> None:
        assert (await call("GET", "/cp/workspaces/provision"))[0] == 405
        await call("POST", "/cp/workspaces/provision", json={"workspace_id": "w"})
        await call("GET", "/cp/tenants/config")
        assert (await call("GET", "/__stub/state"))[1] == {
            "redeploy_fleet_calls": 0,
            "provision_calls": 1,
            "tenants_config_calls": 1,
        }
        assert (await call("GET", "/cp/workspaces/w/status"))[1] == {"state": "running"}
        await call("DELETE", "/cp/workspaces/w?instance_id=mol-ws-w")
        assert (await call("GET", "/cp/workspaces/w/status"))[1] == {"state": "terminated"}
        status, document = await call("POST", "/cp/admin/orgs", json={"slug": "s"})
        assert (status, document["fields"]) == (400, ["name", "owner_user_id"])

    play(story)


def test_answers_are_scripted_for_a_while() -> None:
    async def story(call: Call) -> None:
        script = {"method": "GET", "path": "/cp/auth/:what", "status": 503, "body": {"error": "x"}, "times": 1}
        assert (await call("POST", "/__stub/script", json=script))[0] == 200
        assert (await call("GET", "/cp/auth/me"))[0] == 503
        assert (await call("GET", "/cp/auth/me"))[0] == 200
        await call("POST", "/__stub/script", json={"path": "/cp/auth/me", "when": {"Cookie": "a=1"}, "status": 401})
        assert (await call("GET", "/cp/auth/me"))[0] == 200
        assert (await call("GET", "/cp/auth/me", headers={"Cookie": "a=1"}))[0] == 401
        await call("DELETE", "/__stub/script")
        assert (await call("GET", "/cp/auth/me", headers={"Cookie": "a=1"}))[0] == 200
        for wrong in ({"path": "/__stub/state"}, {"path": "x"}, {"path": "/x", "status": 1000}, {"path": "/x", "colour": "red"}):
            assert (await call("POST", "/__stub/script", json=wrong))[0] == 400

    play(story)


def test_the_seed_profile_knows_less() -> None:
    async def story(call: Call) -> None:
        assert (await call("POST", "/cp/workspaces/provision", json={}))[0] == 501
        assert (await call("GET", "/__stub/state"))[1] == {"redeploy_fleet_calls": 0}

    play(story, replace(SETTINGS, profile=Profile.SEED))


def test_paths() -> None:
    assert [cleaned(path) for path in ("/cp/a/../b", "/cp//a/", "/cp/%2e%2e/a", "/..", "//")] == [
        "/cp/b",
        "/cp/a/",
        "/cp/%2e%2e/a",
        "/",
        "/",
    ]
    assert matches("/cp/:id/x", "/cp/a%2fb/x") == {"id": "a/b"}
    assert matches("/cp/:id", "/cp/") is None


def test_settings_are_checked() -> None:
    assert read({}).profile is Profile.CURRENT
    assert read({"STUB_CONFIG": '{"A": "1"}'}).config == {"A": "1"}
    for env in (
        {"STUB_CONFIG": "[]"},
        {"STUB_CONFIG": "{"},
        {"STUB_PROFILE": "x"},
        {"STUB_DEFECTS": "x"},
        {"STUB_REDIRECT": "302"},
        {"PORT": "x"},
    ):
        with pytest.raises(ValueError, match=r"."):
            read(env)


@pytest.mark.parametrize(
    ("decode", "status", "body"),
    [
        (consumer.provision, 200, b"{}"),
        (consumer.stop, 501, b""),
        (consumer.status, 200, b"{}"),
        (consumer.status, 501, b"{}"),
        (consumer.console, 200, b'{"output": 1}'),
        (consumer.config, 200, b'{"a": {"b": 1}}'),
        (consumer.config, 200, b'{"a": "' + b"x" * consumer.MAX_CONFIG + b'"}'),
        (consumer.membership, 401, b"{}"),
        (consumer.fleet, 200, b"{}"),
        (consumer.person, 200, b'{"id": ""}'),
        (consumer.organisation, 400, b'{"error": "x"}'),
    ],
)
def test_the_consumer_refuses_and_quotes_nothing(decode: Any, status: int, body: bytes) -> None:
    with pytest.raises(consumer.Undecodable) as refused:
        decode(status, body)
    assert "x" * 20 not in str(refused.value)


def test_the_consumer_takes_what_it_can() -> None:
    assert consumer.provision(201, b"<html>") == consumer.Provisioned()
    assert consumer.config(200, b'{"A": "1", "": "2", "B": "' + b"x" * 5000 + b'"}') == {"A": "1"}
    assert not consumer.membership(200, b'{"member": true, "user_id": ""}').member
    assert consumer.fleet(200, b'{"results": [{"slug": "a", "ssm_exit_code": 0, "healthz_ok": true}, {"slug": "b"}]}') == ["a"]
