"""Secrets are found where everybody reads along, named by key and place, and never told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take

from tests.unit.plugins.module_utils import fake_servers

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cret-of-the-node"  # made up
LABELS = {"com.docker.compose.project": "p", "com.docker.compose.service": "node"}


def look(tmp_path: Path, config: dict[str, Any], cmdline: bytes = b"node\0--quiet\0", history: str = "RUN make") -> dict[str, Any]:
    process = tmp_path / "proc/4711"
    process.mkdir(parents=True, exist_ok=True)
    (process / "cmdline").write_bytes(cmdline)
    (process / "comm").write_text("node\n", "utf-8")
    (tmp_path / "proc/4712").mkdir(exist_ok=True)  # ended in between
    (tmp_path / ".env").write_text(f"PASSWORD={SECRET}\nEMPTY=\nSHORT=abc\n", "utf-8")
    engine = fake_servers.FakeEngine(
        {
            "GET /containers/json": [{"Id": "c1", "Labels": LABELS}],
            "GET /containers/c1/json": {"Id": "c1", "Image": "sha256:i1", "Config": {"Labels": LABELS, **config}},
            "GET /images/sha256:i1/history": [{"CreatedBy": history}],
        }
    )
    spec = {
        "kind": "exposed",
        "file": str(tmp_path / ".env"),
        "keys": ["PASSWORD", "EMPTY", "SHORT", "NONE"],
        "project": "p",
    }
    with engine.on(tmp_path) as socket:
        return take({"exposed": spec}, {"engine_socket": socket, "root": str(tmp_path)})


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    document = look(tmp_path, {"Cmd": ["serve"], "Env": [f"PASSWORD={SECRET}"]})
    assert document["observed"]["exposed"] == {"places": [], "searched": ["PASSWORD"]}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"config": {"Cmd": ["--login", f"user:{SECRET}"]}}, "command of node"),
        ({"config": {"Entrypoint": ["sh", "-c", f"x {SECRET}"]}}, "command of node"),
        ({"config": {"Healthcheck": {"Test": ["CMD", "curl", "-u", f"u:{SECRET}"]}}}, "health check of node"),
        ({"config": {"Labels": {**LABELS, "note": SECRET}}}, "label note of node"),
        ({"config": {}, "cmdline": b"node\0--rpc-login\0u:" + SECRET.encode() + b"\0"}, "command line of node"),
        ({"config": {}, "history": f"ARG PASSWORD={SECRET}"}, "history of the image of node"),
    ],
)
def test_a_secret_is_found_and_named_but_never_told(tmp_path: Path, given: dict[str, Any], place: str) -> None:
    document = look(tmp_path, **given)
    assert document["observed"]["exposed"]["places"] == [f"PASSWORD: {place}"]
    assert SECRET not in json.dumps(document)


def test_without_settings_or_engine_it_could_not_look(tmp_path: Path) -> None:
    spec = {"kind": "exposed", "file": str(tmp_path / ".env"), "keys": ["PASSWORD"], "project": "p"}
    assert "missing" in take({"exposed": spec}, {})["errors"]["exposed"]
    (tmp_path / ".env").write_text(f"PASSWORD={SECRET}\n", "utf-8")
    assert take({"exposed": spec}, {"engine_socket": str(tmp_path / "no")})["errors"]["exposed"].startswith("engine: ")
