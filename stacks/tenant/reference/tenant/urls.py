"""DATABASE_URL and REDIS_URL, taken apart without a driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from tenant.settings import SettingsError

DEFAULT_DATABASE = "postgres://localhost:5432/postgres"  # recorded: an unset URL means the local server


@dataclass(frozen=True)
class Database:
    """Where the database is.

    Attributes:
        host: Name or address.
        port: TCP port.
        user: Who we are there, None for the driver's default.
        password: Its password.
        name: Of the database.
        tls: Whether TLS is demanded: yes, unless the URL says otherwise (recorded).
    """

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    name: str = "postgres"
    tls: bool = True


def database(url: str) -> Database:
    """Take DATABASE_URL apart; SettingsError says what is wrong and never quotes it."""
    try:
        parts = urlsplit(url or DEFAULT_DATABASE)
        port, host = parts.port or 5432, parts.hostname
    except ValueError as failure:
        raise SettingsError("DATABASE_URL cannot be parsed") from failure
    if parts.scheme not in ("postgres", "postgresql") or not host:
        raise SettingsError("DATABASE_URL is no postgres URL")
    mode = parse_qs(parts.query).get("sslmode", ["require"])[0]
    return Database(
        host=host,
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        name=unquote(parts.path.lstrip("/")) or "postgres",
        tls=mode not in ("disable", "allow", "prefer"),
    )


def redis(url: str) -> str:
    """Check REDIS_URL; SettingsError when it is none. An unset one means the local server."""
    wanted = url or "redis://localhost:6379"
    try:
        parts = urlsplit(wanted)
        _ = parts.port
    except ValueError as failure:
        raise SettingsError("REDIS_URL cannot be parsed") from failure
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise SettingsError("REDIS_URL cannot be parsed")
    return wanted
