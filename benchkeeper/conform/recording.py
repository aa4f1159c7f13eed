"""A recording: JSON lines, one exchange each, in the format of the tenant's recordings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

REPEATED = re.compile(r"<(\d+) x (.)>")
NEEDED = ("seq", "case", "group", "via", "instance", "request", "response")


class RecordingError(Exception):
    """A line that is no exchange; the text names file and line."""


@dataclass(frozen=True)
class Request:
    """What was sent. Symbols in it are not filled in yet.

    Attributes:
        method: Method.
        target: The raw request target.
        headers: Headers in order; repeated ones one by one.
        body: Text of the body, None without one.
        version: HTTP version, `1.1` or `1.0`.
        raw: The recorded object, for exchanges that are no HTTP.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str | None
    version: str
    raw: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One exchange.

    Attributes:
        seq: Number, growing.
        case: What it shows.
        group: Which part of the contract.
        via: How it was made: direct, edge, process, redis or sql.
        instance: Which server; one that other cases of the same name have changed before.
        env: Difference of that server's environment to the base; `<unset>` takes a variable away.
        request: What was sent.
        response: What came back: status, headers, body_kind, body.
        upstream_saw: What upstreams received.
        needed: Whether later cases depend on it.
        note: A precondition, or a remark.
        row_of: Symbol of the workspace whose row is shown.
    """

    seq: int
    case: str
    group: str
    via: str
    instance: str
    env: dict[str, str]
    request: Request
    response: dict[str, Any]
    upstream_saw: list[dict[str, Any]]
    needed: bool
    note: str
    row_of: str


def expand(value: Any) -> Any:
    """Write out what was recorded as `<COUNT x CHARACTER>`."""
    if isinstance(value, str):
        return REPEATED.sub(lambda match: match.group(2) * int(match.group(1)), value)
    if isinstance(value, dict):
        return {name: expand(item) for name, item in value.items()}
    return [expand(item) for item in value] if isinstance(value, list) else value


def _request(raw: dict[str, Any]) -> Request:
    headers: list[tuple[str, str]] = []
    for name, value in (raw.get("headers") or {}).items():
        headers += [(name, one) for one in (value if isinstance(value, list) else [value])]
    body = raw.get("body_raw", raw.get("body"))
    text = expand(body) if body is None or isinstance(body, str) else json.dumps(expand(body))
    return Request(raw.get("method", ""), expand(raw.get("path", "")), tuple(headers), text, raw.get("http_version", "1.1"), raw)


def parse(line: str) -> Case:
    """Read one line; ValueError says what is wrong with it."""
    raw = json.loads(line)
    missing = [name for name in NEEDED if not isinstance(raw, dict) or name not in raw]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    return Case(
        seq=raw["seq"],
        case=raw["case"],
        group=raw["group"],
        via=raw["via"],
        instance=raw["instance"],
        env=raw.get("env") or {},
        request=_request(raw["request"]),
        response=raw["response"],
        upstream_saw=raw.get("upstream_saw") or [],
        needed=bool(raw.get("needed_by_others")),
        note=raw.get("note", ""),
        row_of=raw.get("row_of", ""),
    )


def load(path: Path) -> list[Case]:
    """Read a recording; RecordingError names the line that is none."""
    cases: list[Case] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        cases.extend(map(parse, lines))
    except (ValueError, AttributeError, TypeError) as failure:
        raise RecordingError(f"{path}:{len(cases) + 1}: no exchange: {failure}") from failure
    return cases
