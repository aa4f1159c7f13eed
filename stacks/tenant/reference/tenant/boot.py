"""The order in which the server starts, and what it says at each step. I/O comes in from outside.

The order, by contract 8 and the recordings: values from the control plane, key, database, migrations, Redis, provisioner, upstream,
listener.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tenant.fields import digits
from tenant.session import Unreachable
from tenant.settings import Settings, SettingsError, check_upstream, read, usable_key
from tenant.store import Cache, CacheDown, Store, StoreDown
from wire import consumer

Say = Callable[[str], None]  # notes one event; the texts are the recording's, so a log can be compared with it

MAX_PORT = 65535
NO_KEY = "production refuses to start without a usable secrets encryption key"


class BootError(Exception):
    """The server does not start; what is wrong was said already."""


class Migrated(Protocol):
    """A store that was just opened."""

    async def migrate(self) -> bool:
        """Bring the schema up to date; False when there is nothing to bring it up with."""


class OpenStore(Store, Migrated, Protocol):
    """What opening a database gives."""


class Parts(Protocol):
    """The outside world as booting sees it."""

    async def fetch_config(self, settings: Settings) -> tuple[int, bytes]:
        """Ask the control plane for values; Unreachable."""

    async def open_store(self, url: str) -> OpenStore:
        """Connect to the database; SettingsError for an unusable URL, ConnectionRefusedError, StoreDown."""

    async def open_cache(self, url: str) -> Cache:
        """Connect to Redis; SettingsError for an unusable URL, ConnectionRefusedError, CacheDown."""


@dataclass(frozen=True)
class Booted:
    """What a start gives."""

    settings: Settings
    store: Store
    cache: Cache
    provisioner: bool


async def boot(env: Mapping[str, str], parts: Parts, say: Say) -> Booted:
    """Start everything up to the listener.

    Args:
        env: The environment.
        parts: The outside world.
        say: Notes events.

    Returns:
        Settings and open connections.

    Raises:
        BootError: It cannot start. Whatever was opened is closed again.
    """
    settings = read_settings(await _with_config(env, parts, say), say)
    if usable_key(settings.encryption_key):
        say("encryption on")
    elif settings.production:
        raise _fatal(NO_KEY, say)
    else:
        say("encryption off")
    store = await _database(settings, parts, say)
    try:
        say("all migrations applied" if await store.migrate() else "no migrations directory, schema left empty")
        cache = await _redis(settings, parts, say)
    except BaseException:
        await store.close()
        raise
    provisioner = settings.org_given and bool(settings.cp_provision)
    if provisioner:
        say("control-plane provisioner chosen")
    try:
        if settings.cp_upstream:
            check_upstream(settings.cp_upstream)
    except SettingsError as failure:
        await cache.close()
        await store.close()
        raise _fatal(str(failure), say) from failure
    return Booted(settings, store, cache, provisioner)


def read_settings(env: Mapping[str, str], say: Say) -> Settings:
    """Read the environment; BootError when it has a value that nothing can start with."""
    try:
        return read(env)
    except SettingsError as failure:
        raise _fatal(str(failure), say) from failure


def _fatal(text: str, say: Say) -> BootError:
    say(text)
    return BootError(text)


async def _with_config(env: Mapping[str, str], parts: Parts, say: Say) -> Mapping[str, str]:
    """Let the control plane's values win over the environment, the organisation's id included (recorded)."""
    settings = read_settings(env, say)
    if not (settings.org_id and settings.admin_token and settings.cp_config):
        return env
    try:
        status, body = await parts.fetch_config(settings)
    except Unreachable:
        say("config fetch failed, continued")
        return env
    if status != 200:
        say(f"config fetch answered {status}, continued")
        return env
    try:
        values = consumer.config(status, body)
    except consumer.Undecodable:
        say("config fetch body could not be decoded as a string map, continued")
        return env
    say("config values applied")
    return {**env, **values}


async def _database(settings: Settings, parts: Parts, say: Say) -> OpenStore:
    try:
        store = await parts.open_store(settings.database_url)
    except (SettingsError, StoreDown, ConnectionRefusedError) as failure:
        if isinstance(failure, ConnectionRefusedError):
            say("postgres connection refused")
        raise _fatal("postgres initialisation failed", say) from failure
    say("postgres connected")
    return store


async def _redis(settings: Settings, parts: Parts, say: Say) -> Cache:
    try:
        cache = await parts.open_cache(settings.redis_url)
    except (SettingsError, CacheDown, ConnectionRefusedError) as failure:
        if isinstance(failure, SettingsError):
            say("redis url cannot be parsed")
        else:
            if isinstance(failure, ConnectionRefusedError):
                say("redis connection refused")
            say("redis ping failed")
        raise _fatal("redis initialisation failed", say) from failure
    say("redis connected")
    return cache


async def listening(port: str, bind: Callable[[int], Awaitable[None]], say: Say) -> None:
    """Listen; BootError when the port is no port, or taken."""
    say("listening")
    number = digits(port)
    if number is None or number > MAX_PORT:
        raise _fatal("listen port is not valid", say)
    try:
        await bind(number)
    except OSError as failure:
        raise _fatal("listen port already in use", say) from failure
