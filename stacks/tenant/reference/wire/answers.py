"""The control plane's answers as models: one for each route and status. The stub validates by them before it sends."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from wire.consumer import MAX_VALUE


class Answer(BaseModel):
    """An object without fields that nobody named."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Person(Answer):
    """Who is logged in."""

    id: str = Field(min_length=1)
    email: str
    org_id: str
    roles: list[str]


class Deployed(Answer):
    """One tenant of a fleet redeploy."""

    slug: str = Field(min_length=1)
    phase: str
    ssm_status: str
    ssm_exit_code: int
    healthz_ok: bool


class Fleet(Answer):
    """A fleet redeploy."""

    ok: bool
    results: list[Deployed]


class Organisation(Answer):
    """A created organisation."""

    ok: Literal[True]
    slug: str = Field(min_length=1)


class Missing(Answer):
    """A refusal that says which fields are missing."""

    error: str = Field(min_length=1)
    fields: list[str] = Field(min_length=1)


class Error(Answer):
    """A refusal."""

    error: str = Field(min_length=1)


class NotThere(Answer):
    """What the catch-all says: method and path, never query or headers, which may hold a credential."""

    error: str = Field(min_length=1)
    hint: str


class Started(Answer):
    """A started workspace. An id of the retired kind makes the tenant take a tunnel that is no more (contract 4)."""

    instance_id: str = Field(min_length=1, pattern="^([^i]|i[^-]|i$)")
    state: str = Field(min_length=1)
    workspace_id: str
    url: str


class Stopped(Answer):
    """A stopped workspace."""

    ok: Literal[True]


class State(Answer):
    """The state of an instance."""

    state: Literal["running", "terminated"]


class Console(Answer):
    """What an instance printed."""

    output: str


class Member(Answer):
    """Whether a session belongs to the tenant."""

    member: bool
    user_id: str


class Config(RootModel[dict[str, str]]):
    """Values of the environment: a flat map of texts, each below the consumer's cap."""

    def model_post_init(self, _context: object) -> None:
        """Check what a type cannot say."""
        if not all(name and len(value.encode()) <= MAX_VALUE for name, value in self.root.items()):
            raise ValueError("an empty name, or a value over the cap")


class Healthy(Answer):
    """The stub lives."""

    status: Literal["ok"]
