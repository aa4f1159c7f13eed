"""The environment that recorded servers were started with, with today's addresses in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # base64 of the bytes 0 to 31, as recorded
# What every recorded server had; its values are the recording's and open nothing but what a play starts and ends.
BASE = {
    "MOLECULE_ENV": "production",
    "MOLECULE_ORG_ID": "harness-org",
    "ADMIN_TOKEN": "harness-admin-token",
    "SECRETS_ENCRYPTION_KEY": KEY,
    "RATE_LIMIT": "1000",
    "PLATFORM_URL": "http://tenant:8080",
}
UNSET = "<unset>"
CANVAS_PORT, CONTROL_PLANE_PORT, POSTGRES_PORT, REDIS_PORT, DEAD_PORT = 3000, 9091, 15432, 16379, 9099
OWNER = "harness:harness@"  # user and password of the recorded database
_LOCAL = re.compile(r"127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Addresses:
    """Where the surroundings of one server are, as it reaches them: `host:port` each.

    Attributes:
        control_plane: The control plane.
        canvas: The UI.
        postgres: The database server.
        redis: Redis.
        dead: Where nobody listens.
        database: Name of its database.
        credentials: `user:password` of the database's owner.
        keyspace: Number of its Redis database.
    """

    control_plane: str
    canvas: str
    postgres: str
    redis: str
    dead: str
    database: str
    credentials: str = field(repr=False)
    keyspace: int

    def url(self, database: str = "") -> str:
        """Give the URL of a database."""
        return f"postgres://{self.credentials}@{self.postgres}/{database or self.database}?sslmode=disable"

    def environment(self, difference: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
        """Give the environment of a server.

        Args:
            difference: What the recording says that is different with this one, with the recording's addresses.
            more: What is ours to say; the recording's word counts more.
        """
        plane = f"http://{self.control_plane}"
        env = {
            **BASE,
            "CP_UPSTREAM_URL": plane,
            "CP_PROVISION_URL": plane,
            "MOLECULE_CP_URL": plane,
            "CANVAS_PROXY_URL": f"http://{self.canvas}",
            "DATABASE_URL": self.url(),
            "REDIS_URL": f"redis://{self.redis}/{self.keyspace}",
            **more,
            **{name: self.today(value) for name, value in difference.items()},
        }
        if env.get("PORT") == str(CANVAS_PORT):  # the UI's own
            env["PORT"] = self.canvas.rpartition(":")[2]
        return {name: value for name, value in env.items() if value != UNSET}

    def today(self, value: str) -> str:
        """Give a recorded value with today's addresses and password."""
        known = {
            CONTROL_PLANE_PORT: self.control_plane,
            CANVAS_PORT: self.canvas,
            POSTGRES_PORT: self.postgres,
            REDIS_PORT: self.redis,
            DEAD_PORT: self.dead,
        }
        moved = _LOCAL.sub(lambda match: known.get(int(match.group(1)), match.group(0)), value)
        return moved.replace(f"//{OWNER}{self.postgres}/", f"//{self.credentials}@{self.postgres}/")
