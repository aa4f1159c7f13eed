"""From configuration to derived files. Pure: what the host knows comes in as `HostFacts`, secrets that exist are kept."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pithead_cli.settings import Settings

POOLS = {"main": ("", 37889), "mini": ("--mini", 37888), "nano": ("--nano", 37890)}
PENDING_ONION = "pending"
PROXY_PREFIX = "172.28.255"  # of the network in which only the socket proxies are

# Product defaults in seconds, and how small a scaled value may get before it costs more than it saves.
TIMINGS = {
    "UPDATE_INTERVAL": (30, 1.0),
    "NODE_DOWN_AFTER_SEC": (90, 3.0),
    "NODE_RECOVERY_AFTER_SEC": (60, 2.0),
    "WORKER_ONLINE_SEC": (300, 10.0),
    "POOL_PEERS_COLD_SEC": (60, 2.0),
    "POOL_PEERS_STALE_SEC": (120, 4.0),
    "STATS_INTERVAL_SEC": (10, 1.0),
    "TARI_SYNC_SEC": (30, 1.0),
    "TARI_BLOCK_TIME_SEC": (120, 5.0),
}
HEALTH_TIMINGS = {
    "HEALTH_INTERVAL": (30, 3.0),
    "HEALTH_START_INTERVAL": (5, 1.0),
    "HEALTH_START_TOR": (90, 20.0),
    "HEALTH_START_MONEROD": (60, 20.0),
    "HEALTH_START_SHORT": (30, 20.0),
}


@dataclass(frozen=True)
class HostFacts:
    """What rendering needs to know of the host."""

    directory: Path
    hostname: str
    time_scale: float = 1.0
    offline: bool = False
    difficulty: int = 100
    onions: dict[str, str] = field(default_factory=dict)


def scaled(default: float, floor: float, factor: float) -> str:
    """Scale a timing; a factor of 1 gives the product's default, smaller ones never less than the floor."""
    return f"{max(min(floor, default), default * factor):g}"


