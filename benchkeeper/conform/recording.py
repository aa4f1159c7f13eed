"""A recording: JSON lines, one exchange each, in the format of the tenant's recordings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REPEATED = re.compile(r"<(\d+) x (.)>")
UNSENT = re.compile(r"<\d+ bytes announced, none sent>")
TENANT_PORT = re.compile(r":180[89]\d(?!\d)")  # where the recorded servers listened
PLACES = ("host", "referer", "origin")  # the headers that say where somebody is
HTTP = ("direct", "edge")
WAYS = (*HTTP, "process", "redis", "sql")
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
        later: Whether upstreams received something only after the answer.
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
    later: bool = False


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
    if isinstance(body, str) and UNSENT.fullmatch(body):
        body = None
    text = expand(body) if body is None or isinstance(body, str) else json.dumps(expand(body))
    return Request(raw.get("method", ""), expand(raw.get("path", "")), tuple(headers), text, raw.get("http_version", "1.1"), raw)


def parse(line: str) -> Case:
    """Read one line; ValueError says what is wrong with it."""
    raw = json.loads(line)
    missing = [name for name in NEEDED if not isinstance(raw, dict) or name not in raw]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    wrong = [] if isinstance(raw["seq"], int) and not isinstance(raw["seq"], bool) else ["seq"]
    wrong += [name for name in ("case", "group", "via", "instance") if not isinstance(raw[name], str)]
    wrong += [name for name in ("request", "response") if not isinstance(raw[name], dict)]
    wrong += [] if raw["via"] in WAYS else ["via"]
    wrong += [name for name in ("status", "headers", "body_kind", "body") if raw["via"] in HTTP and name not in raw["response"]]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot be used")
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
        later=bool(raw.get("upstream_saw_async")),
    )


def load(path: Path) -> list[Case]:
    """Read a recording, in the order of `seq`; RecordingError names the line that is no exchange, or one a second time."""
    cases: dict[int, Case] = {}
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as failure:
        raise RecordingError(f"{path}: cannot be read: {getattr(failure, 'strerror', None) or failure}") from failure
    for number, line in enumerate(lines, 1):
        try:
            case = parse(line)
        except (ValueError, AttributeError, TypeError, KeyError) as failure:
            raise RecordingError(f"{path}:{number}: no exchange: {failure}") from failure
        if case.seq in cases:
            raise RecordingError(f"{path}:{number}: seq {case.seq} a second time")
        cases[case.seq] = case
    if not cases:
        raise RecordingError(f"{path}: it is empty")
    return [cases[seq] for seq in sorted(cases)]


def by_instance(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Give the cases of each server, in order."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.instance, []).append(case)
    return found


def moved(case: Case, port: int) -> Case:
    """Give a case with the port that its server has today where the recording has its own one."""

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(one) for one in value]
        if isinstance(value, dict):
            return {name: put(one) for name, one in value.items()}
        return TENANT_PORT.sub(f":{port}", value) if isinstance(value, str) else value

    sent = tuple((name, put(value) if name.lower() in PLACES else value) for name, value in case.request.headers)
    saw = [{**one, "headers": put(one.get("headers") or {})} for one in case.upstream_saw]
    return replace(case, request=replace(case.request, headers=sent), response=put(case.response), upstream_saw=saw)
