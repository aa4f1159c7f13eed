"""Which server the builtin is: the guard of the seed or of today, and which mistakes it makes."""

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


class Regression(StrEnum):
    """A mistake that the recorded server did not make: what a replay has to notice all the same. Never part of `all`."""

    STALE_BUILD = "stale-build"
    """It is another build than the one that was deployed."""
    GUARD_OFF = "guard-off"
    """The guard lets everybody pass, whatever the organisation."""
    TELLING_GUARD = "telling-guard"
    """The guard tells a stranger that there is something, and whose it is."""
    MUTE_NOT_FOUND = "mute-not-found"
    """A workspace that is not there is answered as the guard hides everything: a 404 that says nothing."""
    RACED_NUMBERS = "raced-numbers"
    """A message's id is made of a number that is read and written back: two at once get the same, and one is lost."""
    OLDEST_FIRST = "oldest-first"
    """Activity comes oldest first."""
    IGNORED_LIMIT = "ignored-limit"
    """Activity comes without a limit."""
    INCLUSIVE_BEFORE = "inclusive-before"
    """`before_ts` gives the line of that very moment again, so that paging never ends."""
    ONE_SIDED_PEERS = "one-sided-peers"
    """`peer_id` gives what came from a peer, but not what went to it."""
    UNCHECKED_FILTERS = "unchecked-filters"
    """A filter that is none is ignored, so that everything comes."""
    RAW_TEXTS = "raw-texts"
    """Names and roles are taken with what would change the meaning of the files and prompts that carry them."""
    LOOSE_PATHS = "loose-paths"
    """Templates and directories may lead out of their folder."""
    UNDEAD_TOKENS = "undead-tokens"
    """A token that was revoked still counts."""


Mistake = Defect | Regression

ALL_DEFECTS: frozenset[Mistake] = frozenset(Defect)


@dataclass(frozen=True)
class Behaviour:
    """What the server is like.

    Attributes:
        profile: Whose routing contract it keeps.
        mistakes: The mistakes it makes.
    """

    profile: Profile = Profile.CURRENT
    mistakes: frozenset[Mistake] = field(default_factory=frozenset)

    def has(self, mistake: Mistake) -> bool:
        """Say whether this mistake is made."""
        return mistake in self.mistakes

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Behaviour:
        """Read TENANT_PROFILE (seed, current) and TENANT_DEFECTS; ValueError names what is unknown.

        TENANT_DEFECTS is `all`, which means the recorded defects, or names of defects and regressions, with commas.
        """
        profile = env.get("TENANT_PROFILE", "") or Profile.CURRENT
        if profile not in list(Profile):
            raise ValueError(f"TENANT_PROFILE is not one of {', '.join(Profile)}")
        names = {name.strip() for name in env.get("TENANT_DEFECTS", "").split(",") if name.strip()}
        if names == {"all"}:
            return cls(Profile(profile), ALL_DEFECTS)
        known: dict[str, Mistake] = {one.value: one for one in (*Defect, *Regression)}
        unknown = sorted(names - set(known))
        if unknown:
            raise ValueError(f"TENANT_DEFECTS names no defect of ours: {', '.join(unknown)}")
        return cls(Profile(profile), frozenset(known[name] for name in names))
