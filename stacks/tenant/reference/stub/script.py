"""Answers that a replay asks for: another status, another body, a connection that breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stub.paths import matches


class Scripted(BaseModel):
    """One scripted answer.

    Attributes:
        method: Of the requests it is for, `*` for all.
        path: Their path, with `:name` for any segment.
        when: Headers whose values must contain these texts.
        status: Of the answer.
        headers: Of the answer.
        body: JSON, or a text that is sent as it is.
        fault: `hangup` closes the connection without an answer, `garbage` answers something that is not HTTP.
        times: How often, 0 for always.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = "*"
    path: str = Field(pattern="^/")
    when: dict[str, str] = Field(default_factory=dict)
    status: int = Field(200, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    fault: str = Field("", pattern="^(|hangup|garbage)$")
    times: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _not_ourselves(self) -> Scripted:
        if self.path.startswith("/__stub/"):
            raise ValueError("the stub's own routes are not scripted")
        return self


class Expected(BaseModel):
    """A 501 that a replay announces: it is recorded, but does not count as unexpected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = "*"
    path: str = Field(pattern="^/")


@dataclass
class Script:
    """The scripted answers of the moment; of several that fit the first counts."""

    answers: list[tuple[Scripted, int]] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)

    def add(self, scripted: Scripted) -> None:
        """Add one."""
        self.answers.append((scripted, scripted.times))

    def clear(self) -> None:
        """Forget all answers and expectations."""
        self.answers.clear()
        self.expected.clear()

    def take(self, method: str, raw_path: str, headers: Mapping[str, str]) -> Scripted | None:
        """Give the answer for a request, and count it."""
        for index, (scripted, left) in enumerate(self.answers):
            fits = scripted.method in ("*", method) and matches(scripted.path, raw_path) is not None
            if fits and all(text in headers.get(name, "") for name, text in scripted.when.items()):
                if scripted.times and left == 1:
                    del self.answers[index]
                elif scripted.times:
                    self.answers[index] = (scripted, left - 1)
                return scripted
        return None

    def announced(self, method: str, raw_path: str) -> bool:
        """Say whether somebody expects this request to have no handler."""
        return any(one.method in ("*", method) and matches(one.path, raw_path) is not None for one in self.expected)
