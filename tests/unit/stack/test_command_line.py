"""Decisions of the reference stack's command line: what it refuses, what it derives, what it calls a problem."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pithead_cli import addresses, change, envfile, look
from pithead_cli.engine import Container, health_of
from pithead_cli.rendering import HostFacts, caddyfile, env_values, scaled
from pithead_cli.say import Refusal
from pithead_cli.settings import Settings, load

REFERENCE = Path(__file__).resolve().parents[3] / "stacks" / "pithead" / "reference"
CONFIG = REFERENCE.parent / "embedded" / "bench" / "config.json"
DONATION = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A"  # in the recordings
HOST = HostFacts(directory=Path("/srv/code/pithead"), hostname="bench-0", time_scale=0.05, offline=True, difficulty=20)


def settings(tmp_path: Path, **changes: Any) -> Settings:
    """Load the bench's configuration with values at dotted paths changed (dots written as double underscores)."""
    document = json.loads(CONFIG.read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = document
        for part in parents:
            at = at.setdefault(part, {})
        at[last] = value
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    return load(file, REFERENCE / "config.reference.json")


def test_keccak_is_the_original_one() -> None:
    assert addresses.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert len({addresses.keccak256(bytes(size)) for size in (135, 136, 137)}) == 3


def test_addresses_are_checked() -> None:
    assert addresses.monero_problem(DONATION) == ""
    assert "checksum" in addresses.monero_problem(DONATION[:-1] + "B")
    assert addresses.monero_problem("") != ""
    assert addresses.monero_problem("0" + DONATION[1:]) != ""
    tari = json.loads(CONFIG.read_text())["tari"]["wallet_address"]
    assert addresses.tari_problem(tari) == ""
    assert addresses.tari_problem(tari[:-1] + ("2" if tari[-1] != "2" else "3")) != ""
    assert addresses.tari_problem("") != ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"monero__wallet_address": "x"}, "wallet_address"),
        ({"p2pool__pool": "tiny"}, "p2pool.pool must be one of"),
        ({"p2pool__pool": "main\n"}, "control character"),
        ({"dashboard__host": "a\u202eb"}, "control character"),
        ({"monero__prune": "yes"}, "monero.prune must be true or false"),
        ({"monero__wallet": "x"}, "not a known key"),
        ({"monero__data_dir": "data"}, "must be absolute"),
        ({"network__subnet": "10.0.0.0/8"}, "/24"),
        ({"p2pool__stratum_port": 0}, "port number"),
        ({"p2pool__stratum_port": True}, "must be a number"),
        ({"monero__mode": "remote"}, "monero.remote.host"),
    ],
)
def test_bad_configuration_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        settings(tmp_path, **changes)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}' + " " * 300_000])
def test_half_written_or_huge_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(Refusal):
        load(tmp_path / "config.json", REFERENCE / "config.reference.json")


def test_false_is_not_the_default(tmp_path: Path) -> None:
    values = env_values(settings(tmp_path, xvb__enabled=False, monero__prune=False, dashboard__tari_required=False), {}, HOST)
    assert (values["XVB_ENABLED"], values["MONERO_PRUNE"], values["TARI_REQUIRED"]) == ("false", "0", "false")


