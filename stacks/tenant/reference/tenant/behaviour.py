"""Which server the builtin is: the guard of the seed or of today, and which of the recorded defects it brings back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Profile(StrEnum):
    """Two states of the product's routing contract.

    SEED: a request without the right organisation is a bare 404, `/buildinfo` is guarded, activity knows neither filter.
    CURRENT: a request without any organisation is told so with a 400, `/buildinfo` is public, activity filters by peer and time.
    """

    SEED = "seed"
    CURRENT = "current"


class Defect(StrEnum):
    """A mistake that the real server was recorded to make. Each is a break of the builtin: off unless asked for by name."""

    FORGED_ORIGIN = "forged-origin"
    """A Referer or Origin that equals the Host header counts as a credential."""
    DOT_SEGMENTS = "dot-segments"
    """The control-plane proxy compares prefixes without cleaning the path, and forwards it as it came."""
    EARLY_REDIRECT = "early-redirect"
    """A known route with a slash too many or too few is redirected before any middleware looks."""
    METHOD_BLIND_GUARD = "method-blind-guard"
    """The guard lets a public path pass whatever the method is, so a wrong one reaches the UI."""
    OPEN_PEERS = "open-peers"
    """A peer list needs no credential as long as the workspace has no live token."""
    ONE_BUCKET = "one-bucket"
    """The rate limit counts the proxy instead of the clients behind it."""
    ROLELESS_FILTER = "roleless-filter"
    """A peer filter dies on the first peer without a role whose name does not match."""
    ZERO_ADDRESS = "zero-address"
    """An agent may register the unspecified address, which is the host itself."""
    OPEN_WITHOUT_ADMIN = "open-without-admin"
    """In production without an admin token, admin routes are open until the first workspace token exists."""
    QUIET_OUTAGE = "quiet-outage"
    """Only admin routes say that the database is away; workspace tokens look wrong, other routes answer 500."""
    UNPARSED_IDS = "unparsed-ids"
    """An id that is no UUID reaches the database and comes back as a 500."""
    UNKNOWN_IDS_PASS = "unknown-ids-pass"  # noqa: S105 - the name of a defect
    """A heartbeat or a delete of a workspace that does not exist answers 200."""
    UNCHECKED_PARENT = "unchecked-parent"
    """A parent that does not exist is noticed by the database only: a 500 that says nothing."""
    SHARED_KEYS = "shared-keys"
    """Redis keys do not say whose they are, so tenants on one Redis see each other's."""


ALL_DEFECTS = frozenset(Defect)


@dataclass(frozen=True)
class Behaviour:
    """What the server is like.

    Attributes:
        profile: Whose routing contract it keeps.
        defects: The mistakes it makes.
    """

    profile: Profile = Profile.CURRENT
    defects: frozenset[Defect] = field(default_factory=frozenset)

    def has(self, defect: Defect) -> bool:
        """Say whether this mistake is made."""
        return defect in self.defects

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Behaviour:
        """Read TENANT_PROFILE (seed, current) and TENANT_DEFECTS (all, or names and commas); ValueError names what is unknown."""
        profile = env.get("TENANT_PROFILE", "") or Profile.CURRENT
        if profile not in list(Profile):
            raise ValueError(f"TENANT_PROFILE is not one of {', '.join(Profile)}")
        names = {name.strip() for name in env.get("TENANT_DEFECTS", "").split(",") if name.strip()}
        if names == {"all"}:
            return cls(Profile(profile), ALL_DEFECTS)
        unknown = sorted(names - set(Defect))
        if unknown:
            raise ValueError(f"TENANT_DEFECTS names no defect of ours: {', '.join(unknown)}")
        return cls(Profile(profile), frozenset(Defect(name) for name in names))
