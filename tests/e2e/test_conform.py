"""A recording of the real tenant, played with real servers against every kind: what is equal, what is noticed, what is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from whole import WHOLE

from benchkeeper import owned_processes
from benchkeeper.conform import verdicts
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "golden" / "tenant" / "real-0af4012f.jsonl"
REFERENCE = ROOT / "stacks" / "tenant" / "reference"
MOST_NOT_PLAYED = 38  # of the required cases
NOT_OURS = {714, 755}  # the recorded program's own tables, and its .env
DECLARED = set(verdicts.declared(ROOT / "stacks" / "tenant" / "defects.yml"))


def left() -> list[str]:
    """What plays of this checkout left on the engine, and their processes."""
    found = []
    for kind in ("container", "network", "volume"):
        labels = [f"label=benchkeeper.owner={checkout().checkout_id}", "label=benchkeeper.stack=tenant"]
        words = ["docker", kind, "ls", "-q", *(["-a"] if kind == "container" else [])]
        listing = [*words, *(word for label in labels for word in ("--filter", label))]
        found += subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    mark = f"{owned_processes.NAMES['owner']}={checkout().checkout_id}".encode()
    return found + [f"process {path.parent.name}" for path in Path("/proc").glob("[0-9]*/environ") if mark in environment(path)]


def environment(path: Path) -> list[bytes]:
    with contextlib.suppress(OSError):
        return path.read_bytes().split(b"\0")
    return []


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert left() == []


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Our tenant as somebody's program; `ORG` in it makes it another one."""
    path = tmp_path / "tenant-program"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={REFERENCE} exec {sys.executable} -m tenant "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def play(bench: Bench, recording: Path, *words: str, code: int) -> dict[str, Any]:
    done = bench.run("conform", str(recording), "--json", *words, timeout=280)
    assert done.returncode == code
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def by_verdict(document: dict[str, Any], verdict: str) -> set[int]:
    return {case["seq"] for case in document["cases"] if case["verdict"] == verdict}


def part(tmp_path: Path, *, last: int, **changes: str) -> Path:
    """The recording's first cases of the main server, some of them changed."""
    path = tmp_path / "part.jsonl"
    with RECORDING.open(encoding="utf-8") as whole, path.open("w", encoding="utf-8") as file:
        for line in whole:
            case = json.loads(line)
            if case["instance"] == "main" and case["seq"] <= last and case["via"] == "direct":
                case["note"] = changes.get(f"note_{case['seq']}", case.get("note", ""))
                file.write(json.dumps(case) + "\n")
    return path


@pytest.mark.parametrize(
    ("kind", "also"),
    [("builtin", set()), pytest.param("image", {728, 742}, marks=WHOLE), pytest.param("binary", set(), marks=WHOLE)],
)
def test_the_recorded_version(kind: str, also: set[int], bench: Bench, program: Path) -> None:
    words = ["--binary", str(program)] if kind == "binary" else []
    document = play(bench, RECORDING, "--as", "seed", "--tenant", kind, *words, code=0)
    assert document["problems"] == []
    required = [case for case in document["cases"] if case["group"] in verdicts.REQUIRED]
    assert {case["verdict"] for case in required} <= {"equal", "not played"}
    not_played = {case["seq"] for case in required if case["verdict"] == "not played"}
    assert not_played == NOT_OURS | also
    assert len(not_played) <= MOST_NOT_PLAYED
    assert all(case["reason"] for case in document["cases"] if case["verdict"] == "not played")
    if kind != "binary":  # on a computer with a way to everywhere the recorded dead agent is somebody
        assert by_verdict(document, "deviating") == set()


def test_without_its_mistakes_exactly_what_is_declared_is_otherwise(bench: Bench) -> None:
    document = play(bench, RECORDING, code=0)
    assert by_verdict(document, "declared") == DECLARED
    assert by_verdict(document, "deviating") == set()
    required = [case for case in document["cases"] if case["group"] in verdicts.REQUIRED]
    assert sum(case["verdict"] == "declared" for case in required) <= verdicts.MAX_DEVIATING * len(required)


def test_another_server_is_noticed_and_an_unknown_note_is_not_played(bench: Bench, program: Path, tmp_path: Path) -> None:
    text = program.read_text(encoding="utf-8").replace("exec ", "MOLECULE_ORG_ID=another-org exec ")
    program.write_text(text, encoding="utf-8")
    few = part(tmp_path, last=60, note_35="both replicas are stopped")
    document = play(bench, few, "--as", "seed", "--tenant", "binary", "--binary", str(program), code=1)
    verdict = {case["seq"]: case["verdict"] for case in document["cases"]}
    assert (verdict[35], verdict[49]) == ("not played", "deviating")
    assert document["exit_code"] == 1


class Nonsense(BaseHTTPRequestHandler):
    """A server that is something else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, *_words: object) -> None:
        pass


def test_a_server_that_runs_elsewhere(bench: Bench, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Nonsense) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        document = play(bench, part(tmp_path, last=250), "--as", "seed", "--tenant", "url", "--url", url, code=1)
        server.shutdown()
    reasons = {case["reason"] for case in document["cases"] if case["verdict"] == "not played"}
    assert "what its upstreams receive cannot be seen" in reasons
    assert by_verdict(document, "deviating")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_takes_everything_down(number: signal.Signals) -> None:
    command = [str(ROOT / "bench"), "conform", str(RECORDING), "--as", "seed", "--tenant", "image"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd="/", env=dict(os.environ)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "played" in line:
                break
        process.send_signal(number)
        process.stderr.read()
        begun = time.monotonic()
        assert process.wait(60) == 128 + number
    assert time.monotonic() - begun < 60
