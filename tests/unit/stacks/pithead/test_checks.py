"""Every check passes on a good bench and can fail: each has a mutant that turns it red, and one without a mutant fails here."""

from __future__ import annotations

import copy
import fnmatch
from typing import Any, Callable

import pytest

from benchkeeper.verdicts import Judged, Look, judge_look, load_checks
from tests.unit.stacks.pithead import good

CHECKS = load_checks(good.STACK / "checks")
Mutate = Callable[[dict[str, Any]], Any]


def _services(document: dict[str, Any], part: str = "invariant") -> dict[str, Any]:
    found: dict[str, Any] = document[part]["stack"]["services"]
    return found


LOOKS: dict[str, tuple[str, str, str, Callable[[], dict[str, Any]]]] = {
    "baseline": ("baseline", "before", "bench", good.before),
    "deploy": ("deploy", "deployed", "bench", good.document),
    "scenario": ("scenario", "applied", "bench", good.document),
    "restarted": ("lifecycle", "restarted", "bench", good.document),
    "flipped": ("lifecycle", "flipped", "bench", good.flipped),
    "node_down": ("lifecycle", "node_down", "bench", good.node_down),
    "end": ("lifecycle", "end", "bench", good.document),
    "miner": ("baseline", "before", "miner", good.miner),
}


def judge(name: str, document: dict[str, Any] | None = None, context: dict[str, Any] | None = None) -> list[Judged]:
    phase, step, kind, make = LOOKS[name]
    before = good.miner() if kind == "miner" else good.before()
    look = Look(phase, step, f"{kind}-0", kind, document if document is not None else make())
    return list(judge_look(CHECKS, look, context or good.context(), before))


def _value(*path: str | int, value: Any) -> Mutate:
    def mutate(document: dict[str, Any]) -> None:
        node: Any = document
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return mutate


def _env(key: str, value: str) -> Mutate:
    return _value("observed", "env", "values", key, value=value)


def _state(*path: str | int, value: Any) -> Mutate:
    return _value("observed", "state", "json", *path, value=value)


def _built(service: str, key: str, value: Any) -> Mutate:
    return lambda document: _services(document)[service].update({key: value})


def _seen(service: str, key: str, value: Any) -> Mutate:
    return lambda document: _services(document, "observed")[service].update({key: value})


def _each(key: str, value: Any) -> Mutate:
    def mutate(document: dict[str, Any]) -> None:
        for one in _services(document).values():
            one[key] = value

    return mutate


def _each_seen(key: str, value: Any) -> Mutate:
    def mutate(document: dict[str, Any]) -> None:
        for one in _services(document, "observed").values():
            one[key] = value

    return mutate


def _listen(entry: str) -> Mutate:
    return lambda document: document["invariant"]["sockets"]["listen"].append(entry)


def _print(key: str) -> Mutate:
    return _value("invariant", "env", "keys", key, value="fp-another")


def _everything_open(document: dict[str, Any]) -> None:
    document["invariant"]["sockets"]["listen"] += [f"tcp 10.9.9.9:{port}" for port in (18081, 18083, 18142, 3333, 12375, 12376)]


def _ports_moved(document: dict[str, Any]) -> None:
    for one in _services(document).values():
        one["ports"] = [{"host_ip": "0.0.0.0", "host_port": 4444, "port": 4444, "proto": "tcp"}]  # noqa: S104 - a mutant


def _no_listeners(document: dict[str, Any]) -> None:
    document["invariant"]["sockets"]["listen"] = []


def _whole_machine_mounted(document: dict[str, Any]) -> None:
    """Read-only, so that nobody who looks at writable mounts sees it."""
    for one in _services(document).values():
        one["mounts"] = [*one["mounts"], {"type": "bind", "source": "/", "target": "/host", "rw": False}]


def _everybody_knows_everything(document: dict[str, Any]) -> None:
    for one in _services(document).values():
        one["env_fp"].update(dict.fromkeys(good.POSTURE["settings"]["keys"], "fp"))


def _health(**changes: Any) -> Mutate:
    def mutate(document: dict[str, Any]) -> None:
        for one in _services(document).values():
            one["health"] = {**one["health"], **changes}

    return mutate


def _statuses(*names: str, status: int) -> Mutate:
    def mutate(document: dict[str, Any]) -> None:
        for name in names:
            document["observed"][name] = {"status": status}

    return mutate


