"""The environment, read once and checked. Nothing else of the tenant looks at it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tenant.behaviour import Behaviour
from tenant.fields import digits

DEFAULT_RATE_LIMIT = 600  # requests a minute and client; contract 3.5
DEFAULT_ORIGINS = ("http://localhost:3000", "http://localhost:3001")  # contract 3.4
KEY_BYTES = 32
PRODUCTION = ("prod", "production")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """A variable has a value that the server cannot start with. The text names the variable, never a secret's value."""


@dataclass(frozen=True)
class Settings:
    """What the server was told, by the name of the variable that told it.

    Attributes:
        port: PORT as text: that it is no number shows only when the server listens, as recorded.
        org_id: MOLECULE_ORG_ID, trimmed. Empty switches the guard off.
        org_given: Whether MOLECULE_ORG_ID was there at all, blank or not: that alone chooses the control-plane provisioner.
        org_slug: MOLECULE_ORG_SLUG; empty switches the session tier off.
        admin_token: ADMIN_TOKEN, the administrator's bearer token.
        environment: MOLECULE_ENV.
        encryption_key: SECRETS_ENCRYPTION_KEY as it came.
        database_url: DATABASE_URL.
        redis_url: REDIS_URL.
        cp_upstream: CP_UPSTREAM_URL, where `/cp/*` goes. Empty unmounts it.
        cp_provision: Base of provisioning calls; CP_PROVISION_URL, else MOLECULE_CP_URL. Never a vendor's by default.
        cp_config: MOLECULE_CP_URL, base of the config request at boot.
        cp_secret: MOLECULE_CP_SHARED_SECRET, else PROVISION_SHARED_SECRET.
        canvas: CANVAS_PROXY_URL, where unknown paths go. Empty: they are 404.
        platform_url: PLATFORM_URL, how agents reach this server.
        origins: CORS_ORIGINS, the foreign origins browsers may call from.
        rate_limit: RATE_LIMIT in requests a minute; what is no positive number means the default.
        trusted_proxies: TRUSTED_PROXIES, the networks whose last X-Forwarded-For hop is believed.
        build_id: GIT_SHA as the build put it into the image.
        behaviour: Profile and defects.
    """

    port: str = "8080"
    org_id: str = ""
    org_given: bool = False
    org_slug: str = ""
    admin_token: str = field(default="", repr=False)
    environment: str = ""
    encryption_key: str = field(default="", repr=False)
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    cp_upstream: str = ""
    cp_provision: str = ""
    cp_config: str = ""
    cp_secret: str = field(default="", repr=False)
    canvas: str = ""
    platform_url: str = ""
    origins: tuple[str, ...] = DEFAULT_ORIGINS
    rate_limit: int = DEFAULT_RATE_LIMIT
    trusted_proxies: tuple[Network, ...] = ()
    build_id: str = "dev"
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def production(self) -> bool:
        """Whether this is a production server: it refuses to start without a usable key."""
        return self.environment.lower() in PRODUCTION

    @property
    def open_development(self) -> bool:
        """Whether everything is open: development without an admin token."""
        return self.environment == "development" and not self.admin_token


def read(env: Mapping[str, str]) -> Settings:
    """Read the environment; SettingsError when the profile, a defect or a proxy network is none."""
    provision = env.get("CP_PROVISION_URL", "") or env.get("MOLECULE_CP_URL", "")
    origins = tuple(origin.strip() for origin in env.get("CORS_ORIGINS", "").split(",") if origin.strip())
    try:
        behaviour = Behaviour.from_env(env)
        proxies = tuple(ipaddress.ip_network(text.strip()) for text in env.get("TRUSTED_PROXIES", "").split(",") if text.strip())
    except ValueError as failure:
        raise SettingsError(str(failure)) from failure
    return Settings(
        port=env.get("PORT", "8080"),
        org_id=env.get("MOLECULE_ORG_ID", "").strip(),
        org_given=bool(env.get("MOLECULE_ORG_ID", "")),
        org_slug=env.get("MOLECULE_ORG_SLUG", "").strip(),
        admin_token=env.get("ADMIN_TOKEN", ""),
        environment=env.get("MOLECULE_ENV", "").strip(),
        encryption_key=env.get("SECRETS_ENCRYPTION_KEY", ""),
        database_url=env.get("DATABASE_URL", ""),
        redis_url=env.get("REDIS_URL", ""),
        cp_upstream=env.get("CP_UPSTREAM_URL", ""),
        cp_provision=provision.rstrip("/"),
        cp_config=env.get("MOLECULE_CP_URL", "").rstrip("/"),
        cp_secret=env.get("MOLECULE_CP_SHARED_SECRET", "") or env.get("PROVISION_SHARED_SECRET", ""),
        canvas=env.get("CANVAS_PROXY_URL", ""),
        platform_url=env.get("PLATFORM_URL", ""),
        origins=origins or DEFAULT_ORIGINS,
        rate_limit=_rate_limit(env.get("RATE_LIMIT", "")),
        trusted_proxies=proxies,
        build_id=env.get("GIT_SHA", "") or "dev",
        behaviour=behaviour,
    )


def _rate_limit(text: str) -> int:
    return digits(text) or DEFAULT_RATE_LIMIT


def usable_key(text: str) -> bool:
    """Say whether this is a key: 32 bytes as they are, or 32 bytes in base64."""
    if len(text.encode()) == KEY_BYTES:
        return True
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def check_upstream(url: str) -> None:
    """Check CP_UPSTREAM_URL; SettingsError says whether it cannot be parsed, has another scheme than http(s), or no host."""
    head, colon, _rest = url.partition(":")
    # `127.0.0.1:9091` has a colon but no scheme in front of it: a scheme begins with a letter.
    if colon and not (head[:1].isascii() and head[:1].isalpha()):
        raise SettingsError("CP_UPSTREAM_URL cannot be parsed")
    try:
        parts = urlsplit(url)
    except ValueError as failure:
        raise SettingsError("CP_UPSTREAM_URL cannot be parsed") from failure
    if parts.scheme not in ("http", "https"):
        raise SettingsError("CP_UPSTREAM_URL scheme is not http or https")
    if not parts.netloc:
        raise SettingsError("CP_UPSTREAM_URL has no host")
