"""Verbs that change the stack: setup, apply, render, up, down, restart, upgrade, rotate-secrets."""

from __future__ import annotations

import base64
import json
import random
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from pithead_cli import envfile, host, settings
from pithead_cli.engine import Compose, Container, containers
from pithead_cli.host import Place, mutation_lock
from pithead_cli.rendering import PENDING_ONION, caddyfile, env_values
from pithead_cli.say import Refusal, confirmed, info, warning

PROFILE_SERVICES = {"local_node": "monerod", "local_tari": "tari"}
NETWORKS = ("NETWORK_SUBNET", "PROXY_PREFIX")
WALLETS = ("MONERO_WALLET_ADDRESS", "TARI_WALLET_ADDRESS")
DESTRUCTIVE = {"MONERO_PRUNE", "MONERO_DATA_DIR", "TARI_DATA_DIR", "NETWORK_SUBNET"}
# What a person should read when it changes; keys without words are not worth one.
WORDS = {
    "P2POOL_FLAGS": "p2pool restarts with other options",
    "MONERO_RPC_BIND": "the node's RPC listens elsewhere",
    "MONERO_ZMQ_BIND": "the node's block announcements listen elsewhere",
    "DASHBOARD_SECURE": "the dashboard changes between http and https",
    "COMPOSE_PROFILES": "services are added or removed",
    "XVB_ENABLED": "XvB is switched",
    "TARI_REQUIRED": "whether mining waits for Tari is switched",
    "MONERO_PRUNE": "the blockchain changes between pruned and full",
    "NETWORK_SUBNET": "the stack moves to another network",
}
HELD = {"p2pool", "xmrig-proxy"}  # the dashboard stops them on purpose
ONION_WAIT = 60.0
PREMINE_BLOCKS = 50


def derive(place: Place, old: dict[str, str], onions: dict[str, str] | None = None) -> dict[str, str]:
    """Read config.json and derive .env from it and from the secrets that exist."""
    wanted = settings.load(place.config, place.reference)
    values = env_values(wanted, old, place.facts(onions))
    password = wanted["dashboard.auth.password"]
    if password and not values["DASHBOARD_AUTH_HASH_B64"]:
        image = f"pithead-caddy:{place.stack_version()}"
        hashed = host.ask(
            ["docker", "run", "--rm", "-i", "--network", "none", image, "hash-password"], stdin=f"{password}\n{password}\n"
        )
        values["DASHBOARD_AUTH_HASH_B64"] = base64.b64encode(hashed.strip().splitlines()[-1].encode()).decode()
        values = env_values(wanted, old | values, place.facts(onions))
    return values


