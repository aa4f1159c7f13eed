"""Answers: JSON in the product's shape, refusals as exceptions, and answers with nothing but a status."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
UNAVAILABLE = {"code": "platform_unavailable", "error": "platform datastore unavailable \N{EM DASH} retry shortly"}  # contract 3.4


def as_json(value: Any, status: int = 200, content_type: str = JSON_TYPE) -> web.Response:
    """Answer with JSON."""
    return web.Response(status=status, body=json.dumps(value).encode(), headers={"Content-Type": content_type})


def as_text(text: str, status: int, content_type: str = TEXT_TYPE) -> web.Response:
    """Answer with text."""
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": content_type})


def bare(status: int) -> web.Response:
    """Answer with a status alone."""
    return web.Response(status=status)


@dataclass(eq=False)  # exceptions are compared by identity
class Refusal(Exception):
    """A request that is not served, and the answer that says so."""

    status: int
    document: dict[str, Any] = field(default_factory=dict)

    def answer(self) -> web.Response:
        """Give the answer."""
        return as_json(self.document, self.status) if self.document else bare(self.status)


def refusal(status: int, text: str) -> Refusal:
    """Refuse with the usual document."""
    return Refusal(status, {"error": text})