def env_values(settings: Settings, old: dict[str, str], host: HostFacts) -> dict[str, str]:
    """Derive every key of .env. Secrets are taken from the old file when they are there, made when not."""
    data = host.directory / "data"

    def directory(path: str, name: str) -> str:
        return settings.text(path) or str(data / name)

    local_node, local_tari = settings["monero.mode"] == "local", settings["tari.mode"] == "local"
    prefix = settings["network.subnet"].rpartition(".")[0]
    pool_flag, pool_port = POOLS[settings["p2pool.pool"]]
    remote, tari_remote = settings["monero.remote.host"], settings["tari.remote.host"]
    node_host = "127.0.0.1" if local_node else remote
    rpc_port = 18081 if local_node else settings["monero.remote.rpc_port"]
    zmq_port = 18083 if local_node else settings["monero.remote.zmq_port"]
    grpc = f"127.0.0.1:{settings['tari.remote.grpc_port'] if not local_tari else 18142}" if local_tari else ""
    if settings["tari.mode"] == "remote":
        grpc = f"{tari_remote}:{settings['tari.remote.grpc_port']}"
    flags = [pool_flag] if pool_flag else []
    if settings["tari.mode"] != "off":
        upstream = f"{prefix}.27:18142" if local_tari else grpc
        flags += ["--merge-mine", f"tari://{upstream}", settings["tari.wallet_address"]]
    if not settings["p2pool.clearnet"]:
        flags += ["--socks5", f"{prefix}.25:9050", "--no-dns"]
    profiles = [name for name, wanted in (("local_node", local_node), ("local_tari", local_tari)) if wanted]
    stratum_password = settings["p2pool.stratum_password"]
    if stratum_password == "auto":
        stratum_password = old.get("PROXY_STRATUM_PASSWORD") or secrets.token_hex(16)
    auth_password = settings["dashboard.auth.password"]
    values = {
        "DEPLOYMENT_COMPLETED": old.get("DEPLOYMENT_COMPLETED", "false"),
        "COMPOSE_PROFILES": ",".join(profiles),
        "MONERO_DATA_DIR": directory("monero.data_dir", "monero"),
        "TARI_DATA_DIR": directory("tari.data_dir", "tari"),
        "P2POOL_DATA_DIR": directory("p2pool.data_dir", "p2pool"),
        "DASHBOARD_DATA_DIR": directory("dashboard.data_dir", "dashboard"),
        "TOR_DATA_DIR": directory("tor.data_dir", "tor"),
        "MONERO_MODE": settings["monero.mode"],
        "MONERO_NODE_USERNAME": settings["monero.node_username"] or old.get("MONERO_NODE_USERNAME") or "pithead",
        "MONERO_NODE_PASSWORD": settings["monero.node_password"] or old.get("MONERO_NODE_PASSWORD") or secrets.token_hex(16),
        "MONERO_WALLET_ADDRESS": settings["monero.wallet_address"],
        "MONERO_VIEW_KEY": settings["monero.view_key"],
        "PAYOUT_SCAN_HEIGHT": settings.text("monero.payout_scan_height"),
        "MONERO_PRUNE": "1" if settings["monero.prune"] else "0",
        "MONERO_CLEARNET_SYNC": settings.flag("monero.clearnet_initial_sync"),
        "MONERO_PREP_THREADS": settings.text("monero.prep_blocks_threads"),
        "MONERO_OUT_PEERS": str(settings["monero.out_peers"]),
        "MONERO_RPC_BIND": "0.0.0.0" if settings["monero.rpc_lan_access"] else "127.0.0.1",  # noqa: S104 - a choice of the owner
        "MONERO_ZMQ_BIND": "0.0.0.0" if settings["monero.zmq_lan_access"] else "127.0.0.1",  # noqa: S104 - a choice of the owner
        "MONERO_NODE_HOST": node_host,
        "MONERO_P2POOL_HOST": f"{prefix}.26" if local_node else remote,
        "MONERO_RPC_PORT": str(rpc_port),
        "MONERO_ZMQ_PORT": str(zmq_port),
        "MONERO_RPC_URL": f"http://{f'[{node_host}]' if ':' in node_host else node_host}:{rpc_port}",
        "MONERO_MEM_LIMIT": settings.text("monero.mem_limit") or "2g",
        "MONERO_DIFFICULTY": str(host.difficulty),
        "TARI_MODE": settings["tari.mode"],
        "TARI_WALLET_ADDRESS": settings["tari.wallet_address"],
        "TARI_VIEW_KEY": settings["tari.view_key"],
        "TARI_SPEND_PUBLIC_KEY": settings["tari.spend_public_key"],
        "TARI_GRPC_ADDRESS": grpc,
        "TARI_GRPC_BIND": "0.0.0.0" if settings["tari.grpc_lan_access"] else "127.0.0.1",  # noqa: S104 - a choice of the owner
        "TARI_CLEARNET_SYNC": settings.flag("tari.clearnet_initial_sync"),
        "TARI_MEM_LIMIT": settings.text("tari.mem_limit") or "512m",
        "TARI_REQUIRED": "false" if settings["tari.mode"] == "off" else settings.flag("dashboard.tari_required"),
        "P2POOL_FLAGS": " ".join(flags),
        "P2POOL_PORT": str(pool_port),
        "P2POOL_URL": f"{prefix}.28:3333",
        "P2POOL_CLEARNET": settings.flag("p2pool.clearnet"),
        "STRATUM_BIND": settings["p2pool.stratum_bind"],
        "STRATUM_PORT": str(settings["p2pool.stratum_port"]),
        "PROXY_STRATUM_PASSWORD": stratum_password,
        "PROXY_STRATUM_TLS": settings.flag("p2pool.stratum_tls"),
        "PROXY_API_PORT": old.get("PROXY_API_PORT") or "3344",
        "PROXY_AUTH_TOKEN": old.get("PROXY_AUTH_TOKEN") or secrets.token_hex(32),
        "PROXY_DONATE_LEVEL": str(settings["proxy.donate_level"]),
        "XMRIG_API_PORT": str(settings["workers.api_port"]),
        "XMRIG_API_AUTH": settings["workers.api_auth"],
        "XMRIG_API_TOKEN": settings["workers.api_token"],
        "XVB_ENABLED": settings.flag("xvb.enabled"),
        "XVB_POOL_URL": settings["xvb.url"],
        "XVB_DONOR_ID": settings.text("xvb.donor_id") or settings["monero.wallet_address"][:8],
        "XVB_TOR_ENABLED": settings.flag("xvb.tor"),
        "XVB_DONATION_LEVEL": settings["xvb.donation_level"],
        "NETWORK_SUBNET": settings["network.subnet"],
        "NETWORK_PREFIX": prefix,
        "PROXY_PREFIX": PROXY_PREFIX,
        "TOR_EGRESS_FIREWALL": settings.flag("network.tor_egress_firewall"),
        "TOR_AUTO_HEAL": settings.flag("tor.auto_heal"),
        "TOR_DISABLE_NETWORK": "1" if host.offline else "0",
        "DASHBOARD_SECURE": settings.flag("dashboard.secure"),
        "HOST_IP": settings.text("dashboard.host") or host.hostname,
        "HOST_PORT": settings.text("dashboard.port"),
        "DASHBOARD_TZ": settings.text("dashboard.timezone"),
        "DASHBOARD_AUTH_USER": settings["dashboard.auth.username"],
        **_auth(auth_password, old),
        "DASHBOARD_ONION_ENABLED": settings.flag("dashboard.onion.enabled"),
        "DASHBOARD_CONTROL_ENABLED": settings.flag("dashboard.control.enabled"),
        "DASHBOARD_FAIL_CLOSED": settings.flag("dashboard.fail_closed"),
        "DASHBOARD_CHECK_UPDATES": settings.flag("dashboard.check_for_updates"),
        "HASHRATE_DROP_THRESHOLD": str(settings["dashboard.hashrate_drop_threshold"]),
        "HASHRATE_DROP_MINUTES": str(settings["dashboard.hashrate_drop_minutes"]),
        "HEALTHCHECKS_PING_URL": settings["healthchecks.ping_url"],
        "TELEGRAM_BOT_TOKEN": settings["telegram.bot_token"],
        "NOTIFY_WEBHOOK_URLS": ",".join(str(url) for url in settings["notifications.webhooks"]),
        "NTFY_URL": settings["notifications.ntfy.url"],
        "NTFY_TOKEN": settings["notifications.ntfy.token"],
        "NOTIFY_TOR": settings.flag("notifications.tor"),
    }
    for name in ("MONERO", "TARI", "P2POOL", "DASHBOARD"):
        key = f"{name}_ONION_ADDRESS"
        values[key] = host.onions.get(name) or old.get(key) or PENDING_ONION
    values |= {name: scaled(default, floor, host.time_scale) for name, (default, floor) in TIMINGS.items()}
    values |= {name: scaled(default, floor, host.time_scale) + "s" for name, (default, floor) in HEALTH_TIMINGS.items()}
    values["CADDYFILE_FINGERPRINT"] = hashlib.sha256(caddyfile(values).encode()).hexdigest()[:16]
    return values


