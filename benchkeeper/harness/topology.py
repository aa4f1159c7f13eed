"""What a harness consists of: a compose document for one run. Pure: names, secrets and images come in, a document goes out.

Two networks. `inside` joins everything and leads nowhere; this computer reaches what is on it by its address, and nobody else does.
`door` has the edge alone, because the engine publishes no port of an internal network: it masquerades nothing, so what is sent from
it is never answered. The edge's port is the engine's choice unless somebody chose it, and on loopback only.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchkeeper.errors import UsageError
from benchkeeper.harness import edge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MOST_TENANTS = 8
CLOSED = "closed"  # name of the tenant that has no admin token
BUILTIN, IMAGE, BINARY, URL = "builtin", "image", "binary", "url"
KINDS = (BUILTIN, IMAGE, BINARY, URL)
PORTS = {"edge": edge.PORT, "stub": 9090, "postgres": 5432, "redis": 6379, "tenant": 8080, "canvas": 3000}
_LETTERS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
_REDIS = ("redis-server", "--save", "", "--protected-mode", "no")  # it is reached over networks of the run only
_BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")
_ALIVE = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}', timeout=2)"


@dataclass(frozen=True)
class Tenant:
    """One tenant: its name, its Host name at the edge, its organisation, and the secrets that were made for it, some empty."""

    name: str
    org: str
    admin_token: str = field(repr=False)
    database_password: str = field(repr=False)
    usage_token: str = field(repr=False)

    @property
    def service(self) -> str:
        """Name of its service, and of its container's alias."""
        return f"tenant-{self.name}"

    @property
    def host(self) -> str:
        """Host name that is its own at the edge."""
        return f"harness-tenant-{self.name}.localhost"


@dataclass(frozen=True)
class Images:
    """Images by what runs in them: the real servers, our own parts, and the tenant of the chosen kind."""

    services: str
    parts: str
    tenant: str


@dataclass(frozen=True)
class Switches:
    """What is wrong on purpose, and which version is played: breaks of tenant, stub and edge by name."""

    profile: str = "current"
    edge_profile: str = "plain"
    tenant: tuple[str, ...] = ()
    stub: tuple[str, ...] = ()
    edge: frozenset[str] = frozenset()


def tenants(count: int) -> list[Tenant]:
    """Return so many tenants with fresh secrets. Raises UsageError for a number that makes no sense."""
    if not 1 <= count <= MOST_TENANTS:
        raise UsageError(f"a harness has 1 to {MOST_TENANTS} tenants, not {count}")
    return [Tenant(name, f"harness-org-{name}", *(secrets.token_hex(24) for _secret in range(3))) for name in _LETTERS[:count]]


def closed() -> Tenant:
    """Return a tenant that was given no admin token, so that nobody may administer it."""
    return Tenant(CLOSED, f"harness-org-{CLOSED}", "", *(secrets.token_hex(24) for _secret in range(2)))


def check_build_id(build_id: str) -> str:
    """Return a build id; UsageError when it is none, or is what an unstamped build says."""
    if not _BUILD_ID.match(build_id) or build_id == "dev" or set(build_id) == {"0"}:
        raise UsageError(f"{build_id!r} is no build id: letters, digits, '.', '_' and '-', and neither 'dev' nor zeros")
    return build_id


def _health(test: Sequence[str]) -> dict[str, Any]:
    # For people and for compose. Whoever waits for a service asks it itself.
    return {"test": ["CMD", *test], "interval": "10s", "timeout": "5s", "retries": 6, "start_period": "30s"}


def _http_health(port: int, path: str) -> dict[str, Any]:
    return _health(["python3", "-c", _ALIVE.format(port=port, path=path)])


def _ready(speaks: str, port: int, path: str = "") -> dict[str, Any]:
    return {"x-ready": {"speaks": speaks, "port": port, **({"path": path} if path else {})}}


def environment(tenant: Tenant, switches: Switches, key: str) -> dict[str, str]:
    """Return the environment of a builtin tenant, secrets and all: contract 2.2."""
    stub = f"http://stub:{PORTS['stub']}"
    return {
        **({"ADMIN_TOKEN": tenant.admin_token} if tenant.admin_token else {}),
        "CANVAS_PROXY_URL": f"http://canvas:{PORTS['canvas']}",
        "CP_PROVISION_URL": stub,
        "CP_UPSTREAM_URL": stub,
        "DATABASE_URL": f"postgres://harness:{tenant.database_password}@postgres-{tenant.name}:{PORTS['postgres']}/molecule?sslmode=disable",
        "MEMORY_PLUGIN_DISABLE": "1",
        "MOLECULE_CP_URL": stub,
        "MOLECULE_ENV": "production",
        "MOLECULE_LLM_ANTHROPIC_BASE_URL": f"{stub}/llm/anthropic/v1",
        "MOLECULE_LLM_BASE_URL": f"{stub}/llm/openai/v1",
        "MOLECULE_LLM_USAGE_TOKEN": tenant.usage_token,
        "MOLECULE_LLM_USAGE_URL": f"{stub}/llm/usage",
        "MOLECULE_ORG_ID": tenant.org,
        "PLATFORM_URL": f"http://{tenant.service}:{PORTS['tenant']}",
        "PORT": str(PORTS["tenant"]),
        "RATE_LIMIT": "1000",
        "REDIS_URL": f"redis://redis:{PORTS['redis']}",
        "SECRETS_ENCRYPTION_KEY": key,
        "TENANT_DEFECTS": ",".join(switches.tenant),
        "TENANT_PROFILE": switches.profile,
        "TRUSTED_PROXIES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
    }


