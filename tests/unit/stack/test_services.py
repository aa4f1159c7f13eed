"""Decisions inside the stand-ins: when miners are let in, what the numbers mean, which requests reach the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from common import monerod, protobuf
from dashboard import view
from dashboard.gate import Action, Gate, Rules, step
from dashboard.readings import ChainReading, Readings, WorkerRow, online, pool_type, worker_rows
from p2pool import options, peers, stats
from socket_proxy.rules import control, looking
from xmrig_proxy.accounts import Accounts

if TYPE_CHECKING:
    from pathlib import Path

SYNCED = ChainReading(height=10, target=10, synced=True)
BEHIND = ChainReading(height=5, target=10, synced=False)
RULES = Rules(down_after=90, recovery_after=60, tari_required=True)
RUNNING = {"p2pool": "running", "xmrig-proxy": "running", "monerod": "running"}
CLOSED = {**RUNNING, "xmrig-proxy": "exited"}
FACTS = view.Facts("dev", "bench-0", "", 3333, True, "local", True, True, False, 300.0, "p2pool:3333")


def seen(
    at: float, monero: ChainReading | None = SYNCED, tari: ChainReading | None = SYNCED, states: dict[str, str] | None = None
) -> Readings:
    return Readings(at=at, monero=monero, tari=tari, containers=RUNNING if states is None else states)


def test_miners_are_held_until_every_required_chain_is_there() -> None:
    gate, actions = step(Gate(), seen(0, tari=BEHIND), RULES)
    assert (gate.holding, actions) == (True, [Action("stop", "xmrig-proxy"), Action("stop", "p2pool")])
    gate, actions = step(gate, seen(30, states={"p2pool": "exited", "xmrig-proxy": "exited"}), RULES)
    assert (gate.released, actions) == (True, [Action("start", "p2pool"), Action("start", "xmrig-proxy")])
    gate, actions = step(gate, seen(60), RULES)
    assert (gate.holding, actions) == (False, [])


def test_the_latch_never_goes_back() -> None:
    gate, actions = step(Gate(released=True), seen(0, monero=BEHIND), RULES)
    assert (gate.released, gate.holding, actions) == (True, False, [])


def test_an_optional_chain_holds_nobody() -> None:
    gate, actions = step(Gate(), seen(0, tari=None), Rules(90, 60, tari_required=False))
    assert (gate.released, actions) == (True, [])


def test_a_node_that_is_away_for_long_turns_miners_away_and_lets_them_back() -> None:
    gate, _ = step(Gate(released=True), seen(0), RULES)
    gate, actions = step(gate, seen(10, monero=None), RULES)
    assert (gate.rejected, actions) == (False, [])
    gate, actions = step(gate, seen(99, monero=None), RULES)
    assert (gate.rejected, actions) == (False, [])
    gate, actions = step(gate, seen(100, monero=None), RULES)
    assert (gate.rejected, actions) == (True, [Action("stop", "xmrig-proxy")])
    gate, actions = step(gate, seen(110, states=CLOSED), RULES)
    assert (gate.rejected, actions) == (True, [])
    gate, actions = step(gate, seen(169, states=CLOSED), RULES)
    assert actions == []
    gate, actions = step(gate, seen(170, states=CLOSED), RULES)
    assert (gate.rejected, actions) == (True, [Action("start", "xmrig-proxy")])
    gate, actions = step(gate, seen(171, states=CLOSED), RULES)
    assert actions == [Action("start", "xmrig-proxy")], "a start that was refused is tried again"
    gate, actions = step(gate, seen(172), RULES)
    assert (gate.rejected, actions) == (False, [])


def test_a_short_absence_changes_nothing() -> None:
    gate, _ = step(Gate(released=True), seen(0), RULES)
    for at in range(10, 200, 20):
        gate, actions = step(gate, seen(at, monero=None if at % 40 == 10 else SYNCED), RULES)
        assert (gate.rejected, actions) == (False, [])


def test_sync_states_in_their_order() -> None:
    assert [view.sync_of(reading, local=True)["state"] for reading in (None, BEHIND, SYNCED)] == ["loading", "syncing", "done"]


def test_a_fresh_dashboard_knows_nothing() -> None:
    state = view.state(view.History(), FACTS, 0.0)
    assert (state["sync"]["monero"]["state"], state["pool"]["type"], state["proxy_workers"]) == ("loading", "Unknown", 0)
    assert state["egress"]["summary"] == state["topology"]["summary"]
    assert all(line.startswith("pithead_") for line in view.metrics(state).splitlines())


def test_what_is_wrong_is_shown() -> None:
    history = view.History(readings=seen(0, monero=None, tari=None), gate=Gate(released=True, rejected=True))
    texts = [badge["text"] for badge in view.badges(history, FACTS)]
    assert texts == ["Workers rejected", "monerod DOWN", "Tari DOWN", "P2Pool Unknown"]


def test_workers_rows_short_ones_dropped_rates_in_kilohashes() -> None:
    row = ["miner-0", "10.0.0.2", 1, 5, 1, 0, 100, 5000, 0.01, 0.02, 0, 0, 0]
    (read,) = worker_rows({"workers": [row, row[:12], "nonsense"]})
    assert (read.name, read.h60, read.h15, read.last_share) == ("miner-0", 10.0, 20.0, 5.0)


@pytest.mark.parametrize(("connections", "age", "expected"), [(1, 9999.0, True), (0, 299.0, True), (0, 301.0, False)])
def test_a_worker_stays_online_for_a_while(connections: int, age: float, expected: bool) -> None:
    row = WorkerRow("r", "1.2.3.4", connections, 1, 0, 0, 1, 1000.0, 0.0, 0.0)
    assert online(row, 1000.0 + age, 300.0) is expected


def test_the_pools_type_lags_behind_a_switch() -> None:
    lag = peers.Lag(cold=60, stale=120)
    shown = [pool_type(peers.peer_list("Nano", "Main", age, lag)) for age in (0, 59, 61, 179, 181)]
    assert shown == ["Unknown", "Unknown", "Main", "Main", "Nano"]
    assert pool_type(peers.peer_list("Main", "Main", 61, lag)) == "Main"


def test_options_as_the_stack_writes_them() -> None:
    line = "--host 172.28.0.26 --wallet W --nano --merge-mine tari://172.28.0.27:18142 T --socks5 172.28.0.25:9050 --no-dns"
    parsed = options.parse(line.split())
    assert (parsed.pool, parsed.p2p_port, parsed.merge_host, parsed.merge_wallet) == ("Nano", 37890, "172.28.0.27:18142", "T")
    with pytest.raises(SystemExit):
        options.parse(["--mini", "--nano", "--wallet", "W"])


def test_stats_are_written_where_readers_look(tmp_path: Path) -> None:
    counters = stats.Counters()
    counters.share(100.0, 20)
    wanted = stats.View(101.0, 90.0, counters, "W", 1, ["198.51.100.1:37889"], 5, 20, 1, "ab", 100.0, "READY", 7, "T")
    stats.write(tmp_path, stats.documents(wanted))
    names = ["local/stratum", "local/p2p", "local/merge_mining", "pool/stats", "network/stats"]
    assert all((tmp_path / name).is_file() for name in names)


def test_the_proxy_counts_per_worker() -> None:
    accounts = Accounts(started=0.0)
    accounts.joined("miner-0", "10.0.0.2", 0.0)
    for at in (1.0, 2.0, 3.0):
        accounts.accepted("miner-0", 20, 33, at)
    accounts.rejected("miner-0")
    row = accounts.workers["miner-0"].row(10.0)
    assert len(row) == 13
    assert row[:8] == ["miner-0", "10.0.0.2", 1, 3, 1, 0, 60, 3000]
    assert row[8] == pytest.approx(60 / 10 / 1000)
    accounts.left("miner-0")
    assert (accounts.miners, accounts.summary(10.0, 0, 0)["results"]["accepted"]) == (0, 3)


@pytest.mark.parametrize(
    ("method", "path", "looks", "acts"),
    [
        ("GET", "/_ping", True, True),
        ("GET", "/containers/json?all=1", True, False),
        ("GET", "/v1.45/containers/tor/json", True, False),
        ("POST", "/containers/xmrig-proxy/stop", False, True),
        ("POST", "/v1.45/containers/p2pool/start?x=1", False, True),
        ("POST", "/containers/monerod/stop", False, False),
        ("POST", "/containers/xmrig-proxy/restart", False, False),
        ("POST", "/containers/create", False, False),
        ("DELETE", "/containers/p2pool", False, False),
        ("GET", "/containers/p2pool/../../images/json", False, False),
        ("POST", "/containers/xmrig-proxy/stop/../../monerod/stop", False, False),
    ],
)
def test_only_short_lists_of_requests_reach_the_engine(method: str, path: str, looks: bool, acts: bool) -> None:
    assert looking().passes(method, path) is looks
    assert control(("p2pool", "xmrig-proxy")).passes(method, path) is acts


def test_the_first_of_the_nodes_two_challenges_is_answered() -> None:
    # As recorded: monerod sends MD5 and MD5-sess, which libraries join into one header.
    one = 'Digest qop="auth",algorithm={},realm="monero-rpc",nonce="{}",stale=false'
    header = ", ".join(one.format(*each) for each in (("MD5", "N1"), ("MD5-sess", "N2")))
    challenge = monerod.parse_challenge(header)
    assert (challenge["algorithm"], challenge["nonce"], challenge["realm"]) == ("MD5", "N1", "monero-rpc")
    answer = monerod.digest_header(challenge, ("user", "pass"), "/json_rpc", 1, "0a4f113b")
    assert 'nc=00000001, cnonce="0a4f113b", response="' in answer
    assert "pass" not in answer


def test_protobuf_there_and_back() -> None:
    data = protobuf.number(1, 300) + protobuf.blob(2, b"xy") + protobuf.number(3, 1)
    fields = protobuf.decode(data)
    assert (protobuf.as_int(fields, 1), protobuf.as_bytes(fields, 2), protobuf.as_int(fields, 3)) == (300, b"xy", 1)
    assert protobuf.as_int(fields, 9) == 0
    for cut in (1, 2, 4):
        with pytest.raises(ValueError, match="cut off"):
            protobuf.decode(data[:cut])