def changed_keys(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Name the keys whose values differ."""
    return [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]


def flag_of(key: str) -> str:
    """Grade a change for the porcelain output."""
    if key in DESTRUCTIVE:
        return "DEST"
    if key == "HOST_IP":
        return "APPROVAL"
    return "CONFIRM" if key in WALLETS else "INFO"


def require_provisioned(place: Place) -> dict[str, str]:
    """Give the stack's .env; Refusal when setup has not been completed."""
    values = envfile.read(place.env)
    if values.get("P2POOL_ONION_ADDRESS", PENDING_ONION) == PENDING_ONION:
        message = "this stack is not set up yet: run ./pithead setup"
        raise Refusal(message)
    return values


def write_derived(place: Place, values: dict[str, str]) -> None:
    """Write .env and what else follows from it."""
    envfile.write(place.env, envfile.render(values))
    text = caddyfile(values)
    if not place.caddyfile.exists() or place.caddyfile.read_text() != text:
        envfile.write(place.caddyfile, text, 0o644)


def apply(place: Place, *, yes: bool, dry_run: bool, porcelain: bool) -> None:
    """Bring the running stack to what config.json says. Never builds images."""
    old = require_provisioned(place)
    new = derive(place, old)
    keys = changed_keys(old, new)
    stale_file = not place.caddyfile.exists() or place.caddyfile.read_text() != caddyfile(new)
    if not keys and not place.incomplete.exists() and not stale_file:
        if not porcelain:
            info("No configuration changes detected." + ("" if dry_run else " Nothing to apply."))
        return
    if porcelain:
        for key in keys:
            print(f"{flag_of(key)}\t{key}\t{WORDS.get(key, '')}")
        return
    for key in keys:
        info(f"{key} changes" + (f": {WORDS[key]}" if key in WORDS else ""))
    if dry_run:
        return
    if not yes and not _agreed(keys, new):
        info("Apply cancelled. No changes were made.")
        return
    with mutation_lock(place, "apply"):
        place.incomplete.touch(mode=0o600)
        write_derived(place, new)
        host.make_data_dirs(new)
        converge(place, old, new, only_changed=True)
        place.incomplete.unlink(missing_ok=True)
    info("Configuration applied.")


def _agreed(keys: list[str], new: dict[str, str]) -> bool:
    if not sys.stdin.isatty():
        return False
    for key in WALLETS:
        if key in keys and not confirmed(f"Type the first 8 characters of the new {key}:", new[key][:8]):
            return False
    return confirmed("Apply these changes? [y/N]")


def stale_services(wanted: dict[str, str], found: dict[str, Container]) -> list[str]:
    """Name the services that are not as wanted (service -> configuration hash), those held back on purpose left out."""
    stale = []
    for service, config_hash in sorted(wanted.items()):
        container = found.get(service)
        held = container is not None and service in HELD and container.state in {"created", "exited"}
        running = container is not None and (container.state == "running" or held)
        if container is None or not running or container.config_hash != config_hash:
            stale.append(service)
    return stale


def converge(place: Place, old: dict[str, str], new: dict[str, str], *, only_changed: bool = False) -> None:
    """Start what the new values want and remove what they no longer want."""
    compose = Compose(place)
    before, after = (set(values.get("COMPOSE_PROFILES", "").split(",")) for values in (old, new))
    gone = [service for profile, service in PROFILE_SERVICES.items() if profile in before - after]
    if gone:
        compose.do("--profile", "*", "rm", "--stop", "--force", *gone)
    if any(old.get(key) != new[key] for key in NETWORKS):  # compose does not move a network that is in use
        compose.do("--profile", "*", "down")
    if not only_changed:
        compose.up()
        return
    stale = stale_services(compose.hashes(), containers())
    if "tor" in stale:
        compose.up()  # the node restarts with its tor: compose knows that order
    elif stale:
        compose.up_only(stale)


def render(place: Place) -> None:
    """Write the derived files; no container is touched."""
    new = derive(place, require_provisioned(place))
    with mutation_lock(place, "render"):
        write_derived(place, new)
    info("Derived files written.")


def up(place: Place) -> None:
    """Start the stack as .env describes it."""
    require_provisioned(place)
    with mutation_lock(place, "up"):
        Compose(place).up()
    info("Stack is up.")


def down(place: Place) -> None:
    """Stop the stack and remove its containers and networks."""
    with mutation_lock(place, "down"):
        Compose(place).do("--profile", "*", "down")
    info("Stack is down.")


def restart(place: Place, what: str | None) -> None:
    """Restart everything, or tor or monerod alone; a node whose tor went away is restarted with it."""
    values = require_provisioned(place)
    compose = Compose(place)
    local_node = "local_node" in values["COMPOSE_PROFILES"].split(",")
    with mutation_lock(place, "restart"):
        if what is None:
            compose.do("restart")
            compose.up()
        else:
            compose.do("restart", "--no-deps", what)
            if what == "tor" and local_node:
                wait_for_health("tor", 120)
                compose.do("restart", "--no-deps", "monerod")
    info(f"Restarted {what or 'the stack'}.")


def wait_for_health(service: str, timeout: float) -> None:
    """Wait until a service is healthy; Refusal after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = containers().get(service)
        if found is not None and found.health == "healthy":
            return
        if time.monotonic() > deadline:
            message = f"{service} did not become healthy within {timeout:g} s"
            raise Refusal(message)
        time.sleep(random.uniform(0.2, 0.4))


def upgrade(place: Place) -> None:
    """Render, rebuild the first-party images of this checkout, and recreate what they changed."""
    old = require_provisioned(place)
    new = derive(place, old)
    with mutation_lock(place, "upgrade"):
        place.incomplete.touch(mode=0o600)
        write_derived(place, new)
        host.make_data_dirs(new)
        if place.source_checkout:
            info("Building images")
            Compose(place).build()
        converge(place, old, new)
        place.incomplete.unlink(missing_ok=True)
    info(f"Upgraded to {place.version} ({place.revision()[:12]}).")


def setup(place: Place, *, skip_deps: bool) -> None:
    """Make a stack out of a checkout and its config.json: images, onion services, a chain with its first blocks, start."""
    missing = [] if skip_deps else host.missing_programs()
    if missing:
        message = f"missing programs: {', '.join(missing)}"
        raise Refusal(message)
    if not place.config.exists() and sys.stdin.isatty():
        _wizard(place)
    place.config.chmod(0o600)
    old = envfile.read(place.env)
    if old.get("DEPLOYMENT_COMPLETED") == "true":
        warning("This stack is set up already; use ./pithead apply or upgrade.")
    compose = Compose(place)
    with mutation_lock(place, "setup"):
        new = derive(place, old)
        _write_back_credentials(place, new)
        write_derived(place, new)
        place.backups.mkdir(mode=0o700, exist_ok=True)
        host.make_data_dirs(new)
        if place.source_checkout:
            info("Building images")
            compose.build()
        info("Minting onion services")
        compose.up("tor")
        new = derive(place, new, _onions(new))
        write_derived(place, new)
        if new["MONERO_MODE"] == "local" and not (containers().get("monerod")):
            info(f"Giving the chain its first {PREMINE_BLOCKS} blocks")
            wallet = new["MONERO_WALLET_ADDRESS"]
            compose.do("run", "--rm", "--no-deps", "-T", "monerod", "premine", str(PREMINE_BLOCKS), wallet, quiet=True)
        new["DEPLOYMENT_COMPLETED"] = "true"
        write_derived(place, new)
        compose.up()
    info("Setup completed.")


def _wizard(place: Place) -> None:
    document = settings.read_json(place.directory / "config.minimal.json")
    for chain in ("monero", "tari"):
        document[chain]["wallet_address"] = input(f"Your {chain.title()} payout address: ").strip()
    envfile.write(place.config, json.dumps(document, indent=2) + "\n")


def _write_back_credentials(place: Place, values: dict[str, str]) -> None:
    """Put generated node credentials into config.json, so that a restored configuration still fits its chain's clients."""
    document = settings.read_json(place.config)
    monero = document.setdefault("monero", {})
    if monero.get("node_username") and monero.get("node_password"):
        return
    monero["node_username"], monero["node_password"] = values["MONERO_NODE_USERNAME"], values["MONERO_NODE_PASSWORD"]
    envfile.write(place.config, json.dumps(document, indent=2) + "\n")


def _onions(values: dict[str, str]) -> dict[str, str]:
    """Wait for tor to mint its services and read their addresses."""
    names = ("MONERO", "TARI", "P2POOL")
    paths = [f"{values['TOR_DATA_DIR']}/{name.lower()}/hostname" for name in names]
    deadline = time.monotonic() + ONION_WAIT
    while True:
        found = host.read_as_root(paths)
        if all(address.endswith(".onion") for address in found):
            return dict(zip(names, found, strict=True))
        if time.monotonic() > deadline:
            message = f"tor minted no onion services within {ONION_WAIT:g} s"
            raise Refusal(message)
        time.sleep(random.uniform(0.1, 0.3))


def rotate_secrets(place: Place, *, yes: bool) -> None:
    """Make a new node password and proxy token, keep the old files beside the new ones."""
    old = require_provisioned(place)
    if not yes and not confirmed("Replace the node's password and the proxy's token? [y/N]"):
        info("Rotation cancelled. No changes were made.")
        return
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    with mutation_lock(place, "rotate-secrets"):
        for path in (place.config, place.env):
            shutil.copy2(path, Path(f"{path}.bak-{stamp}"))
        document = settings.read_json(place.config)
        for key in ("node_username", "node_password"):
            document.get("monero", {}).pop(key, None)
        envfile.write(place.config, json.dumps(document, indent=2) + "\n")
        rotated = {"MONERO_NODE_PASSWORD", "PROXY_AUTH_TOKEN"}
        if settings.load(place.config, place.reference)["p2pool.stratum_password"] == "auto":
            rotated.add("PROXY_STRATUM_PASSWORD")
        new = derive(place, {key: value for key, value in old.items() if key not in rotated})
        _write_back_credentials(place, new)
        write_derived(place, new)
        converge(place, old, new)
    info("Secrets rotated.")
