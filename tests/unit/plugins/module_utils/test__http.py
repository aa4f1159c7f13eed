from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._http import (
    BODY_LIMIT,
    Challenge,
    HttpError,
    Login,
    Request,
    authorization,
    choose_challenge,
    fetch,
    parse_challenge,
)

from tests.unit.plugins.module_utils import fake_servers


def test_the_example_of_the_rfc() -> None:
    header = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    challenge = parse_challenge(header)
    assert challenge is not None
    answer = authorization(
        challenge,
        Login("Mufasa", "Circle of Life"),
        "GET",
        "/dir/index.html",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in answer
    assert 'opaque="FQhe/' in answer


def test_the_example_of_the_rfc_with_sha_256() -> None:
    challenge = Challenge("http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "SHA-256", ("auth",))
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    answer = authorization(challenge, Login("Mufasa", "Circle of Life"), "GET", "/dir/index.html", cnonce)
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in answer


@pytest.mark.parametrize(
    "header", ["Basic realm=x", "Digest", 'Digest nonce="n", algorithm=FOO', 'Digest nonce="n", qop="auth-int"']
)
def test_what_we_cannot_answer_is_no_challenge(header: str) -> None:
    assert parse_challenge(header) is None


def test_of_two_challenges_the_plain_one_is_taken() -> None:
    chosen = choose_challenge(['Digest nonce="1",algorithm=MD5-sess,qop="auth"', 'Digest nonce="2",algorithm=MD5,qop="auth"'])
    assert chosen is not None
    assert chosen.algorithm == "MD5"


@pytest.mark.parametrize("only", ["MD5", "MD5-sess"])
def test_a_node_is_asked_with_either_challenge(only: str) -> None:
    node = fake_servers.Node()

    def one_challenge(handler: Any, body: bytes) -> fake_servers.Reply:
        status, headers, reply = node(handler, body)
        kept = [(n, v) for n, v in headers if "algorithm" not in v or f"algorithm={only}," in v]
        return status, kept, reply

    with fake_servers.serving(one_challenge) as url:
        answer = fetch(Request(f"{url}/get_info", login=Login("user", "pass")))
    assert answer.status == 200
    assert answer.json()["nettype"] == "fakechain"


def test_a_stale_nonce_is_asked_for_again() -> None:
    with fake_servers.serving(fake_servers.Node(stale=True)) as url:
        assert fetch(Request(f"{url}/get_info", login=Login("user", "pass"))).status == 200


def test_wrong_or_no_credentials_stay_refused() -> None:
    with fake_servers.serving(fake_servers.Node()) as url:
        assert fetch(Request(f"{url}/get_info", login=Login("user", "wrong"))).status == 401
        assert fetch(Request(f"{url}/get_info")).status == 401


def test_a_refused_connection_is_no_answer() -> None:
    with fake_servers.serving(lambda *_: (200, [], b"")) as url:
        pass
    with pytest.raises(HttpError, match="refused"):
        fetch(Request(url))


def test_one_deadline_for_everything() -> None:
    def slow(_handler: Any, _body: bytes) -> fake_servers.Reply:
        time.sleep(0.6)
        return 200, [], b"late"

    started = time.monotonic()
    with fake_servers.serving(slow) as url, pytest.raises(HttpError, match=r"no answer within 0\.2 s"):
        fetch(Request(url, timeout=0.2))
    assert time.monotonic() - started < 2


def test_a_huge_answer_is_not_taken() -> None:
    with fake_servers.serving(lambda *_: (200, [], b"x" * (BODY_LIMIT + 1))) as url, pytest.raises(HttpError, match="larger"):
        fetch(Request(url))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "nonsense", "http://[::1", "ftp://x/"])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(HttpError, match="not an http address"):
        fetch(Request(url))


def test_a_redirect_is_an_answer() -> None:
    with fake_servers.serving(lambda *_: (302, [("Location", "http://192.0.2.1/")], b"")) as url:
        assert fetch(Request(url)).status == 302