def test_secrets_are_kept_and_rendering_settles(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    first = env_values(wanted, {}, HOST)
    assert env_values(wanted, first, HOST) == first
    assert change.changed_keys(first, env_values(wanted, first, HOST)) == []
    other = env_values(wanted, {}, HOST)
    assert {"PROXY_AUTH_TOKEN", "MONERO_NODE_PASSWORD"} <= set(change.changed_keys(first, other))


def test_a_pool_flip_changes_the_pool_only(tmp_path: Path) -> None:
    first = env_values(settings(tmp_path), {}, HOST)
    flipped = env_values(settings(tmp_path, p2pool__pool="nano"), first, HOST)
    assert change.changed_keys(first, flipped) == ["P2POOL_FLAGS", "P2POOL_PORT"]
    assert flipped["P2POOL_FLAGS"].split()[0] == "--nano"


def test_profiles_follow_the_modes(tmp_path: Path) -> None:
    assert env_values(settings(tmp_path), {}, HOST)["COMPOSE_PROFILES"] == "local_node,local_tari"
    off = env_values(settings(tmp_path, tari__mode="off", tari__wallet_address=""), {}, HOST)
    assert (off["COMPOSE_PROFILES"], off["TARI_REQUIRED"], "--merge-mine" in off["P2POOL_FLAGS"]) == ("local_node", "false", False)


@pytest.mark.parametrize("value", ["", "plain", "two words", "a'b", 'a"b', "$x `y` \\z", "#no comment", "a=b"])
def test_env_values_survive_their_quotes(value: str) -> None:
    assert envfile.parse(envfile.render({"KEY": value, "NEXT": "1"})) == {"KEY": value, "NEXT": "1"}


def test_timings_scale_but_not_below_their_floor() -> None:
    assert (scaled(90, 3, 1.0), scaled(90, 3, 0.05), scaled(10, 1, 0.05)) == ("90", "4.5", "1")


def test_the_scheme_is_that_of_the_dashboards_own_block(tmp_path: Path) -> None:
    secure = caddyfile(env_values(settings(tmp_path), {}, HOST))
    plain = caddyfile(env_values(settings(tmp_path, dashboard__secure=False), {}, HOST))
    assert "https://bench-0, https://localhost {\n\ttls internal" in secure
    assert "redir https://" in secure
    assert "http://bench-0, http://localhost {" in plain
    assert "tls" not in plain
    assert "https" not in plain.replace("auto_https", "")


@pytest.mark.parametrize(
    ("service", "state", "health", "good"),
    [
        ("tor", "running", "healthy", True),
        ("tor", "running", "starting", True),
        ("tor", "running", "", True),
        ("tor", "running", "unhealthy", False),
        ("tor", "restarting", "", False),
        ("monerod", "exited", "", False),
        ("p2pool", "exited", "", True),
        ("xmrig-proxy", "created", "", True),
        ("xmrig-proxy", "restarting", "", False),
    ],
)
def test_status_judges_as_promised(service: str, state: str, health: str, good: bool) -> None:
    assert look.judge(service, Container(service, state, health))[0] is good


def test_a_missing_container_is_a_problem_even_for_the_excused() -> None:
    assert look.judge("xmrig-proxy", None) == (False, "missing")


def test_health_is_read_from_the_engines_words() -> None:
    words = ["Up 3 s (healthy)", "Up 3 s (unhealthy)", "Up 3 s (health: starting)", "Up 3 s"]
    assert [health_of(text) for text in words] == ["healthy", "unhealthy", "starting", ""]


def test_apply_recreates_only_what_changed() -> None:
    wanted = {"tor": "a", "p2pool": "b", "xmrig-proxy": "c", "caddy": "d", "monerod": "e"}
    found = {
        "tor": Container("tor", "running", "healthy", "a"),
        "p2pool": Container("p2pool", "running", "healthy", "old"),
        "xmrig-proxy": Container("xmrig-proxy", "exited", "", "c"),
        "monerod": Container("monerod", "exited", "", "e"),
    }
    assert change.stale_services(wanted, found) == ["caddy", "monerod", "p2pool"]


def test_changes_are_graded_for_programs() -> None:
    keys = ["MONERO_PRUNE", "MONERO_WALLET_ADDRESS", "HOST_IP", "XVB_ENABLED"]
    assert [change.flag_of(key) for key in keys] == ["DEST", "CONFIRM", "APPROVAL", "INFO"]


def test_every_variable_of_the_compose_file_is_rendered(tmp_path: Path) -> None:
    import re  # noqa: PLC0415

    names = set(re.findall(r"\$\{([A-Z0-9_]+)", (REFERENCE / "docker-compose.yml").read_text()))
    exported = {"STACK_VERSION", "PITHEAD_RUNTIME", "PITHEAD_REVISION", "PITHEAD_DIRECTORY"}
    assert names - exported <= set(env_values(settings(tmp_path), {}, HOST))


def test_defaults_are_the_products(tmp_path: Path) -> None:
    minimal = copy.deepcopy(json.loads((REFERENCE / "config.minimal.json").read_text()))
    given = json.loads(CONFIG.read_text())
    for chain in ("monero", "tari"):
        minimal[chain]["wallet_address"] = given[chain]["wallet_address"]
    (tmp_path / "config.json").write_text(json.dumps(minimal))
    loaded = load(tmp_path / "config.json", REFERENCE / "config.reference.json")
    values = env_values(loaded, {}, HostFacts(Path("/x"), "box"))
    assert (values["P2POOL_PORT"], values["UPDATE_INTERVAL"], values["HEALTH_INTERVAL"]) == ("37888", "30", "30s")
    assert values["MONERO_DATA_DIR"] == "/x/data/monero"
