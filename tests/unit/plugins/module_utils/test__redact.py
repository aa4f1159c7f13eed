from __future__ import annotations

import base64
import json
import random

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import MASK, Redactor, encodings
from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import collect, collect_secrets, is_secret
from hypothesis import given
from hypothesis import strategies as st

SECRET = "s3cr3t/+'q\"é&<x>~"
PEM = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIExampleExampleExample\nc2Vjb25kbGluZW9mdGhla2V5\n-----END KEY-----"
TEXTS = st.text(st.characters(exclude_characters="\x1b", exclude_categories=["Cs"]), max_size=60)
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cs", "Cc"]), min_size=8, max_size=24)


def test_there_are_enough_encodings() -> None:
    assert len(encodings(SECRET)) >= 23


@pytest.mark.parametrize("name", sorted(encodings(SECRET)))
def test_every_encoding_is_found(name: str) -> None:
    spelling = encodings(SECRET)[name]
    redactor = Redactor([SECRET], shapes=False)
    text = f"before {spelling} after"
    assert redactor.scan(text.encode("utf-8"))
    cleaned = redactor.text(text)
    assert spelling not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


@pytest.mark.parametrize("padding", range(7))
def test_base64_of_something_larger_is_found_at_any_offset(padding: int) -> None:
    inside = base64.b64encode(b"x" * padding + SECRET.encode() + b" and more").decode()
    assert Redactor([SECRET], shapes=False).scan(inside.encode())
    assert Redactor(["user:hunter22"]).scan(base64.b64encode(b"user:hunter22"))


@pytest.mark.parametrize(
    "coloured", ["s3cr\x1b[31m3t/+'q\"é&<x>~", "\x1b[1ms3cr3t/+'q\"é&<x>~\x1b[0m", "s3cr3t/+\n'q\"é&<x>~", "s3\\\ncr3t/+'q\"é&<x>~"]
)
def test_colours_and_line_breaks_do_not_hide(coloured: str) -> None:
    redactor = Redactor([SECRET], shapes=False)
    assert redactor.text(f"a {coloured} b") == f"a {MASK} b"
    assert redactor.scan(coloured.encode())


def test_every_line_of_a_key_is_found() -> None:
    redactor = Redactor([PEM], shapes=False)
    for line in PEM.splitlines()[1:3]:
        assert redactor.text(f"error near {line}!") == f"error near {MASK}!"


def test_a_hit_names_the_encoding_and_the_place() -> None:
    (hit,) = Redactor(["hunter22"], shapes=False).scan(b"0123 " + b"hunter22".hex().encode())
    assert (hit.encoding, hit.offset, hit.secret) == ("hex", 5, 0)


def test_short_values_are_no_secrets() -> None:
    assert Redactor(["abc", "", "12345"], shapes=False).text("abc 12345") == "abc 12345"


@given(SECRETS, TEXTS, TEXTS, st.data())
def test_a_secret_never_comes_out(secret: str, before: str, after: str, data: st.DataObject) -> None:
    spelling = data.draw(st.sampled_from(sorted(encodings(secret).values())))
    redactor = Redactor([secret])
    cleaned = redactor.text(before + spelling + after)
    assert secret not in cleaned
    assert not redactor.scan(redactor.text(cleaned).encode("utf-8", "surrogateescape"))


@given(TEXTS)
def test_without_secrets_and_shapes_nothing_changes(text: str) -> None:
    assert Redactor([], shapes=False).text(text) == text


@given(TEXTS)
def test_doing_it_twice_changes_nothing(text: str) -> None:
    once = Redactor(["hunter22"]).text(text)
    assert Redactor(["hunter22"]).text(once) == once


def test_a_stream_is_clean_however_it_is_cut() -> None:
    rng = random.Random(7)  # noqa: S311 - not cryptography
    lines = [f"2026-11-21T08:00:{n % 60:02d}Z line {n} {'hunter22secret' if n % 7 == 0 else 'plain'}" for n in range(900)]
    raw = ("\n".join(lines) + f"\n{PEM}\nend\n").encode()
    for _attempt in range(10):
        redactor = Redactor(["hunter22secret"])
        out = []
        position = 0
        while position < len(raw):
            step = rng.choice([1, 3, 17, 500, 5000])
            out.append(redactor.feed(raw[position : position + step]))
            position += step
        out.append(redactor.flush())
        whole = "".join(out)
        assert "hunter22" not in whole
        assert "BEGIN KEY" not in whole
        assert whole == Redactor(["hunter22secret"]).text(raw.decode())