def _settings_lost(document: dict[str, Any]) -> None:
    del document["invariant"]["env"]["keys"]["XVB_DONOR_ID"]


def _networks_moved(document: dict[str, Any]) -> None:
    for one in _services(document).values():
        one.update(network_mode="bridge", networks={"bridge": "172.17.0.2"})


def _stale_env(document: dict[str, Any]) -> None:
    document["invariant"]["env"]["keys"].update(PROXY_AUTH_TOKEN="fp-new", MONERO_NODE_PASSWORD="fp-new")


# Check id (a pattern for those that stand for each service) -> (look, mutant).
MUTANTS: dict[str, tuple[str, Mutate]] = {
    "config.monero_rpc_bind": ("scenario", _env("MONERO_RPC_BIND", "0.0.0.0")),  # noqa: S104 - a mutant
    "config.monero_zmq_bind": ("scenario", _env("MONERO_ZMQ_BIND", "0.0.0.0")),  # noqa: S104 - a mutant
    "config.tari_grpc_bind": ("scenario", _env("TARI_GRPC_BIND", "0.0.0.0")),  # noqa: S104 - a mutant
    "config.monero_prune": ("scenario", _env("MONERO_PRUNE", "0")),
    "config.dashboard_secure": ("scenario", _env("DASHBOARD_SECURE", "false")),
    "config.xvb_enabled": ("scenario", _env("XVB_ENABLED", "false")),
    "config.tari_required": ("scenario", _env("TARI_REQUIRED", "false")),
    "config.local_node": ("scenario", _env("COMPOSE_PROFILES", "local_node_old,local_tari")),
    "config.local_tari": ("scenario", _env("COMPOSE_PROFILES", "local_node")),
    "config.monero_clearnet": ("scenario", _env("MONERO_CLEARNET_SYNC", "true")),
    "config.tari_clearnet": ("scenario", _env("TARI_CLEARNET_SYNC", "true")),
    "config.deployed": ("deploy", _env("DEPLOYMENT_COMPLETED", "false")),
    "files.env.mode": ("deploy", _value("invariant", "env", "mode", value="0644")),
    "files.env.owner": ("deploy", _value("invariant", "env", "owner", value="root")),
    "files.env.lines": ("deploy", _value("invariant", "env", "bad_lines", value=[7])),
    "files.config.mode": ("deploy", _value("invariant", "config", "mode", value="0640")),
    "files.config.owner": ("deploy", _value("invariant", "config", "owner", value="root")),
    "status.exit_code": ("end", _value("observed", "status", "rc", value=1)),
    "api.reachable": ("deploy", _value("observed", "state", "status", value=500)),
    "api.monero_synced": ("deploy", _state("sync", "monero", "state", value="syncing")),
    "api.tari_synced": ("end", _state("sync", "tari", "state", value="loading")),
    "api.database_healthy": ("deploy", _state("db_healthy", value=False)),
    "api.no_alarm": ("end", _state("badges", 0, "text", value="monerod DOWN")),
    "api.pruned_display": ("scenario", _state("monero", "mode", value="Unknown")),
    "api.tari_connected": ("scenario", _state("tari", "connected", value=False)),
    "monerod.pruned": ("scenario", _value("observed", "pruned", "result", "pruned", value=False)),
    "monerod.status": ("deploy", _value("observed", "monerod", "result", "status", value="BUSY")),
    "monerod.synced": ("deploy", _value("observed", "monerod", "result", value={"status": "OK", "synchronized": False})),
    "chain.genesis": ("deploy", _value("observed", "chain", "genesis", value="x")),
    "chain.kept": ("deploy", _value("observed", "chain", "before_height_hash", value="x")),
    "chain.not_shorter": ("deploy", _value("observed", "chain", "height", value=3)),
    "caddy.secure": ("scenario", _value("observed", "caddy", "status", value=502)),
    "caddy.plain": ("scenario", _value("observed", "caddy_plain", "status", value=200)),
    "mining.workers": ("scenario", _state("workers", value=[])),
    "mining.proxy_workers": ("scenario", _state("proxy_workers", value=0)),
    "mining.miner-0.pool": ("scenario", _state("workers", 0, "pool", value="xvb")),
    "mining.miner-0.accepted": ("scenario", _state("workers", 0, "accepted", value=0)),
    "mining.miner-0.rejected": ("scenario", _state("workers", 0, "rejected", value=11)),
    "mining.hashes": ("scenario", _state("stratum", "total_hashes", value=0)),
    "mining.blocks": ("scenario", _value("observed", "chain", "height", value=200)),
    "pool.flags": ("scenario", _env("P2POOL_FLAGS", "--mini")),
    "pool.port": ("scenario", _env("P2POOL_PORT", "37888")),
    "pool.type": ("scenario", _state("pool", "type", value=None)),
    "containers.set": ("deploy", lambda document: _services(document, "observed").update({"debug-shell": {}})),
    "containers.*.running": ("deploy", _each_seen("state", "exited")),
    "containers.*.health_check": ("deploy", _each("healthcheck", value=False)),
    "containers.*.healthy": ("deploy", _each_seen("health", "none")),
    "containers.*.restarts": ("deploy", _each_seen("restarts", 3)),
    "node_down.down": ("node_down", _seen("tor", "state", "exited")),
    "node_down.status": ("node_down", _value("observed", "status", "rc", value=0)),
    "node_down.alarm": ("node_down", _state("badges", value=[{"text": "P2Pool Main"}])),
    "posture.*.uid": ("deploy", _each("uid", 4711)),
    "posture.*.read_only": ("deploy", _each("read_only", value=False)),
    "posture.*.privileged": ("deploy", _each("privileged", value=True)),
    "posture.*.restart": ("deploy", _each("restart", "no")),
    "posture.*.cap_drop": ("deploy", _each("cap_drop", [])),
    "posture.*.cap_add": ("deploy", _each("cap_add", ["NET_ADMIN"])),
    "posture.*.security_opt": ("deploy", _each("security_opt", [])),
    "posture.*.memory": ("deploy", _each("memory", 0)),
    "posture.*.pids": ("deploy", _each("pids", 0)),
    "posture.*.memory_most": ("deploy", _each("memory", 64 * 2**30)),
    "posture.*.stop_timeout": ("deploy", _each("stop_timeout", 1)),
    "posture.*.log": ("deploy", _each("log", {"driver": "json-file"})),
    "posture.*.extras": ("deploy", _each("extras", ["pid=host"])),
    "posture.*.depends_on": ("deploy", _each("depends_on", ["x:service_started:false"])),
    "posture.*.mounts": ("deploy", _whole_machine_mounted),
    "posture.*.secrets": ("deploy", _everybody_knows_everything),
    "posture.*.health": ("deploy", _health(test=["CMD", "true"])),
    "posture.*.health_times": ("deploy", _health(interval=3600.0)),
    "posture.networks.set": ("deploy", _value("invariant", "stack", "networks", "default", value={})),
    "posture.networks.subnet": ("deploy", _value("invariant", "stack", "networks", "mining_net", "subnet", value="10.0.0.0/8")),
    "posture.volumes": ("deploy", _value("invariant", "stack", "volumes", value=["pithead_caddy_data", "a"])),
    "posture.*.network": ("deploy", _networks_moved),
    "posture.*.address": ("deploy", _each("networks", {"mining_net": "172.28.0.99"})),
    "posture.*.published": ("deploy", _ports_moved),
    "posture.port_*.listening": ("deploy", _everything_open),
    "posture.*.listens_on_*": ("deploy", _no_listeners),
    "posture.open_ports": ("deploy", _listen("tcp 0.0.0.0:9999")),
    "secrets.wallet.unchanged": ("deploy", _print("TARI_WALLET_ADDRESS")),
    "secrets.proxy.unchanged": ("deploy", _print("PROXY_AUTH_TOKEN")),
    "secrets.dashboard.unchanged": ("deploy", _print("DASHBOARD_AUTH_HASH_B64")),
    "secrets.rpc.unchanged": ("deploy", _print("MONERO_NODE_PASSWORD")),
    "secrets.onion.unchanged": ("deploy", _print("P2POOL_ONION_ADDRESS")),
    "settings.*.in_force": ("deploy", _stale_env),
    "settings.compared": ("deploy", _each("env_fp", {})),
    "census.*.commit": ("deploy", _each_seen("image_revision", "0" * 40)),
    "census.*.directory": ("deploy", _each("working_dir", good.LIVE)),
    "census.*.image": ("deploy", _each("image_id", "sha256:stale")),
    "census.*.blob": ("deploy", _value("observed", "dashboard_code", "sha1_git", value="another")),
    "census.baseline.directory": ("baseline", _built("tari", "working_dir", good.CHECKOUT)),
    "settings.complete": ("deploy", _settings_lost),
    "settings.carried": ("deploy", _print("TOR_DATA_DIR")),
    "api.keys": ("deploy", lambda document: document["observed"]["state"]["json"].pop("payouts")),
    "api.fresh": ("deploy", _state("last_update", value=1795248000.0)),
    "api.topology": ("scenario", _state("topology", "nodes", value=[{"id": "tor"}])),
    "api.egress": ("scenario", _state("egress", "summary", value={"level": "ok", "leaks": 1})),
    "api.history": ("scenario", _state("share_stats", value=[])),
    "api.height": ("scenario", _state("sync", "monero", "current", value=199)),
    "api.merge_mining": ("scenario", _state("tari", "status", value="IDLE")),
    "api.metrics": ("scenario", _value("observed", "metrics", value={"status": 404, "content_type": "application/json"})),
    "caddy.dashboard": ("scenario", _value("observed", "caddy", "json", value={})),
    "caddy.redirect": ("scenario", _value("observed", "caddy_plain", "location", value="https://localhost/")),
    "mining.miner-0.connected": ("scenario", _value("observed", "proxy", "json", "workers", value=[["miner-0", "", 0, *[0] * 10]])),
    "config.updates_off": ("flipped", _env("DASHBOARD_CHECK_UPDATES", "true")),
    "config.auto_heal_off": ("flipped", _env("TOR_AUTO_HEAL", "true")),
    "config.pool_by_tor": (
        "scenario",
        _built("p2pool", "command", "python3 -m p2pool --socks5 172.28.0.25:9050 --no-dnssec"),
    ),
    "config.donation": ("scenario", _built("xmrig-proxy", "command", "it --donate-level 5")),
    "config.paid.*": ("deploy", _value("observed", "paid", "places", value=["MONERO_WALLET_ADDRESS: command of tari"])),
    "files.env.repeated": ("deploy", _value("invariant", "env", "repeated", value=["HOST_IP"])),
    "files.env.quoted": ("deploy", _value("invariant", "env", "loose", value=["P2POOL_FLAGS"])),
    "rpc.refuses.*": ("deploy", _statuses("rpc_open", "rpc_open_json", status=200)),
    "proxy.refuses.*": ("deploy", _statuses("proxy_open", "proxy_open_put", "proxy_wrong", status=200)),
    "proxy.answers": ("deploy", _value("observed", "proxy", "status", value=403)),
    "proxy.rows": ("deploy", _value("observed", "proxy", "json", "workers", value=[good.ROW[:12]])),
    "docker.refuses.*": ("deploy", _statuses(*(name for name in good.STATUS if name.startswith(("look", "act"))), status=404)),
    "docker.passes": ("deploy", _value("observed", "look_list", "status", value=403)),
    "control.off": ("deploy", _value("observed", "control", "status", value=200)),
    "zmq.publishes": ("deploy", _value("observed", "zmq", "publishes", value=False)),
    "secrets.exposed": ("deploy", _value("observed", "exposed", "places", value=["PROXY_AUTH_TOKEN: command of xmrig-proxy"])),
    "secrets.searched": ("deploy", _value("observed", "exposed", "searched", value=[])),
    "secrets.image.dashboard": ("deploy", _value("observed", "image_env_dashboard", "exists", value=True)),
    "secrets.image.p2pool": ("deploy", _value("observed", "image_env_p2pool", "exists", value=True)),
    "miner.config.mode": ("miner", _value("invariant", "config", "mode", value="0644")),
    "miner.unit.active": ("miner", _value("invariant", "unit", "active", value="failed")),
    "miner.hashing": ("miner", _value("observed", "summary", "json", "connection", "ip", value=None)),
    "miner.no_leftovers": ("miner", _value("invariant", "leftovers", "entries", value=["config.json.e2e-orig.1 0600 file"])),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_good_bench_passes(name: str) -> None:
    judged = judge(name)
    assert judged
    assert [(one.verdict.id, one.verdict.why) for one in judged if one.verdict.verdict != "pass"] == []


def mutant_of(check: str) -> str | None:
    return check if check in MUTANTS else next((name for name in MUTANTS if fnmatch.fnmatchcase(check, name)), None)


def test_every_check_has_a_mutant() -> None:
    ids = {one.verdict.id for name in LOOKS for one in judge(name)}
    assert sorted(check for check in ids if mutant_of(check) is None) == []
    assert sorted(name for name in MUTANTS if not any(mutant_of(check) == name for check in ids)) == [], "a mutant of no check"


@pytest.mark.parametrize("pattern", MUTANTS)
def test_every_check_can_fail(pattern: str) -> None:
    name, mutate = MUTANTS[pattern]
    green = {one.verdict.id for one in judge(name) if mutant_of(one.verdict.id) == pattern}
    document = copy.deepcopy(LOOKS[name][3]())
    mutate(document)
    red = {one.verdict.id for one in judge(name, document) if one.verdict.verdict in ("fail", "warn")}
    assert green
    assert green <= red


@pytest.mark.parametrize("name", LOOKS)
def test_an_empty_snapshot_is_never_green(name: str) -> None:
    judged = judge(name, {"errors": {}, "invariant": {}, "observed": {}})
    assert judged
    wrong = [one.verdict.id for one in judged if one.verdict.verdict not in ("fail", "error", "warn")]
    assert wrong == []


def test_a_probe_that_could_not_look_is_an_error_and_not_a_fail() -> None:
    document = good.document()
    del document["observed"]["monerod"]
    document["errors"]["monerod"] = "401: the credentials were refused"
    verdicts = {one.verdict.id: one.verdict for one in judge("deploy", document)}
    assert verdicts["monerod.synced"].verdict == "error"
    assert "credentials" in verdicts["monerod.synced"].why


@pytest.mark.parametrize(
    ("shown", "flags", "verdict"),
    [
        ("Main", good.ENV["P2POOL_FLAGS"], "pass"),
        ("Unknown", good.ENV["P2POOL_FLAGS"], "warn"),
        ("Mini", good.ENV["P2POOL_FLAGS"], "warn"),
        ("Mini", "--mini", "fail"),
        (None, good.ENV["P2POOL_FLAGS"], "fail"),
    ],
)
def test_what_a_wrong_display_of_the_pool_means_depends_on_the_flags(shown: str | None, flags: str, verdict: str) -> None:
    document = good.document()
    document["observed"]["state"]["json"]["pool"]["type"] = shown
    document["observed"]["env"]["values"]["P2POOL_FLAGS"] = flags
    assert {one.verdict.id: one.verdict.verdict for one in judge("scenario", document)}["pool.type"] == verdict


def test_one_service_without_a_health_check_is_red_alone() -> None:
    document = good.document()
    _services(document)["tari"]["healthcheck"] = False
    red = [one.verdict.id for one in judge("deploy", document) if one.verdict.verdict == "fail"]
    assert red == ["containers.tari.health_check"]


def test_an_opened_port_is_red_even_when_the_settings_say_so_too() -> None:
    """A branch that publishes the node's RPC on every address writes that into .env as well: the row decides."""
    document = good.document()
    document["observed"]["env"]["values"]["MONERO_RPC_BIND"] = "0.0.0.0"  # noqa: S104 - a mutant
    _services(document)["monerod"]["ports"][0]["host_ip"] = "0.0.0.0"  # noqa: S104 - a mutant
    red = {one.verdict.id for one in judge("scenario", document) if one.verdict.verdict == "fail"}
    assert {"config.monero_rpc_bind", "posture.monerod.published"} <= red


def test_without_a_bound_file_the_census_says_what_it_lacks() -> None:
    context = {**good.context(), "binding_blobs": {}}
    found = [one.verdict for one in judge("deploy", None, context) if one.verdict.id == "census.bound_files"]
    assert [(one.verdict, one.skip_class) for one in found] == [("skip", "missing")]


def test_without_a_borrowed_miner_mining_is_a_counted_skip() -> None:
    context = {**good.context(), "workers": 0, "miners": []}
    skips = [one.verdict for one in judge("scenario", None, context) if one.verdict.verdict == "skip"]
    assert [(one.id, one.skip_class) for one in skips] == [("api.history", "by-design"), ("mining.workers", "missing")]
