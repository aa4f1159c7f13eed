"""A bench as it stands when everything is right, written out by hand: what the checks must pass, and what mutants are made of."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

STACK = Path(__file__).parents[4] / "stacks" / "pithead"
COMMIT = "4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de4f1c0"
LIVE, CHECKOUT = "/srv/code/pithead", "/srv/code/pithead-e2e"
SECRET_KEYS = {
    "wallet": ["MONERO_WALLET_ADDRESS", "TARI_WALLET_ADDRESS"],
    "proxy": ["PROXY_AUTH_TOKEN", "PROXY_STRATUM_PASSWORD"],
    "dashboard": ["DASHBOARD_AUTH_HASH_B64"],
    "rpc": ["MONERO_NODE_USERNAME", "MONERO_NODE_PASSWORD"],
    "onion": ["MONERO_ONION_ADDRESS", "P2POOL_ONION_ADDRESS"],
}
ENV = {
    "COMPOSE_PROFILES": "local_node,local_tari",
    "MONERO_PRUNE": "1",
    "MONERO_RPC_BIND": "127.0.0.1",
    "MONERO_ZMQ_BIND": "127.0.0.1",
    "MONERO_RPC_PORT": "18081",
    "MONERO_ZMQ_PORT": "18083",
    "TARI_REQUIRED": "true",
    "TARI_MODE": "local",
    "TARI_GRPC_BIND": "127.0.0.1",
    "DASHBOARD_SECURE": "true",
    "HOST_PORT": "",
    "XVB_ENABLED": "true",
    "P2POOL_FLAGS": "--merge-mine tari://172.28.0.27:18142 *** --socks5 172.28.0.25:9050 --no-dns",
    "P2POOL_PORT": "37889",
    "STRATUM_BIND": "0.0.0.0",  # noqa: S104 - compared, not bound
    "STRATUM_PORT": "3333",
    "NETWORK_SUBNET": "172.28.0.0/24",
    "DEPLOYMENT_COMPLETED": "true",
    "MONERO_CLEARNET_SYNC": "false",
    "TARI_CLEARNET_SYNC": "false",
}
# name: (uid, network, address, cap_add, writable targets, published [(ip, host port, port)], reads the engine's socket)
SERVICES: dict[str, tuple[int, str, str, list[str], list[str], list[tuple[str, int, int]], bool]] = {
    "tor": (100, "mining_net", "172.28.0.25", [], ["/run/tor", "/var/lib/tor"], [], False),
    "monerod": (
        1000,
        "mining_net",
        "172.28.0.26",
        [],
        ["/home/monero/.bitmonero", "/run/monero"],
        [("127.0.0.1", 18081, 18081), ("127.0.0.1", 18083, 18083)],
        False,
    ),
    "tari": (1000, "mining_net", "172.28.0.27", [], ["/var/tari/node"], [("127.0.0.1", 18142, 18142)], False),
    "p2pool": (1000, "mining_net", "172.28.0.28", [], ["/stats"], [], False),
    "xmrig-proxy": (1000, "mining_net", "172.28.0.29", [], [], [("0.0.0.0", 3333, 3333)], False),  # noqa: S104 - compared
    "dashboard": (1000, "host", "", [], ["/data"], [], False),
    "docker-proxy": (0, "proxy_net", "172.18.0.2", [], [], [("127.0.0.1", 12375, 2375)], True),
    "docker-control": (0, "proxy_net", "172.18.0.3", [], [], [("127.0.0.1", 12376, 2375)], True),
    "caddy": (0, "host", "", ["NET_BIND_SERVICE"], ["/config", "/data"], [], False),
}
LISTEN = [
    "tcp 0.0.0.0:22",
    "tcp [::]:22",
    "tcp 127.0.0.1:18081",
    "tcp 127.0.0.1:18083",
    "tcp 127.0.0.1:18142",
    "tcp 0.0.0.0:3333",
    "tcp 127.0.0.1:12375",
    "tcp 127.0.0.1:12376",
    "tcp 127.0.0.1:8000",
    "tcp 127.0.0.1:2019",
    "tcp [::]:443",
    "tcp [::]:80",
    "tcp 127.0.0.53:53",
]


def _service(name: str, directory: str) -> dict[str, Any]:
    uid, network, address, cap_add, writable, ports, socket = SERVICES[name]
    mounts = [{"type": "bind", "source": f"{LIVE}/data", "target": target, "rw": True} for target in writable]
    if socket:
        mounts.append({"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock", "rw": False})
    return {
        "image_id": f"sha256:{name}",
        "image_ref": f"pithead-{name}:dev",
        "config_hash": f"hash-{name}",
        "working_dir": directory,
        "mounts": mounts,
        "env_fp": {"PROXY_AUTH_TOKEN": "fp-PROXY_AUTH_TOKEN", "PATH": "fp-path"} if name == "dashboard" else {"PATH": "fp-path"},
        "cap_drop": ["ALL"],
        "cap_add": list(cap_add),
        "privileged": False,
        "read_only": True,
        "user": f"{uid}:{uid}",
        "uid": uid,
        "security_opt": ["no-new-privileges:true"],
        "network_mode": "host" if network == "host" else network,
        "networks": {"host": ""} if network == "host" else {network: address},
        "ports": [{"host_ip": ip, "host_port": outer, "port": port, "proto": "tcp"} for ip, outer, port in ports],
        "memory": 268435456,
        "pids": 256,
        "restart": "unless-stopped",
        "healthcheck": True,
        "labels": {},
    }


def document(directory: str = CHECKOUT) -> dict[str, Any]:
    """Return a snapshot of a good bench driven by a directory."""
    keys = {key: f"fp-{key}" for keys in SECRET_KEYS.values() for key in keys}
    return {
        "schema": 1,
        "host": "bench-0",
        "run_id": "20261121T081500Z-0a1b2c",
        "taken_at": "2026-11-21T08:15:04.210+00:00",
        "kinds": {},
        "errors": {},
        "invariant": {
            "env": {"exists": True, "mode": "0600", "owner": "ops", "group": "ops", "keys": keys, "bad_lines": []},
            "config": {"exists": True, "mode": "0600", "owner": "ops", "group": "ops", "fp": "fp-config"},
            "sockets": {"listen": list(LISTEN)},
            "stack": {"services": {name: _service(name, directory) for name in SERVICES}, "networks": {}, "volumes": []},
        },
        "observed": {
            "env": {"values": dict(ENV)},
            "dashboard_code": {"exists": True, "sha1_git": "blob-of-the-commit"},
            "status": {"rc": 0},
            "monerod": {"result": {"status": "OK", "synchronized": True, "height": 240, "target_height": 0}},
            "pruned": {"result": {"pruned": True, "status": "OK"}},
            "chain": {"genesis": "g", "height": 240, "hash": "h240", "before_height": 200, "before_height_hash": "h200"},
            "stack": {
                "services": {
                    name: {"id": f"id-{name}", "state": "running", "health": "healthy", "restarts": 0, "image_revision": COMMIT}
                    for name in SERVICES
                },
                "images": [{"id": f"sha256:{name}", "tags": [f"pithead-{name}:dev"]} for name in SERVICES],
            },
            "state": {
                "status": 200,
                "json": {
                    "db_healthy": True,
                    "proxy_workers": 1,
                    "badges": [{"text": "P2Pool Main"}],
                    "sync": {"monero": {"state": "done"}, "tari": {"state": "done"}},
                    "monero": {"mode": "Pruned"},
                    "pool": {"type": "Main"},
                    "stratum": {"total_hashes": 4200},
                    "workers": [{"name": "miner-0", "status": "online", "pool": "p2pool", "accepted": 12, "rejected": 0}],
                    "tari": {"connected": True},
                },
            },
            "caddy": {"status": 200, "json": {"db_healthy": True}},
            "caddy_plain": {"status": 301},
        },
    }


def before() -> dict[str, Any]:
    """Return the look from before the run: the live directory drives, the chain is shorter."""
    seen = document(LIVE)
    seen["observed"]["chain"] = {"genesis": "g", "height": 200, "hash": "h200"}
    return seen


def node_down() -> dict[str, Any]:
    """Return the look while the node is stopped."""
    seen = document()
    for name in ("monerod", "xmrig-proxy"):
        seen["observed"]["stack"]["services"][name].update(state="exited", health="none")
    seen["observed"]["status"]["rc"] = 1
    seen["observed"]["state"]["json"]["badges"] = [{"text": "monerod DOWN"}, {"text": "Workers rejected"}]
    return seen


def miner() -> dict[str, Any]:
    """Return the look at a miner before it is borrowed."""
    return {
        "errors": {},
        "invariant": {
            "config": {"exists": True, "mode": "0600", "owner": "root"},
            "unit": {"active": "active", "enabled": "enabled"},
            "leftovers": {"exists": True, "entries": []},
        },
        "observed": {"summary": {"status": 200, "json": {"connection": {"ip": "10.0.0.5", "accepted": 7}}}},
    }


def context() -> dict[str, Any]:
    """Return the part of the run context that checks read."""
    row = yaml.safe_load((STACK / "exercise.yml").read_text(encoding="utf-8"))
    return copy.deepcopy(
        {
            "run_id": "20261121T081500Z-0a1b2c",
            "stack": "pithead",
            "branch": "main",
            "commit": COMMIT,
            "mode": "targeted",
            "bench": "bench-0",
            "miners": ["miner-0"],
            "workers": 1,
            "owner": "ops",
            "live": LIVE,
            "checkout": CHECKOUT,
            "secrets": {"categories": SECRET_KEYS},
            "overrides": row["scenarios"][row["canonical"]]["overrides"],
            "posture": yaml.safe_load((STACK / "posture.yml").read_text(encoding="utf-8")),
            "binding_blobs": {"dashboard_code": "blob-of-the-commit"},
            "hosts": [{"name": "miner-0", "kind": "miner"}, {"name": "bench-0", "kind": "bench"}],
        },
    )