def test_a_stream_without_line_ends_is_not_kept_for_ever() -> None:
    redactor = Redactor(["hunter22secret"])
    assert sum(len(redactor.feed("word " * 20_000)) for _chunk in range(10)) > 500_000


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("PROXY_AUTH_TOKEN=abc", "abc"),
        ("MONERO_NODE_PASSWORD='a b'", "a b"),
        ("P2POOL_ONION_ADDRESS=xyz.onion", "xyz"),
        ('{"password": "x1", "a": 1}', "x1"),
        ('{"accessToken" : "x1"}', "x1"),
        ('{"access-token":"x1"}', "x1"),
        ('{"token": 123456}', "123456"),
        ('{"tokens": ["one", "two"]}', "two"),
        ('{"cmd": "{\\"password\\": \\"x1\\"}"}', "x1"),
        ("{'secret': 'x1'}", "x1"),
        ("password: x1", "x1"),
        ("monerod --rpc-login user:x1 --other", "x1"),
        ("--api-token=x1", "x1"),
        ("p2pool --wallet 4Abc --merge-mine tari://host:1 12Tari", "12Tari"),
        ("Authorization: Bearer abcdefg", "abcdefg"),
        ("curl -H 'Authorization: Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz"),
        ("Cookie: a=b", "a=b"),
        ("https://user:x1@host/path", "x1"),
        ("a" * 20 + "b2c3d4" * 6 + ".onion", "b2c3d4"),
        ("44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A", "44AFF"),
        (PEM, "MC4CAQ"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ", "MC4CAQ"),
        ("peer 8.8.8.8:18080 and 2001:4860:4860::8888", "8.8.8.8"),
        ("peer 8.8.8.8:18080 and 2001:4860:4860::8888", "4860"),
    ],
)
def test_shapes_go(text: str, gone: str) -> None:
    assert gone not in Redactor([]).text(text)


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0a" * 32,
        "10.0.0.1 192.168.1.2:3333 172.30.0.29 127.0.0.1 fe80::1 ::1 100.64.0.1",
        "2026-11-21T08:15:22.123Z 08:15:22 21/Nov/2026:08:15:22.123",
        "Tor 0.4.9.15, xmrig 6.22.2, monerod 0.18.4.0",
        "/var/lib/docker/overlay2/" + "0a1b2c3d" * 8 + "/merged/usr/lib/python3/dist-packages/x",
        "=" * 120,
        '{"password": "", "token": null, "key_count": 3, "user": 7, "monkey": "banana"}',
        "MONERO_WALLET_ADDRESS= MODE=prune",
        "the token is wrong; basic authentication required; key value",
    ],
)
def test_shapes_that_tell_nothing_stay(text: str) -> None:
    assert Redactor([]).text(text) == text


def test_data_keeps_its_shape_and_public_addresses() -> None:
    redactor = Redactor(["hunter22"])
    data = {"pool": "8.8.8.8:3333", "n": 3, "on": True, "l": ["hunter22", None], "tari": {"wallet": "abc"}}
    assert redactor.data(data) == {**data, "l": [MASK, None]}
    assert redactor.data(data, names=True)["tari"] == {"wallet": MASK}
    assert json.dumps(redactor.data(data))


@pytest.mark.parametrize(
    "name", ["PROXY_AUTH_TOKEN", "accessToken", "view-key", "pass", "DASHBOARD_AUTH_HASH_B64", "user", "P2POOL_ONION_ADDRESS"]
)
def test_names_that_say_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["monkey", "MODE", "MONERO_PRUNE", "compass", "TELEGRAM_ENABLED", "keys_total"])
def test_names_that_do_not(name: str) -> None:
    assert not is_secret(name)


def test_secrets_of_a_file(tmp_path: object) -> None:
    file = f"{tmp_path}/.env"
    with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write("A_TOKEN='tok en 1'\nMODE=ordinary\nDASHBOARD_AUTH_USER=operator\nB_PASSWORD=changeme\nC_KEY=abc\n")
    assert collect_secrets(file) == ["changeme", "tok en 1"]
    assert collect_secrets(file, ["MODE"]) == ["ordinary"]
    assert collect_secrets(f"{tmp_path}/none") == []
    assert collect({"XVB_DONOR_ID": "4AbcDefG"}) == {"4AbcDefG"}
