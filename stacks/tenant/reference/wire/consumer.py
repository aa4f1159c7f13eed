"""The consumer's rules: how the tenant decodes each answer of the control plane. Pure, so that the stub can be judged by them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_CONFIG = 64 * 1024  # bytes of a config answer; contract 4
MAX_VALUE = 4 * 1024  # bytes of one value in it; contract 4
MAX_ANSWER = 64 * 1024  # bytes read of any other answer; contract 4


class Undecodable(Exception):
    """An answer that the consumer cannot use. The text says why and never quotes the body, which may echo a credential."""


@dataclass(frozen=True)
class Provisioned:
    """A started workspace; both empty when the control plane said 201 and nothing usable."""

    instance_id: str = ""
    state: str = ""


@dataclass(frozen=True)
class Membership:
    """Whose session it is, and whether that person belongs to the tenant."""

    member: bool
    user_id: str


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as failure:
        raise Undecodable(f"{len(body)} bytes that are not JSON") from failure


def _object(body: bytes) -> dict[str, Any]:
    value = _json(body)
    if not isinstance(value, dict):
        raise Undecodable("JSON, but no object")
    return value


def provision(status: int, body: bytes) -> Provisioned:
    """Decode the answer to a provision call: only the 201 matters, the rest is taken when it is there."""
    if status != 201:
        raise Undecodable(f"provision answered {status}")
    try:
        value = _object(body)
    except Undecodable:
        return Provisioned()
    instance, state = value.get("instance_id", ""), value.get("state", "")
    return Provisioned(instance if isinstance(instance, str) else "", state if isinstance(state, str) else "")


def stop(status: int, _body: bytes) -> None:
    """Decode the answer to a stop call: any 2xx will do."""
    if not 200 <= status < 300:
        raise Undecodable(f"stop answered {status}")


def status(status: int, body: bytes) -> str:
    """Decode the state of an instance, `running` or `terminated` for instance."""
    if status != 200:
        raise Undecodable(f"status answered {status}")
    state = _object(body).get("state")
    if not isinstance(state, str) or not state:
        raise Undecodable("status without a state")
    return state


def console(status: int, body: bytes) -> str:
    """Decode the console output of an instance."""
    if status != 200:
        raise Undecodable(f"console answered {status}")
    output = _object(body).get("output", "")
    if not isinstance(output, str):
        raise Undecodable("console output that is no text")
    return output


def config(status: int, body: bytes) -> dict[str, str]:
    """Decode the environment that the control plane sends: a flat map of texts, without empty names and values over the cap."""
    if status != 200:
        raise Undecodable(f"config answered {status}")
    if len(body) > MAX_CONFIG:
        raise Undecodable(f"config of {len(body)} bytes, at most {MAX_CONFIG}")
    value = _object(body)
    if not all(isinstance(item, str) for item in value.values()):
        raise Undecodable("config that is no flat map of texts")
    return {name: item for name, item in value.items() if name and len(item.encode()) <= MAX_VALUE}


def membership(status: int, body: bytes) -> Membership:
    """Decode a session's membership: a member has a user id."""
    if status != 200:
        raise Undecodable(f"tenant-member answered {status}")
    value = _object(body)
    user = value.get("user_id")
    return Membership(value.get("member") is True and isinstance(user, str) and bool(user), user if isinstance(user, str) else "")


def fleet(status: int, body: bytes) -> list[str]:
    """Decode a fleet redeploy: the slugs whose deploy and health both succeeded."""
    if status != 200:
        raise Undecodable(f"redeploy-fleet answered {status}")
    results = _object(body).get("results")
    if not isinstance(results, list):
        raise Undecodable("redeploy-fleet without results")
    good = [row for row in results if isinstance(row, dict) and row.get("ssm_exit_code") == 0 and row.get("healthz_ok") is True]
    return [str(row.get("slug", "")) for row in good]


def person(status: int, body: bytes) -> str:
    """Decode who is logged in: the id of the user."""
    if status != 200:
        raise Undecodable(f"auth/me answered {status}")
    user = _object(body).get("id")
    if not isinstance(user, str) or not user:
        raise Undecodable("auth/me without an id")
    return user


def organisation(status: int, body: bytes) -> str:
    """Decode a created organisation: its slug; a refusal must be JSON that says which fields are missing."""
    value = _object(body)
    if status == 201 and isinstance(value.get("slug"), str):
        return str(value["slug"])
    raise Undecodable(f"orgs answered {status}")
