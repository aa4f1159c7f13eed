"""What the stub is told by its environment."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Profile(StrEnum):
    """SEED: who is logged in, fleet redeploy and nothing else. CURRENT: what the tenant really calls, too."""

    SEED = "seed"
    CURRENT = "current"


class Defect(StrEnum):
    """A break of the stub, off unless asked for by name."""

    NESTED_CONFIG = "nested-config"
    """The config answer is a nested object that the tenant cannot decode: what the product's own stub does."""
    PROVISION_OK = "provision-200"
    """A start is answered with 200 instead of 201: the tenant takes it for a failure."""


@dataclass(frozen=True)
class Settings:
    """What the stub was told.

    Attributes:
        port: PORT.
        profile: STUB_PROFILE.
        defects: STUB_DEFECTS, names separated by commas.
        redirect: STUB_REDIRECT, status of redirects to clean paths: 307, or 301 as an older compiler made it.
        config: STUB_CONFIG, a JSON object of texts: the values that the config route gives.
        key: STUB_MASK_KEY, under which credentials are masked; one of its own when it is not given.
    """

    port: int = 9090
    profile: Profile = Profile.CURRENT
    defects: frozenset[Defect] = frozenset()
    redirect: int = 307
    config: dict[str, str] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)


def read(env: Mapping[str, str]) -> Settings:
    """Read the environment; ValueError names what is wrong."""
    defects = frozenset(Defect(name.strip()) for name in env.get("STUB_DEFECTS", "").split(",") if name.strip())
    redirect = int(env.get("STUB_REDIRECT", "") or 307)
    if redirect not in (301, 307):
        raise ValueError("STUB_REDIRECT is neither 301 nor 307")
    config = json.loads(env.get("STUB_CONFIG", "") or "{}")
    if not isinstance(config, dict):
        raise ValueError("STUB_CONFIG is no JSON object")  # noqa: TRY004 - one error for all that is wrong with a variable
    return Settings(
        port=int(env.get("PORT", "") or 9090),
        profile=Profile(env.get("STUB_PROFILE", "") or Profile.CURRENT),
        defects=defects,
        redirect=redirect,
        config=config,
        key=env.get("STUB_MASK_KEY", "").encode() or secrets.token_bytes(32),
    )