@dataclass(frozen=True)
class Plan:
    """Everything that a compose document of one run is made of.

    Attributes:
        project: Compose project: the run's own.
        labels: The ownership triple, on every object.
        images: What runs.
        tenants: Who is served.
        switches: What is wrong on purpose.
        edge: The edge.
        build_id: What every part has to say that it was built of.
        key: SECRETS_ENCRYPTION_KEY of the run.
        mask: STUB_MASK_KEY of the run.
        env_files: Where each service's environment is, by service: nothing secret stands in the document itself.
        port: Loopback port of the edge; 0 for one that the engine chooses.
    """

    project: str
    labels: Mapping[str, str]
    images: Images
    tenants: Sequence[Tenant]
    switches: Switches
    edge: edge.Edge
    build_id: str
    key: str = field(repr=False)
    mask: str = field(repr=False)
    env_files: Mapping[str, str] = field(default_factory=dict)
    port: int = 0

    def with_env_files(self, folder: Path) -> Plan:
        """Return the plan with a file for each service's environment, below a directory that is the run's alone."""
        return replace(self, env_files={name: str(folder / f"{name}.env") for name in self.environments()})

    def environments(self) -> dict[str, dict[str, str]]:
        """Return the environment of every service that has one; they are written to files of mode 0600."""
        found = {
            "stub": {
                "PORT": str(PORTS["stub"]),
                "STUB_DEFECTS": ",".join(self.switches.stub),
                "STUB_MASK_KEY": self.mask,
                "STUB_PROFILE": self.switches.profile,
            },
            "canvas": {"PORT": str(PORTS["canvas"])},
        }
        for one in self.tenants:
            found[one.service] = environment(one, self.switches, self.key)
            found[f"postgres-{one.name}"] = {
                "POSTGRES_DB": "molecule",
                "POSTGRES_PASSWORD": one.database_password,
                "POSTGRES_USER": "harness",
            }
        return found

    def edge_config(self) -> str:
        """Return the edge's configuration."""
        upstreams = {one.host: f"{one.service}:{PORTS['tenant']}" for one in self.tenants}
        return edge.config(self.edge, upstreams, self.build_id)

    def document(self) -> dict[str, Any]:
        """Return the compose document (JSON is YAML)."""
        services: dict[str, Any] = {
            "redis": self._service(self.images.services, list(_REDIS))
            | {"healthcheck": _health(["redis-cli", "ping"]), **_ready("redis", PORTS["redis"])},
            "stub": self._service(self.images.parts, ["python3", "-m", "stub"])
            | {"healthcheck": _http_health(PORTS["stub"], "/healthz"), **_ready("http", PORTS["stub"], "/healthz")},
            "canvas": self._service(self.images.parts, ["python3", "-m", "canvas"])
            | {"healthcheck": _http_health(PORTS["canvas"], "/"), **_ready("http", PORTS["canvas"], "/")},
        }
        for one in self.tenants:
            database = f"postgres-{one.name}"
            services[database] = self._service(self.images.services, ["database", "serve"]) | {
                # Over the network: while it is still being furnished it listens on its socket only.
                "healthcheck": _health(["pg_isready", "-q", "-h", "127.0.0.1", "-U", "harness", "-d", "molecule"]),
                "stop_signal": "SIGINT",
                **_ready("postgres", PORTS["postgres"]),
            }
            needed = {name: {"condition": "service_healthy"} for name in (database, "redis", "stub")}
            services[one.service] = self._service(self.images.tenant, None) | {
                "healthcheck": _http_health(PORTS["tenant"], "/health"),
                "depends_on": {**needed, "canvas": {"condition": "service_started"}},
                **_ready("http", PORTS["tenant"], "/health"),
            }
        # It resolves names when it is asked, so it does not wait for those behind it.
        services["edge"] = self._service(self.images.services, ["edge"], ("inside", "door")) | {
            "ports": [{"target": PORTS["edge"], "host_ip": "127.0.0.1", "protocol": "tcp", "mode": "host", **self._port()}],
            "environment": {"EDGE_CONFIG": self.edge_config().replace("$", "$$")},  # compose fills in what has one
            **_ready("http", PORTS["edge"], "/__edge/buildinfo"),
        }
        for name in self.environments():
            if name in self.env_files:
                services[name]["env_file"] = [self.env_files[name]]
        # No masquerading: what is sent from the door has an address that nobody can answer.
        door = {
            "driver": "bridge",
            "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
            "labels": dict(self.labels),
        }
        return {
            "name": self.project,
            "services": services,
            "networks": {"inside": {"internal": True, "labels": dict(self.labels)}, "door": door},
        }

    def _port(self) -> dict[str, str]:
        return {"published": str(self.port)} if self.port else {}

    def _service(self, image: str, command: Sequence[str] | None, networks: Sequence[str] = ("inside",)) -> dict[str, Any]:
        found: dict[str, Any] = {
            "image": image,
            "pull_policy": "never",
            "labels": {**self.labels, "benchkeeper.kind": "container"},
            "networks": list(networks),
            "restart": "no",
            "init": False,
            "cap_drop": ["NET_RAW"],
            "security_opt": ["no-new-privileges:true"],
        }
        if command is not None:
            found["command"] = list(command)
        return found
