"""Compare an answer, and what upstreams received, with the recording."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchkeeper.conform.symbols import Symbols, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchkeeper.conform.recording import Case
    from benchkeeper.conform.wire import Answer, Headers

# Not recorded, or the edge's own.
UNRECORDED = frozenset({"date", "content-length", "connection", "transfer-encoding"})
# What upstreams get and nobody compares: the client's own manners, and where the body ends.
MANNERS = frozenset({"user-agent", "accept-encoding", "host", *UNRECORDED})
NGINX = re.compile(r"nginx(?:/[0-9.]+)?")


@dataclass(frozen=True)
class Saw:
    """What an upstream received: `cp` or `canvas`, and the request."""

    upstream: str
    method: str
    target: str
    headers: Headers
    body: bytes


def gathered(items: Iterable[tuple[str, str]], leave: frozenset[str]) -> dict[str, list[str]]:
    """Gather headers by name in lower case."""
    found: dict[str, list[str]] = {}
    for name, value in items:
        if name.lower() not in leave:
            found.setdefault(name.lower(), []).append(value)
    return found


def recorded(headers: dict[str, Any], leave: frozenset[str]) -> dict[str, list[str]]:
    """Gather recorded headers, whose repeated values are lists."""
    return gathered(
        ((name, one) for name, value in headers.items() for one in (value if isinstance(value, list) else [value])),
        leave,
    )


def headers(case: Case, answer: Answer, symbols: Symbols) -> list[str]:
    """Compare all headers of an answer, those that were not recorded included."""
    leave = UNRECORDED | ({"server"} if case.via == "edge" else set())
    return symbols.differences(recorded(case.response["headers"], leave), gathered(answer.headers, leave), "headers")


def body(case: Case, answer: Answer, symbols: Symbols) -> list[str]:
    """Compare a body by its kind."""
    kind, wanted = case.response["body_kind"], case.response["body"]
    if kind == "empty":
        return [f"body: {shown(answer.body)} where nothing was recorded"] if answer.body else []
    if kind == "text":
        text = answer.body.decode("utf-8", "replace")
        if case.via == "edge":  # its own pages name its version, or hide it
            wanted, text = NGINX.sub("nginx", wanted), NGINX.sub("nginx", text)
        return symbols.differences(wanted, text, "body")
    try:
        got = json.loads(answer.body)
    except ValueError:
        return [f"body: no JSON: {shown(answer.body)}"]
    return shape(case, wanted, got, symbols) if kind == "shape" else symbols.differences(wanted, got, "body")


def shape(case: Case, wanted: Any, got: Any, symbols: Symbols) -> list[str]:
    """Compare what was recorded in short: some fields of one row, the summaries of rows, or how many there are."""
    if not isinstance(got, list):
        return [f"body: {shown(got)} is no list"]
    if isinstance(wanted, str):
        return symbols.differences(wanted, f"{len(got)} rows", "body")
    if isinstance(wanted, list):
        return symbols.differences(wanted, [row.get("summary") for row in got], "body")
    rows = [row for row in got if row.get("id") == symbols.fill(case.row_of)]
    if len(rows) != 1:
        return [f"body: {len(rows)} rows of {case.row_of}"]
    return symbols.differences(wanted, {name: rows[0].get(name) for name in wanted}, "body")


def answered(case: Case, answer: Answer, symbols: Symbols) -> list[str]:
    """Compare an answer."""
    status = [] if case.response["status"] == answer.status else [f"status: {case.response['status']} is {answer.status}"]
    return [*status, *headers(case, answer, symbols), *body(case, answer, symbols)]


def upstreams(
    case: Case,
    saw: list[Saw],
    symbols: Symbols,
    ours: frozenset[str] = frozenset(),
    hosts: Mapping[str, str] | None = None,
) -> list[str]:
    """Compare what upstreams received: method, target, Host where it was recorded, headers, body.

    Args:
        case: The recording.
        saw: What they received, in order.
        symbols: The symbols.
        ours: Names in the `env` of an order that are the recorded product's own and that we do not send.
        hosts: Where the upstreams are today, by name; without it Host is not looked at.
    """
    if len(case.upstream_saw) != len(saw):
        now = ", ".join(f"{one.method} {one.target}" for one in saw)
        return [f"upstreams saw {len(case.upstream_saw)} requests, now {len(saw)}: {now}"]
    found: list[str] = []
    for number, (wanted, got) in enumerate(zip(case.upstream_saw, saw, strict=True)):
        place = f"upstream[{number}]"
        found += symbols.differences(wanted.get("upstream", "cp"), got.upstream, f"{place}.upstream")
        found += symbols.differences(wanted["method"], got.method, f"{place}.method")
        found += symbols.differences(wanted["path"], got.target, f"{place}.target")
        if hosts and str(wanted.get("host", "")).endswith("-upstream-host>"):
            given = gathered(got.headers, frozenset()).get("host")
            found += [] if given == [hosts[got.upstream]] else [f"{place}.host: {shown(given)} is not {hosts[got.upstream]}"]
        found += symbols.differences(recorded(wanted["headers"], MANNERS), gathered(got.headers, MANNERS), f"{place}.headers")
        found += symbols.differences(_without(wanted.get("body"), ours), _body(got.body), f"{place}.body")
    return found


def _body(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict) and isinstance(value.get("env"), dict):
        return {**value, "env": {name: item for name, item in value["env"].items() if name not in names}}
    return value
