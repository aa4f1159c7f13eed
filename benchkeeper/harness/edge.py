"""The edge's configuration: nginx, from a table of headers. What it does wrong on demand is a break, off unless it is named."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 8080
BREAKS = {
    "edge-serves-unknown-hosts": "a name that is nobody's gets the first tenant, as the recorded mirror did",
    "edge-drops-upgrades": "a WebSocket cannot be opened through it, as through the recorded mirror",
    "edge-buffers": "an event stream arrives when it ends",
    "edge-believes-clients": "X-Forwarded-For and X-Real-IP of a client pass as they came",
    "edge-believes-hosts": "X-Forwarded-Host and X-Forwarded-Proto of a client pass as they came",
    "edge-is-stale": "it says another build than the one that was just started",
}
SEED = ("edge-serves-unknown-hosts", "edge-drops-upgrades")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,200}[a-z0-9])?\Z")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")
_SIZE = re.compile(r"[0-9]{1,6}[kmg]?\Z")
_TIME = re.compile(r"[0-9]{1,5}(?:ms|s|m)\Z")


@dataclass(frozen=True)
class Edge:
    """What an edge is told.

    Attributes:
        headers: Name and value in nginx's variables, as they are set towards a tenant.
        proto: What it says that the client spoke: http or https.
        body_limit: Largest body, in nginx's spelling.
        read_timeout: How long an upstream may be silent.
        breaks: Names from `BREAKS`.
    """

    headers: Mapping[str, str]
    proto: str = "http"
    body_limit: str = "100m"
    read_timeout: str = "100s"
    breaks: frozenset[str] = field(default_factory=frozenset)


def read(document: Any, profile: str, breaks: frozenset[str] = frozenset()) -> Edge:
    """Read the table of a stack (`edge.yml`).

    Raises:
        UsageError: It is no such table, or there is no such profile or break.
    """
    profiles = document.get("profiles") if isinstance(document, dict) else None
    if not isinstance(profiles, dict) or not profiles:
        raise UsageError("edge.yml has no profiles")
    if profile not in profiles:
        raise UsageError(f"edge.yml has no profile {profile!r}; it has {', '.join(sorted(profiles))}")
    headers = profiles[profile]
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise UsageError(f"edge.yml: profile {profile} is a map of header and value")
    for name, value in headers.items():
        if not _HEADER.match(str(name)) or any(char in value for char in "\r\n\\"):
            raise UsageError(f"edge.yml: profile {profile}: {name!r} cannot be a header of nginx")
    unknown = sorted(breaks - set(BREAKS))
    if unknown:
        raise UsageError(f"the edge has no break {', '.join(unknown)}; it has {', '.join(BREAKS)}")
    edge = Edge(
        headers=dict(headers),
        proto=str(document.get("proto", "http")),
        body_limit=str(document.get("body_limit", "100m")),
        read_timeout=str(document.get("read_timeout", "100s")),
        breaks=breaks,
    )
    if edge.proto not in ("http", "https") or not _SIZE.match(edge.body_limit) or not _TIME.match(edge.read_timeout):
        raise UsageError("edge.yml: proto is http or https, body_limit a size such as 100m, read_timeout a time such as 100s")
    return edge


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'


def config(edge: Edge, upstreams: Mapping[str, str], build_id: str) -> str:
    """Return the configuration.

    Args:
        edge: What it is told.
        upstreams: Tenant's address (``name:port``) by the Host name that is its own; the first is the oldest.
        build_id: What ``/__edge/buildinfo`` answers: the edge, too, has to be the one that was just started.
    """
    for name in upstreams:
        if not _NAME.match(name):
            raise UsageError(f"{name!r} cannot be a tenant's host name")
    first = next(iter(upstreams.values()))
    default = first if "edge-serves-unknown-hosts" in edge.breaks else '""'
    names = "\n".join(f"        {name} {address};" for name, address in upstreams.items())
    headers = dict(edge.headers)
    if "edge-believes-clients" in edge.breaks:
        headers["X-Forwarded-For"] = "$http_x_forwarded_for"
        headers["X-Real-IP"] = "$http_x_real_ip"
    if "edge-believes-hosts" in edge.breaks:
        headers["X-Forwarded-Host"] = "$http_x_forwarded_host"
        headers["X-Forwarded-Proto"] = "$http_x_forwarded_proto"
    upgrades = "edge-drops-upgrades" not in edge.breaks
    headers["Connection"] = "$edge_connection" if upgrades else ""
    if upgrades:
        headers["Upgrade"] = "$http_upgrade"
    rows = "\n".join(f"            proxy_set_header {name} {_quoted(value)};" for name, value in headers.items())
    buffers = "edge-buffers" in edge.breaks
    # A tenant asks not to be buffered, and nginx would do as it is told.
    buffering = "on;\n            proxy_ignore_headers X-Accel-Buffering" if buffers else "off"
    build = f"{build_id}-before" if "edge-is-stale" in edge.breaks else build_id
    return f"""\
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    server_tokens off;
    # The engine's own names: a tenant that was started anew has another address.
    resolver 127.0.0.11 valid=1s ipv6=off;
    map $host $edge_upstream {{
        default {default};
{names}
    }}
    map $http_upgrade $edge_connection {{ default ""; "~." upgrade; }}
    map $host $edge_proto {{ default {edge.proto}; }}
    server {{
        listen {PORT} default_server;
        client_max_body_size {edge.body_limit};
        location = /__edge/buildinfo {{
            default_type application/json;
            return 200 {_quoted(f'{{"git_sha": "{build}"}}')};
        }}
        location / {{
            if ($edge_upstream = "") {{ return 421; }}
            proxy_pass http://$edge_upstream;
            proxy_http_version 1.1;
            proxy_buffering {buffering};
            proxy_request_buffering {"on" if buffers else "off"};
            proxy_read_timeout {edge.read_timeout};
{rows}
        }}
    }}
}}
"""
