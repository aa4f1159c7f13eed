"""The tenant's pure parts: guard, paths, limits, addresses, sessions, settings, routes."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenant import addresses, control_paths, headers, urls
from tenant.behaviour import ALL_DEFECTS, Behaviour, Defect, Profile
from tenant.credentials import bearer, mint, same
from tenant.guard import Guard, Verdict, fly_state
from tenant.limit import RateLimit, client_of
from tenant.routes import CURRENT_ROUTES, ROUTES, Route, Table, Who
from tenant.session import Sessions, Unreachable
from tenant.settings import SettingsError, check_upstream, read, usable_key
from tenant.target import Target
from tenant_bench import Clock

ORG, HOST = "harness-org", "tenant.example:8080"
SEED, CURRENT = Behaviour(Profile.SEED), Behaviour(Profile.CURRENT)

# The matrix of contract 3.2: headers, and whether they name the organisation.
NAMED: dict[str, tuple[dict[str, str], bool]] = {
    "none": ({}, False),
    "right": ({"X-Molecule-Org-Id": ORG}, True),
    "wrong": ({"X-Molecule-Org-Id": "other"}, False),
    "empty": ({"X-Molecule-Org-Id": ""}, False),
    "spaces": ({"X-Molecule-Org-Id": f"  {ORG} "}, True),
    "case": ({"X-Molecule-Org-Id": ORG.upper()}, False),
    "disagreeing": ({"X-Molecule-Org-Id": "other", "Fly-Replay-Src": f"state={ORG}"}, True),
    "fly right": ({"Fly-Replay-Src": f"instance=a;state={ORG}"}, True),
    "fly wrong": ({"Fly-Replay-Src": "state=other"}, False),
    "fly malformed": ({"Fly-Replay-Src": f"a;{ORG}"}, False),
    "referer same host": ({"Referer": "http://tenant.example/x"}, False),
    "referer same host and port": ({"Referer": f"https://{HOST}/x"}, True),
    "referer bare": ({"Referer": f"http://{HOST}"}, True),
    "referer prefix attack": ({"Referer": f"http://{HOST}.evil/"}, False),
    "referer userinfo attack": ({"Referer": f"http://{HOST}@evil/"}, False),
    "origin": ({"Origin": f"http://{HOST}"}, True),
    "origin with slash": ({"Origin": f"http://{HOST}/"}, False),
}
PATHS = {"/health": True, "/health/x": False, "/cp/anything": True, "/workspaces": False, "/nope": False, "/buildinfo": None}


@pytest.mark.parametrize(("name", "path", "behaviour"), list(itertools.product(NAMED, PATHS, (SEED, CURRENT))))
def test_guard_matrix(name: str, path: str, behaviour: Behaviour) -> None:
    given_headers, right = NAMED[name]
    public = behaviour.profile is Profile.CURRENT if PATHS[path] is None else PATHS[path]
    verdict = Guard(ORG, canvas=True, behaviour=behaviour).judge("GET", path, HOST, given_headers)
    nothing = not given_headers.get("X-Molecule-Org-Id") and "Fly-Replay-Src" not in given_headers
    refused = Verdict.MISSING if nothing and behaviour.profile is Profile.CURRENT else Verdict.HIDE
    assert verdict is (Verdict.PASS if public or right else refused)


def test_a_guard_without_organisation_passes_everything_and_without_canvas_no_origin() -> None:
    assert Guard("", canvas=True, behaviour=SEED).judge("GET", "/x", HOST, {}) is Verdict.PASS
    assert Guard(ORG, canvas=False, behaviour=SEED).judge("GET", "/x", HOST, {"Origin": f"http://{HOST}"}) is Verdict.HIDE


@pytest.mark.parametrize(("method", "path"), [("POST", "/health"), ("GET", "/registry/register"), ("PROPFIND", "/cp/auth/me")])
def test_a_public_path_is_public_for_its_method_only(method: str, path: str) -> None:
    assert Guard(ORG, canvas=True, behaviour=SEED).judge(method, path, HOST, {}) is Verdict.HIDE
    blind = Behaviour(Profile.SEED, frozenset({Defect.METHOD_BLIND_GUARD}))
    assert Guard(ORG, canvas=True, behaviour=blind).judge(method, path, HOST, {}) is Verdict.PASS


def test_the_first_state_of_a_replayed_request_counts() -> None:
    assert fly_state("a=b; state=one ;state=two") == "one"
    assert fly_state("a=b") is None


@given(st.text(alphabet="/.abcp%2e", max_size=30))
def test_an_allowed_path_is_below_a_prefix_after_any_cleaning(rest: str) -> None:
    path = f"/cp/auth/{rest}"
    if control_paths.allowed(path, clean=True):
        assert control_paths.cleaned(path) == path
        assert ".." not in path.split("/")
        assert "//" not in path


def test_bearer_and_comparison() -> None:
    assert [bearer(text) for text in (None, "", "Bearer x", "bearer x", "Basic x", "Bearer ")] == ["", "", "x", "", "", ""]
    assert same("a", "a")
    assert not same("", "")
    assert not same("a", "b")
    token = mint()
    assert token.secret not in repr(token)
    assert token.secret.startswith(token.prefix)


def test_windows_of_the_rate_limit() -> None:
    clock = Clock()
    limit = RateLimit(2, clock)
    assert [limit.spend("a").allowed for _ in range(3)] == [True, True, False]
    assert limit.spend("b").remaining == 1
    clock.now += 59
    spent = limit.spend("a")
    assert (spent.allowed, spent.reset, dict(spent.headers)["Retry-After"]) == (False, 1, "1")
    clock.now += 1
    assert limit.spend("a").allowed


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.2", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.2", "1.2.3.4, 203.0.113.1", "203.0.113.1"),  # only the hop that our proxy wrote is believed
        ("10.0.0.2", "", "10.0.0.2"),
        ("10.0.0.2", "not an address", "10.0.0.2"),
        ("192.0.2.9", "203.0.113.1", "192.0.2.9"),  # not our proxy
        ("", "203.0.113.1", ""),
    ],
)
def test_who_is_counted(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, (ipaddress.ip_network("10.0.0.0/8"),)) == client


async def _resolve(host: str) -> list[str]:
    if host == "inner.example":
        return ["192.88.99.1", "127.0.0.1"]
    raise OSError("no such name")


def check(url: str, **options: bool) -> str:
    try:
        asyncio.run(addresses.check(url, _resolve, **{"private": True, "unspecified": False, **options}))
    except addresses.Refused as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://203.0.113.1:1/", "TEST-NET-3"),
        ("http://100.64.0.1/", "carrier-grade"),
        ("http://[fc00::1]/", "non-routable"),
        ("http://[2001:db8::1]/", "documentation"),
        ("http://[fd00::1]/", ""),
        ("http://localhost:1/", ""),
        ("http://10.0.0.1/", ""),
        (
            "http://inner.example/",
            '"inner.example" resolves to forbidden address: url targets a blocked address: loopback',
        ),
        ("http://[::ffff:127.0.0.1]/", "loopback"),
        ("http://0.0.0.0/", "unspecified"),
        ("http://[fe80::1]/", "link-local"),
        ("http:///x", 'hostname "" cannot be resolved'),
        ("file:///etc/passwd", "scheme"),
    ],
)
def test_addresses_of_agents(url: str, part: str) -> None:
    refused = check(url)
    assert (part in refused) if part else not refused


def test_private_addresses_need_a_control_plane() -> None:
    assert "RFC-1918" in check("http://10.0.0.1/", private=False)
    assert [addresses.routable(url) for url in ("http://localhost/", "http://127.0.0.1/", "http://10.0.0.1/", "http://name/")] == [
        False,
        False,
        True,
        True,
    ]


def test_sessions_remember_verdicts_but_no_failed_transport() -> None:
    clock, asked = Clock(), []
    answers: list[tuple[int, bytes] | None] = [None, (200, b'{"member": true, "user_id": "u"}'), (200, b"{"), (200, b"[]")]

    async def ask(cookie: str) -> tuple[int, bytes]:
        asked.append(cookie)
        answer = answers.pop(0)
        if answer is None:
            raise Unreachable
        return answer

    async def play() -> list[bool]:
        sessions = Sessions(ask, clock)
        found = [await sessions.member("a") for _ in range(3)]
        clock.now += 30
        found.append(await sessions.member("a"))
        clock.now += 5
        return [*found, await sessions.member("a")]

    assert asyncio.run(play()) == [False, True, True, False, False]
    assert len(asked) == 4


@pytest.mark.parametrize("part", ["admin-secret", "shared-secret", "db-secret", "key-secret"])
def test_settings_do_not_show_secrets(part: str) -> None:
    settings = read(
        {
            "ADMIN_TOKEN": "admin-secret",
            "MOLECULE_CP_SHARED_SECRET": "shared-secret",
            "DATABASE_URL": "postgres://u:db-secret@h/n",
            "SECRETS_ENCRYPTION_KEY": "key-secret",
        },
    )
    assert part not in repr(settings)
    assert part not in repr(urls.database(settings.database_url))


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ({"TENANT_PROFILE": "old"}, "TENANT_PROFILE"),
        ({"TENANT_DEFECTS": "forged-origin, no-such"}, "no-such"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "10.0.0.1/8"),
    ],
)
def test_settings_name_what_is_wrong(env: dict[str, str], part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        read(env)


def test_behaviour_is_the_mended_server_of_today_unless_asked() -> None:
    assert read({}).behaviour == Behaviour(Profile.CURRENT, frozenset())
    asked = Behaviour.from_env({"TENANT_PROFILE": "seed", "TENANT_DEFECTS": "all"})
    assert asked == Behaviour(Profile.SEED, ALL_DEFECTS)
    assert read({"TENANT_DEFECTS": "one-bucket,"}).behaviour.mistakes == {Defect.ONE_BUCKET}


def test_keys_and_urls() -> None:
    assert usable_key("0123456789abcdef0123456789abcde!")
    assert not usable_key("0" * 64)
    where = urls.database("postgres://u:p%40@h:1/n?sslmode=disable")
    assert (where.user, where.password, where.tls, where.port) == ("u", "p@", False, 1)
    assert urls.database("postgres://h/n").tls
    assert urls.redis("") == "redis://localhost:6379"
    for wrong in ("::::", "mysql://h/n", "postgres://h:x/n"):
        with pytest.raises(SettingsError):
            urls.database(wrong)
    for wrong in ("", "cp-stub", "http://", "http://[::1", "127.0.0.1:9"):
        with pytest.raises(SettingsError):
            check_upstream(wrong)


async def _handler(*_: Any) -> Any:
    raise AssertionError


def test_fixed_parts_of_a_path_win_over_parameters() -> None:
    table = Table((Route("GET", "/a/:id", Who.ADMIN, _handler), Route("GET", "/a/b", Who.ANYBODY, _handler)))
    found = table.find("GET", "/a/b")
    assert found is not None
    assert found[0].who is Who.ANYBODY
    assert table.find("GET", "/a/") is None
    assert table.find("POST", "/a/b") is None


def test_the_rest_of_a_path_is_one_parameter_and_what_is_named_wins_over_it() -> None:
    routes = (Route("GET", "/a/*rest", Who.ADMIN, _handler), Route("GET", "/a/:id/x", Who.ANYBODY, _handler))
    table = Table(routes)
    for path, rest in (("/a/", ""), ("/a/b", "b"), ("/a/b/c", "b/c"), ("/a//", "/")):
        found = table.find("GET", path)
        assert found == (routes[0], {"rest": rest}), path
    assert table.find("GET", "/a/b/x") == (routes[1], {"id": "b"})
    assert table.find("GET", "/a") is None


@pytest.mark.parametrize("first", ["bundles", "orgs", "webhooks", "channels"])
def test_answers_of_every_part_of_the_api_may_load_nothing(first: str) -> None:
    strict = ("Content-Security-Policy", "default-src 'self'")
    assert headers.security(f"/{first}")[0] == headers.security(f"/{first}/x")[0] == strict
    assert headers.security(f"/{first}x")[0] != strict


def test_no_route_is_there_twice() -> None:
    assert len({(route.method, route.path) for route in (*ROUTES, *CURRENT_ROUTES)}) == len(ROUTES) + len(CURRENT_ROUTES)


def test_headers_for_this_hop_stay_here() -> None:
    sent = [("Connection", "close, X-Hop"), ("X-Hop", "1"), ("TE", "trailers"), ("Cookie", "c"), ("A", "1"), ("a", "2")]
    sent += [("X-Forwarded-For", "1"), ("X-Forwarded-For", "2"), ("Host", "h"), ("Content-Length", "3")]
    got = headers.forwarded(sent, "3", drop={"cookie"})
    assert got == [("A", "1"), ("a", "2"), ("Te", "trailers"), ("X-Forwarded-For", "1, 2, 3")]


def test_targets() -> None:
    absolute = Target.parse("http://other.example/a%2fb?x=1&x=2&y")
    assert (absolute.host, absolute.raw_path, absolute.path, absolute.query()) == (
        "other.example",
        "/a%2fb",
        "/a/b",
        {"x": "1", "y": ""},
    )
    assert Target.parse("/a?b?c").with_query == "/a?b?c"
    assert Target.parse("/%zz").malformed
    assert not Target.parse("/%2e").malformed
