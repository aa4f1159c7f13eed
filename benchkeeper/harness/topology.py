"""What a harness consists of: a compose document for one run. Pure: names, secrets and images come in, a document goes out.

Two networks. `inside` joins everything and leads nowhere. `door` exists because the engine publishes no port of an internal
network: it masquerades nothing, so what is sent from it is never answered. Ports are the engine's choice, on loopback only.
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
BUILTIN, IMAGE, BINARY, URL = "builtin", "image", "binary", "url"
KINDS = (BUILTIN, IMAGE, BINARY, URL)
PORTS = {"edge": edge.PORT, "stub": 9090, "postgres": 5432, "redis": 6379, "tenant": 8080, "canvas": 3000}
_LETTERS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
_REDIS = ("redis-server", "--save", "", "--protected-mode", "no")  # it is reached over networks of the run only
_BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")
_ALIVE = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}', timeout=2)"


@dataclass(frozen=True)
class Tenant:
    """One tenant: its name, its Host name at the edge, its organisation, and the secrets that were made for it."""

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


def check_build_id(build_id: str) -> str:
    """Return a build id; UsageError when it is none, or is what an unstamped build says."""
    if not _BUILD_ID.match(build_id) or build_id == "dev" or set(build_id) == {"0"}:
        raise UsageError(f"{build_id!r} is no build id: letters, digits, '.', '_' and '-', and neither 'dev' nor zeros")
    return build_id


def _health(test: Sequence[str], retries: int = 40) -> dict[str, Any]:
    # Asked often while it starts, so that nobody waits for the next question; seldom afterwards.
    return {
        "test": ["CMD", *test],
        "interval": "5s",
        "timeout": "5s",
        "retries": retries,
        "start_period": "30s",
        "start_interval": "250ms",
    }


def _http_health(port: int, path: str) -> dict[str, Any]:
    return _health(["python3", "-c", _ALIVE.format(port=port, path=path)])


def environment(tenant: Tenant, switches: Switches, key: str) -> dict[str, str]:
    """Return the environment of a builtin tenant, secrets and all: contract 2.2."""
    stub = f"http://stub:{PORTS['stub']}"
    return {
        "ADMIN_TOKEN": tenant.admin_token,
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
        inside, both = ["inside"], ["inside", "door"]
        services: dict[str, Any] = {
            "redis": self._service(
                self.images.services, ["redis-server", "--save", "", "--protected-mode", "no"], both, publish=PORTS["redis"]
            )
            | {"healthcheck": _health(["redis-cli", "ping"])},
            "stub": self._service(self.images.parts, ["python3", "-m", "stub"], both, publish=PORTS["stub"])
            | {"healthcheck": _http_health(PORTS["stub"], "/healthz")},
            "canvas": self._service(self.images.parts, ["python3", "-m", "canvas"], inside)
            | {"healthcheck": _http_health(PORTS["canvas"], "/")},
        }
        for one in self.tenants:
            database = f"postgres-{one.name}"
            services[database] = self._service(self.images.services, ["database", "serve"], both, publish=PORTS["postgres"]) | {
                # Over the network: while it is still being furnished it listens on its socket only.
                "healthcheck": _health(["pg_isready", "-q", "-h", "127.0.0.1", "-U", "harness", "-d", "molecule"]),
                "stop_signal": "SIGINT",
            }
            ready = {name: {"condition": "service_healthy"} for name in (database, "redis", "stub")}
            services[one.service] = self._service(self.images.tenant, None, both, publish=PORTS["tenant"]) | {
                "healthcheck": _http_health(PORTS["tenant"], "/health"),
                "depends_on": {**ready, "canvas": {"condition": "service_started"}},
            }
        services["edge"] = self._service(self.images.services, ["edge"], both, publish=PORTS["edge"]) | {
            "depends_on": {one.service: {"condition": "service_healthy"} for one in self.tenants}
        }
        for name in self.environments():
            if name in self.env_files:
                services[name]["env_file"] = [self.env_files[name]]
        services["edge"]["environment"] = {"EDGE_CONFIG": self.edge_config().replace("$", "$$")}  # compose fills in what has one
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

    def _service(
        self, image: str, command: Sequence[str] | None, networks: Sequence[str], publish: int | None = None
    ) -> dict[str, Any]:
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
        if publish is not None:
            found["ports"] = [{"target": publish, "host_ip": "127.0.0.1", "protocol": "tcp", "mode": "host"}]
        return found
