"""A bench as it stands when everything is right, written out by hand: what the checks must pass, and what mutants are made of."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

STACK = Path(__file__).parents[4] / "stacks" / "pithead"
COMMIT = "4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de4f1c0"
LIVE, CHECKOUT = "/srv/code/pithead", "/srv/code/pithead-e2e"
POSTURE: dict[str, Any] = yaml.safe_load((STACK / "posture.yml").read_text(encoding="utf-8"))
PROFILE: dict[str, Any] = yaml.safe_load((STACK / "profile.yml").read_text(encoding="utf-8"))
SECRET_KEYS: dict[str, list[str]] = PROFILE["secrets"]["categories"]
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
    "UPDATE_INTERVAL": "1.5",
    "MONERO_DATA_DIR": "/srv/data/monero",
    "TARI_DATA_DIR": "/srv/data/tari",
    "P2POOL_DATA_DIR": "/srv/data/p2pool",
    "DASHBOARD_DATA_DIR": "/srv/data/dashboard",
    "TOR_DATA_DIR": "/srv/data/tor",
    "PROXY_API_PORT": "3344",
    "DASHBOARD_CONTROL_ENABLED": "false",
    "DASHBOARD_CHECK_UPDATES": "true",
    "TOR_AUTO_HEAL": "true",
    "PROXY_DONATE_LEVEL": "0",
}
# name: (uid, network, address, cap_add, published [(ip, host port, port)])
SERVICES: dict[str, tuple[int, str, str, list[str], list[tuple[str, int, int]]]] = {
    "tor": (100, "mining_net", "172.28.0.25", [], []),
    "monerod": (1000, "mining_net", "172.28.0.26", [], [("127.0.0.1", 18081, 18081), ("127.0.0.1", 18083, 18083)]),
    "tari": (1000, "mining_net", "172.28.0.27", [], [("127.0.0.1", 18142, 18142)]),
    "p2pool": (1000, "mining_net", "172.28.0.28", [], []),
    "xmrig-proxy": (1000, "mining_net", "172.28.0.29", [], [("0.0.0.0", 3333, 3333)]),  # noqa: S104 - compared, not bound
    "dashboard": (1000, "host", "", [], []),
    "docker-proxy": (0, "proxy_net", "172.18.0.2", [], [("127.0.0.1", 12375, 2375)]),
    "docker-control": (0, "proxy_net", "172.18.0.3", [], [("127.0.0.1", 12376, 2375)]),
    "caddy": (0, "host", "", ["NET_BIND_SERVICE"], []),
}
DATA = "/srv/data"


def _bind(source: str, target: str, *, rw: bool = False) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "rw": rw}


def _memory(target: str, options: str) -> dict[str, Any]:
    return {"type": "tmpfs", "source": "", "target": target, "rw": True, "options": options}


def _mounts(name: str, directory: str) -> list[dict[str, Any]]:
    socket = [_bind("/var/run/docker.sock", "/var/run/docker.sock")]
    template = "build/monero/bitmonero.conf.template"
    mounts: dict[str, list[dict[str, Any]]] = {
        "tor": [_bind(f"{DATA}/tor", "/var/lib/tor", rw=True), _memory("/run/tor", "uid=100,gid=101,mode=0700")],
        "monerod": [
            _bind(f"{DATA}/monero", "/home/monero/.bitmonero", rw=True),
            _bind(f"{directory}/{template}", "/etc/pithead/bitmonero.conf.template"),
            _memory("/run/monero", "uid=1000,gid=1000,mode=0700"),
        ],
        "tari": [_bind(f"{DATA}/tari", "/var/tari/node", rw=True)],
        "p2pool": [_bind(f"{DATA}/p2pool/stats", "/stats", rw=True)],
        "dashboard": [
            _bind(f"{DATA}/dashboard", "/data", rw=True),
            _bind(f"{DATA}/p2pool/stats", "/app/stats"),
            _bind(f"{directory}/config.reference.json", "/app/config.reference.json"),
            _bind(f"{directory}/config.core-keys.json", "/app/config.core-keys.json"),
            _bind(f"{directory}/.pithead.lock", "/pithead-lock"),
        ],
        "docker-proxy": socket,
        "docker-control": socket,
        "caddy": [
            _bind(f"{directory}/Caddyfile", "/etc/caddy/Caddyfile"),
            {"type": "volume", "name": "pithead_caddy_data", "target": "/data", "rw": True},
            _memory("/config", "mode=0700"),
        ],
    }
    return mounts.get(name, [])


SECRETS = {
    "monerod": ["MONERO_NODE_USERNAME", "MONERO_NODE_PASSWORD"],
    "p2pool": ["MONERO_NODE_USERNAME", "MONERO_NODE_PASSWORD"],
    "xmrig-proxy": ["PROXY_AUTH_TOKEN", "PROXY_STRATUM_PASSWORD"],
    "dashboard": ["PROXY_AUTH_TOKEN", "MONERO_NODE_USERNAME", "MONERO_NODE_PASSWORD", "DASHBOARD_ONION_ADDRESS"],
}
COMMANDS = {
    "p2pool": "tini -- python3 -m p2pool --host 172.28.0.26 --wallet *** --socks5 172.28.0.25:9050 --no-dns",
    "xmrig-proxy": "tini -- python3 -m xmrig_proxy --url 172.28.0.28:3333 --http-port 3344 --donate-level 0",
}
HEALTH = {
    "tor": ["CMD", "health"],
    "monerod": ["CMD", "health"],
    "tari": ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/18142"],
    "p2pool": ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/3333"],
    "xmrig-proxy": ["CMD", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/3344"],
    "dashboard": ["CMD", "curl", "-sfI", "--max-time", "4", "http://127.0.0.1:8000/api/state"],
    "docker-proxy": ["CMD", "curl", "-sf", "--max-time", "4", "http://127.0.0.1:2375/_ping"],
    "docker-control": ["CMD", "curl", "-sf", "--max-time", "4", "http://127.0.0.1:2375/_ping"],
    "caddy": ["CMD", "curl", "-sf", "--max-time", "4", "-o", "/dev/null", "http://127.0.0.1:2019/config/"],
}
TIMES = {"interval": 3.0, "timeout": 5.0, "start_period": 20.0, "start_interval": 1.0}
DEPENDS = {"monerod": ["tor:service_healthy:true"], "xmrig-proxy": ["p2pool:service_started:false"]}
STOP = {"monerod": 60, "caddy": 5}
STATUS = {
    **dict.fromkeys(["rpc_open", "rpc_open_json", "proxy_open", "proxy_open_put"], 401),
    **dict.fromkeys(["look_delete", "look_exec", "look_start", "look_images", "look_longer"], 403),
    **dict.fromkeys(["act_list", "act_other", "act_exec", "act_longer", "proxy_wrong"], 403),
    "look_list": 200,
    "control": 404,
}
ROW = ["miner-0", "10.0.0.5", 1, 12, 0, 0, 240, 1764000000000, 0.1, 0.1, 0.1, 0.1, 0.1]
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
    uid, network, address, cap_add, ports = SERVICES[name]
    keys = ["PATH", *SECRETS.get(name, [])]
    return {
        "image_id": f"sha256:{name}",
        "image_ref": f"pithead-{name}:dev",
        "config_hash": f"hash-{name}",
        "working_dir": directory,
        "mounts": _mounts(name, directory),
        "env_fp": {key: f"fp-{key}" for key in keys},
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
        "health": {"test": HEALTH[name], "retries": 3, **TIMES},
        "extras": [],
        "command": COMMANDS.get(name, "tini -- it"),
        "depends_on": DEPENDS.get(name, []),
        "stop_timeout": STOP.get(name, 10),
        "log": {"driver": "json-file", "max-size": "10m", "max-file": "3"},
        "labels": {},
    }


NO_FAULTS: dict[str, Any] = {"bad_lines": [], "repeated": [], "loose": []}
NETWORKS = {
    "mining_net": {"driver": "bridge", "internal": False, "subnet": "172.28.0.0/24"},
    "proxy_net": {"driver": "bridge", "internal": False, "subnet": "172.28.255.0/24"},
}


def document(directory: str = CHECKOUT) -> dict[str, Any]:
    """Return a snapshot of a good bench driven by a directory."""
    keys = {key: f"fp-{key}" for key in POSTURE["settings"]["keys"]}
    return {
        "schema": 1,
        "host": "bench-0",
        "run_id": "20261121T081500Z-0a1b2c",
        "taken_at": "2026-11-21T08:15:04.210+00:00",
        "kinds": {},
        "errors": {},
        "invariant": {
            "env": {"exists": True, "mode": "0600", "owner": "ops", "group": "ops", "keys": keys, **NO_FAULTS},
            "config": {"exists": True, "mode": "0600", "owner": "ops", "group": "ops", "fp": "fp-config"},
            "sockets": {"listen": list(LISTEN)},
            "stack": {
                "services": {name: _service(name, directory) for name in SERVICES},
                "networks": copy.deepcopy(NETWORKS),
                "volumes": ["pithead_caddy_data"],
            },
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
                    **dict.fromkeys(POSTURE["api"]["keys"]),
                    "last_update": 1795248903.0,
                    "share_stats": [{"ts": 1, "accepted": 2}],
                    "egress": {"summary": {"level": "ok", "leaks": 0}},
                    "topology": {
                        "summary": {"level": "ok", "leaks": 0},
                        "nodes": [{"id": name} for name in POSTURE["api"]["nodes"]],
                    },
                    "db_healthy": True,
                    "proxy_workers": 1,
                    "badges": [{"text": "P2Pool Main"}],
                    "sync": {"monero": {"state": "done", "current": 240}, "tari": {"state": "done"}},
                    "monero": {"mode": "Pruned"},
                    "pool": {"type": "Main"},
                    "stratum": {"total_hashes": 4200},
                    "workers": [{"name": "miner-0", "status": "online", "pool": "p2pool", "accepted": 12, "rejected": 0}],
                    "tari": {"connected": True, "status": "READY"},
                },
            },
            "caddy": {"status": 200, "json": {"db_healthy": True}},
            "caddy_plain": {"status": 301, "location": "https://localhost/api/state"},
            "metrics": {"status": 200, "content_type": "text/plain"},
            "proxy": {"status": 200, "json": {"mode": "user", "workers": [list(ROW)]}},
            "zmq": {"publishes": True, "socket": "XPUB", "version": "3.1"},
            "exposed": {"places": [], "searched": ["MONERO_NODE_PASSWORD", "PROXY_AUTH_TOKEN"]},
            "paid": {"places": ["MONERO_WALLET_ADDRESS: command of p2pool", "TARI_WALLET_ADDRESS: command of p2pool"]},
            "image_env_dashboard": {"exists": False},
            "image_env_p2pool": {"exists": False},
            **{name: {"status": status} for name, status in STATUS.items()},
        },
    }


def before() -> dict[str, Any]:
    """Return the look from before the run: the live directory drives, the chain is shorter."""
    seen = document(LIVE)
    seen["observed"]["chain"] = {"genesis": "g", "height": 200, "hash": "h200"}
    return seen


def flipped() -> dict[str, Any]:
    """Return the look while the pool and two switches are flipped."""
    seen = document()
    flags = f"--nano {ENV['P2POOL_FLAGS']}"
    switched = {"P2POOL_FLAGS": flags, "P2POOL_PORT": "37890", "DASHBOARD_CHECK_UPDATES": "false", "TOR_AUTO_HEAL": "false"}
    seen["observed"]["env"]["values"].update(switched)
    seen["observed"]["state"]["json"]["pool"]["type"] = "Nano"
    return seen


def node_down() -> dict[str, Any]:
    """Return the look while the node is stopped."""
    seen = document()
    for name in ("monerod", "xmrig-proxy"):
        seen["observed"]["stack"]["services"][name].update(state="exited", health="none")
    seen["observed"]["status"]["rc"] = 1
    seen["observed"]["state"]["json"]["badges"] = [{"text": "monerod DOWN"}, {"text": "Workers rejected"}]
    looked = _looked("node_down")
    for part in ("invariant", "observed"):
        seen[part] = {name: value for name, value in seen[part].items() if name in looked}
    return seen


def _looked(name: str) -> list[str]:
    """Return the probes that the exercise takes for a look."""
    steps = yaml.safe_load((STACK / "exercise.yml").read_text(encoding="utf-8"))["targeted"]
    return next(list(op["probes"]) for step in steps for op in step["ops"] if op.get("look") == name)


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
            "posture": POSTURE,
            "binding_blobs": {"dashboard_code": "blob-of-the-commit"},
            "hosts": [{"name": "miner-0", "kind": "miner"}, {"name": "bench-0", "kind": "bench"}],
        },
    )
