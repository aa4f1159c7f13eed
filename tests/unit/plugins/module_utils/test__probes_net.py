from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._predicate import evaluate
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take

from tests.unit.plugins.module_utils import fake_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "n0de-pass/word"


@contextlib.contextmanager
def node(tmp_path: Path, chain: dict[int, str] | None = None) -> Iterator[dict[str, Any]]:
    """A node with digest authentication, and the options of a probe that may ask it."""
    env = tmp_path / ".env"
    env.write_text(f"MONERO_NODE_USERNAME=user\nMONERO_NODE_PASSWORD='{PASSWORD}'\n", "utf-8")
    with fake_servers.serving(fake_servers.Node(f"user:{PASSWORD}", chain or {})) as url:
        yield {
            "url": f"{url}/json_rpc",
            "digest": {"file": str(env), "user_key": "MONERO_NODE_USERNAME", "password_key": "MONERO_NODE_PASSWORD"},
        }


def look(before: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    document = take({"it": spec}, {"run_id": "r", "host": "h", "before": before})
    assert PASSWORD not in json.dumps(document)
    return {"observed": document["observed"].get("it"), "errors": document["errors"].get("it")}


def test_a_node_is_asked_with_credentials_of_the_host(tmp_path: Path) -> None:
    with node(tmp_path) as spec:
        seen = look(kind="jsonrpc", method="get_info", keep=["synchronized", "height", "nettype"], **spec)
    assert seen["observed"] == {"result": {"height": 1, "nettype": "fakechain", "synchronized": True}}


def test_an_error_of_the_node_is_an_answer(tmp_path: Path) -> None:
    with node(tmp_path) as spec:
        assert look(kind="jsonrpc", method="nope", **spec)["observed"] == {"error": "-32601: Method not found"}


def test_wrong_and_missing_credentials_are_told_without_them(tmp_path: Path) -> None:
    with node(tmp_path) as spec:
        (tmp_path / ".env").write_text("MONERO_NODE_USERNAME=user\nMONERO_NODE_PASSWORD=wrong1234\n", "utf-8")
        assert look(kind="jsonrpc", method="get_info", **spec)["errors"] == "401: the credentials were refused"
        (tmp_path / ".env").write_text("MONERO_NODE_USERNAME=user\n", "utf-8")
        assert "has no MONERO_NODE_PASSWORD" in look(kind="jsonrpc", method="get_info", **spec)["errors"]
        (tmp_path / ".env").unlink()
        assert "is missing" in look(kind="jsonrpc", method="get_info", **spec)["errors"]


def test_a_chain_tells_what_became_of_the_block_it_had(tmp_path: Path) -> None:
    one = {"probe": "it", "op": "chain_kept"}
    with node(tmp_path, {0: "genesis", 1: "b1", 2: "b2"}) as spec:
        early = look(kind="chain", **spec)["observed"]
        assert early == {"height": 3, "hash": "b2", "genesis": "genesis"}
        before = {"observed": {"it": early}}
    for chain, kept in (
        ({0: "genesis", 1: "b1", 2: "b2", 3: "b3"}, True),
        ({0: "genesis", 1: "b1", 2: "other", 3: "b3"}, False),
        ({0: "genesis", 1: "b1"}, False),
        ({0: "another", 1: "b1", 2: "b2"}, False),
    ):
        with node(tmp_path, chain) as spec:
            now = look(before, kind="chain", **spec)["observed"]
        assert evaluate(one, {"observed": {"it": now}}, before=before).ok is kept


def test_a_miner_is_asked_with_the_token_of_its_config(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"http": {"access-token": "TOKEN"}}', "utf-8")
    bearer = {"file": str(config), "json": "http.access-token"}
    with fake_servers.serving(fake_servers.miner()) as url:
        spec: dict[str, Any] = {
            "kind": "http",
            "url": f"{url}/2/summary",
            "keep": ["connection.pool", "connection.ip", "connection.accepted"],
        }
        seen = look(bearer=bearer, **spec)["observed"]
        assert seen["status"] == 200
        assert seen["json"] == {"connection": {"pool": "orig.test:13333", "ip": "127.0.0.1", "accepted": 152}}
        assert look(**spec)["observed"]["status"] == 401
        config.write_text('{"http": {"access-token": "wrong-token"}}', "utf-8")
        assert look(bearer=bearer, **spec)["observed"]["status"] == 403
        config.write_text('{"http": {"access-token": null}}', "utf-8")
        assert look(bearer=bearer, **spec)["observed"]["status"] == 401
        assert look(kind="http", url=f"{url}/nothing", json=True)["observed"]["status"] == 404


def test_a_pool_that_is_gone_shows_in_the_recorded_summaries() -> None:
    text = (fake_servers.GOLDEN / "xmrig-keepalive-and-poolgone.txt").read_text("utf-8")
    summaries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    connected = {"probe": "m", "path": "connection.ip", "op": "truthy"}
    named = {"probe": "m", "path": "connection.pool", "op": "eq", "value": "bench.test:3335"}
    documents = [{"observed": {"m": summary}} for summary in summaries]
    assert [evaluate(connected, document).ok for document in documents] == [True, False, False, False, False]
    assert all(evaluate(named, document).ok for document in documents)  # the pool's name alone proves nothing


def test_an_answer_that_is_no_json_is_told() -> None:
    with fake_servers.serving(lambda *_: (502, [("Content-Type", "text/html; charset=utf-8")], b"<html>")) as url:
        assert look(kind="http", url=url, json=True)["observed"] == {"status": 502, "content_type": "text/html", "not_json": True}
        assert "not JSON" in look(kind="jsonrpc", url=url, method="x")["errors"]


def test_everything_is_masked_by_name_when_everything_is_wanted() -> None:
    body = json.dumps({"tari": {"wallet": "abcdef"}, "pool": {"type": "Main"}}).encode()
    with fake_servers.serving(lambda *_: (200, [], body)) as url:
        assert look(kind="http", url=url, json=True)["observed"]["json"] == {
            "tari": {"wallet": "[redacted]"},
            "pool": {"type": "Main"},
        }


@pytest.mark.parametrize("kind", ["http", "jsonrpc", "chain"])
def test_nobody_there_is_an_error_and_not_a_no(kind: str) -> None:
    seen = look(kind=kind, url="http://127.0.0.1:9/", method="GET")
    assert seen["observed"] is None
    assert "refused" in seen["errors"]


def test_an_address_takes_values_of_a_settings_file_and_a_redirect_is_told(tmp_path: Path) -> None:
    settings = tmp_path / ".env"
    with fake_servers.serving(lambda handler, _body: (301, [("Location", f"https://x{handler.path}")], b"")) as url:
        settings.write_text(f"PORT={url.rpartition(':')[2]}\n", "utf-8")
        spec = {"kind": "http", "url": "http://127.0.0.1:$PORT/a", "settings": str(settings)}
        seen = take({"http": spec}, {})["observed"]["http"]
        lost = take({"http": {**spec, "url": "http://127.0.0.1:$GONE/a"}}, {})
    assert (seen["status"], seen["location"]) == (301, "https://x/a")
    assert "has no GONE" in lost["errors"]["http"]
