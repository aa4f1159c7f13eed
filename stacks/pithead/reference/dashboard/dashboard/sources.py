"""Where readings come from. Each function asks one source and gives None when it cannot be asked."""

from __future__ import annotations

import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc

from common import protobuf
from common.monerod import Node, NodeError
from dashboard.readings import ChainReading, RigReading, WorkerRow, worker_rows

UNASKABLE = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)
STATS = ("local/stratum", "local/p2p", "local/merge_mining", "pool/stats", "network/stats")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def monero(node: Node) -> ChainReading | None:
    """Ask the Monero node. `pruned` comes from the node, not from what we asked for."""
    try:
        info = node.call("get_info")
        if info.get("status") != "OK":
            return None
        pruning = node.call("prune_blockchain", {"check": True})
    except (*UNASKABLE, NodeError):
        return None
    height, target = int(info["height"]), int(info["target_height"])
    return ChainReading(
        height=height,
        target=max(height, target),
        synced=bool(info["synchronized"]) or target == 0,
        database_size=int(info["database_size"]),
        pruned=bool(pruning.get("pruned")),
        difficulty=int(info["difficulty"]),
    )


class Tari:
    """A channel to the base node."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=[("grpc.max_reconnect_backoff_ms", 2000)])
        self._tip = self._channel.unary_unary("/tari.rpc.BaseNode/GetTipInfo")
        self._progress = self._channel.unary_unary("/tari.rpc.BaseNode/GetSyncProgress")

    def read(self) -> ChainReading | None:
        """Ask for tip and progress."""
        try:
            tip = protobuf.decode(self._tip(b"", timeout=2))
            progress = protobuf.decode(self._progress(b"", timeout=2))
            metadata = protobuf.decode(protobuf.as_bytes(tip, 1))
        except (grpc.RpcError, ValueError):
            return None
        height = protobuf.as_int(metadata, 1)
        synced = bool(protobuf.as_int(tip, 2))
        return ChainReading(
            height=height if synced else protobuf.as_int(progress, 2), target=protobuf.as_int(progress, 1), synced=synced
        )


def workers(address: str, token: str) -> list[WorkerRow] | None:
    """Ask the proxy for its workers."""
    document = _get(f"http://{address}/1/workers", 2.0, {"Authorization": f"Bearer {token}"})
    try:
        return None if document is None else worker_rows(document)
    except (ValueError, TypeError):
        return None


def rig(ip: str, port: int, inside: str) -> RigReading | None:
    """Ask a rig itself, unless its address is one of ours: a worker's name must not make us dial our own services."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if address.is_loopback or address.is_link_local or address.is_unspecified or address in ipaddress.ip_network(inside):
        return None
    document = _get(f"http://{ip}:{port}/1/summary", 1.0, {})
    try:
        rates = [rate or 0.0 for rate in (document or {})["hashrate"]["total"]]
        return RigReading(
            h60=rates[1], h15=rates[2], uptime=int((document or {})["uptime"]), version=str((document or {})["version"])
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def stats(root: Path, last: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Read p2pool's files; they are rewritten in place, so a half-written one keeps its last good reading."""
    good = dict(last)
    for name in STATS:
        try:
            good[name] = json.loads((root / name).read_text())
        except (OSError, ValueError):
            continue
    return good


def containers(port: int) -> dict[str, str] | None:
    """List the stack's containers by name through the reading socket proxy."""
    document = _get(f"http://127.0.0.1:{port}/containers/json?all=1", 3.0, {})
    if not isinstance(document, list):
        return None
    return {item["Names"][0].lstrip("/"): item["State"] for item in document if item.get("Names")}


def act(port: int, verb: str, container: str) -> bool:
    """Start or stop a container through the acting socket proxy; True when it is so now."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/containers/{container}/{verb}", method="POST")
    try:
        with OPENER.open(request, timeout=30) as response:
            return bool(response.status in {204, 304})
    except urllib.error.HTTPError as error:
        return error.code == http.client.NOT_MODIFIED
    except (OSError, http.client.HTTPException):
        return False


def _get(url: str, timeout: float, headers: dict[str, str]) -> Any:
    try:
        with OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:  # noqa: S310 - http only
            return json.load(response)
    except (OSError, http.client.HTTPException, ValueError):
        return None