def _auth(password: str, old: dict[str, str]) -> dict[str, str]:
    """Keep the stored hash while the password is the same; '' asks the caller for a new one."""
    if not password:
        return {"DASHBOARD_AUTH_PW_FP": "", "DASHBOARD_AUTH_HASH_B64": ""}
    salt, _, _ = old.get("DASHBOARD_AUTH_PW_FP", "").partition("$")
    salt = salt or secrets.token_hex(8)
    print_of = f"{salt}${hashlib.sha256(f'{salt}{password}'.encode()).hexdigest()}"
    kept = old.get("DASHBOARD_AUTH_HASH_B64", "") if old.get("DASHBOARD_AUTH_PW_FP") == print_of else ""
    return {"DASHBOARD_AUTH_PW_FP": print_of, "DASHBOARD_AUTH_HASH_B64": kept}


def caddyfile(values: dict[str, str]) -> str:
    """Render the reverse proxy's configuration: options first, a redirect when the dashboard is secure, then the dashboard."""
    host, port = values["HOST_IP"], values["HOST_PORT"]
    secure = values["DASHBOARD_SECURE"] == "true"
    scheme = "https" if secure else "http"
    sites = [f"{scheme}://{name}{f':{port}' if port else ''}" for name in dict.fromkeys((host, "localhost"))]
    options = ["\tadmin localhost:2019", "\tauto_https disable_redirects", "\tskip_install_trust"]
    lines = ["# Written by ./pithead.", "{", *options, "}", ""]
    if secure and not port:
        redirect = ", ".join(site.replace("https://", "http://") for site in sites)
        lines += [redirect + " {", "\tredir https://{host}{uri} permanent", "}", ""]
    lines += [", ".join(sites) + " {"]
    if secure:
        lines += ["\ttls internal"]
    if values["DASHBOARD_AUTH_HASH_B64"]:
        stored = base64.b64decode(values["DASHBOARD_AUTH_HASH_B64"]).decode()
        lines += ["\tbasicauth {", f"\t\t{values['DASHBOARD_AUTH_USER']} {stored}", "\t}"]
    lines += ["\tencode gzip", "\treverse_proxy 127.0.0.1:8000", "}", ""]
    return "\n".join(lines)
