"""The ends of a run that are nobody's wish: a bench that fails itself, somebody who was there before, and one that is kept.

What is broken for a test is mended by it, whatever happens. The outer disk is shared, so a full disk is played by a small /tmp.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench

SAID = "another pithead command is changing the stack (pid=4242 verb=apply since=2026-01-01T00:00:00Z); nothing was changed"
NO_DEPLOY = "echo 'this branch does not deploy' >&2; exit 1"
NO_DEPLOY_WHEN_FULL = (
    "until test $(df --output=size /tmp | tail -n1) -lt 20000; do sleep 0.2; done; echo 'no space left' >&2; exit 1"
)


@contextlib.contextmanager
def branch(bench: Bench, script: str) -> Iterator[str]:
    """A branch whose program is a shell script."""
    repository = bench.run("repo").stdout.strip()
    name = f"e2e-{secrets.token_hex(3)}"
    identity = {f"GIT_{who}_{what}": "x@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, **identity, "GIT_DIR": repository, "GIT_INDEX_FILE": f"{scratch}/index"}

        def git(*words: str, text: str = "") -> str:
            done = subprocess.run(["git", *words], check=True, capture_output=True, text=True, input=text, env=environment)
            return done.stdout.strip()

        git("read-tree", "main")
        blob = git("hash-object", "-w", "--stdin", text=f"#!/bin/sh\n{script}\n")
        git("update-index", "--cacheinfo", f"100755,{blob},pithead")
        commit = git("commit-tree", git("write-tree"), "-p", "main", "-m", name)
        git("update-ref", f"refs/heads/{name}", commit)
        try:
            yield name
        finally:
            git("update-ref", "-d", f"refs/heads/{name}")


@contextlib.contextmanager
def a_full_disk(bench: Bench) -> Iterator[None]:
    """Take the room of the bench's own /tmp away; nothing is filled, nothing is hidden."""
    bench.ssh("bench-0", "sudo mount -o remount,size=16m /tmp")
    try:
        yield
    finally:
        bench.ssh("bench-0", "sudo mount -o remount,size=50% /tmp")


@contextlib.contextmanager
def running(bench: Bench, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on meanwhile; at the end it is over."""
    with subprocess.Popen(
        [str(bench.root / "bench"), *words], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(ValueError):  # it was read to its end
                process.communicate(timeout=600)


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read what a run says until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        print(line, end="")
        if text in line:
            return
    pytest.fail(f"the run ended with {process.wait()} and never said {text!r}")


def last(bench: Bench) -> dict[str, Any]:
    assert bench.leased() == []
    return bench.result()


def test_what_is_kept_is_held_until_it_is_recovered(bench: Bench) -> None:
    done = bench.run("e2e", "main", "--keep", "--ttl", "600", "--wait", "900")
    run_id = bench.result()["run_id"]
    path = bench.root / "results" / run_id / "result.json"
    try:
        assert done.returncode == 4
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert kept["verdict"] == "kept"
        assert kept["counts"]["fail"] == kept["counts"]["error"] == 0
        assert f"./bench recover --run {run_id}" in done.stdout
        for end in kept["restored"].values():
            assert end["state"] == "kept"
            assert f"until {end['deadline']}" in done.stdout
        leases = {row["resource"]: row for row in bench.status()["leases"]}
        assert {name: (row["state"], row["run_id"]) for name, row in leases.items() if row["state"] != "free"} == {
            "bench-0": ("held", run_id),
            "miner-0": ("held", run_id),
        }
        assert {name: end["deadline"] for name, end in kept["restored"].items()} == {
            name: leases[name]["deadline"] for name in kept["restored"]
        }
        refused = bench.run("e2e", "main")
        assert refused.returncode == 75
        assert run_id in refused.stdout
    finally:
        recovered = bench.run("recover")
    assert recovered.returncode == 0
    assert [row for row in bench.status()["leases"] if row["run_id"] == run_id and row["state"] != "free"] == []
    assert bench.owned(run_id) == []
    back = json.loads(path.read_text(encoding="utf-8"))
    assert (back["verdict"], back["exit_code"]) == ("good", 0)
    assert {name: (end["proven"], end["deadline"]) for name, end in back["restored"].items()} == {
        "bench-0": (True, None),
        "miner-0": (True, None),
    }


def test_what_did_not_come_to_its_end_is_not_kept(bench: Bench) -> None:
    with branch(bench, NO_DEPLOY) as name:
        done = bench.run("e2e", name, "--keep", "--ttl", "600", "--wait", "900")
    assert done.returncode == 1
    result = last(bench)
    assert result["verdict"] == "bad"
    assert all(end["proven"] for end in result["restored"].values())
    assert bench.owned(result["run_id"]) == []


def test_a_product_that_somebody_else_changes_is_busy(bench: Bench) -> None:
    with branch(bench, f"echo '[pithead] {SAID}' >&2; exit 75") as name:
        done = bench.run("e2e", name, "--miners", "none", "--wait", "900")
    assert done.returncode == 75
    assert "pid=4242 verb=apply since=2026-01-01T00:00:00Z" in done.stdout
    result = last(bench)
    assert result["verdict"] == "busy"
    assert all(end["proven"] for end in result["restored"].values())


@pytest.mark.case("F8", tier="machine", oracle="a whole run on a bench without room ends as not fit before anything is changed")
def test_a_full_disk_is_not_fit(bench: Bench) -> None:
    with a_full_disk(bench):
        done = bench.run("e2e", "main", "--miners", "none", "--wait", "900")
    assert done.returncode == 3
    assert "space" in done.stdout
    assert [phase["name"] for phase in last(bench)["phases"] if phase["name"] in ("checkout", "safety_backup", "deploy")] == []


def test_a_disk_that_fills_up_is_not_held_against_the_branch(bench: Bench) -> None:
    with (
        branch(bench, NO_DEPLOY_WHEN_FULL) as name,
        running(bench, "e2e", name, "--miners", "none", "--wait", "900") as process,
    ):
        until(process, "── deploy")
        with a_full_disk(bench):
            said, _err = process.communicate(timeout=600)
    assert process.returncode == 3
    assert "the bench itself failed: bench-0: space" in said
    result = last(bench)
    assert result["counts"]["fail"] > 0
    assert all(end["proven"] for end in result["restored"].values())


# Answers whoever asks on the bench itself; what runs in containers goes on asking the node.
BEHIND = """
import http.server, json
class Behind(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        result = {"status": "OK", "synchronized": False, "height": 1500, "target_height": 3000}
        body = json.dumps({"id": "0", "jsonrpc": "2.0", "result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", 28081), Behind).serve_forever()
"""
REDIRECT = "OUTPUT -t nat -p tcp -d 127.0.0.1 --dport 18081 -j REDIRECT --to-ports 28081"


def test_a_bench_whose_chain_is_behind_is_not_fit(bench: Bench) -> None:
    ask = "until curl -sd '{}' http://127.0.0.1:28081/ >/dev/null; do sleep 0.1; done"
    try:
        bench.ssh("bench-0", f"sudo systemd-run -q --unit=chain-behind python3 -c {shlex.quote(BEHIND)}; {ask}")
        bench.ssh("bench-0", f"sudo iptables -I {REDIRECT}")
        done = bench.run("e2e", "main", "--miners", "none", "--wait", "900")
    finally:
        bench.ssh("bench-0", f"sudo iptables -D {REDIRECT}; sudo systemctl stop chain-behind")
    assert done.returncode == 3
    assert "bench-0: synced" in done.stdout
    assert "checkout" not in [phase["name"] for phase in last(bench)["phases"]]


def test_a_miner_that_is_borrowed_already_comes_back_by_the_command_that_is_told(bench: Bench) -> None:
    path = "/opt/rigforge/data/worker/xmrig/build/config.json"
    left = f"{path}.e2e-orig.20260101-000000"
    look = f"sudo stat -c '%a %U %G' {path}; sudo sha256sum {path}"
    before = bench.ssh("miner-0", look)
    tag = f'jq \'.pools |= [.[0] + {{"rig-id": "pithead-e2e"}}] + .\' {path} >/tmp/borrowed.json'
    try:
        bench.ssh("miner-0", f"sudo cp -a {path} {left} && {tag} && sudo cp /tmp/borrowed.json {path} && sudo chmod 644 {path}")
        done = bench.run("e2e", "main", "--wait", "900")
        told = re.search(r"by: (sudo mv -- \S+ \S+)", done.stdout)
        assert told is not None
        bench.ssh("miner-0", told[1])
        assert bench.ssh("miner-0", look) == before
    finally:
        bench.ssh("miner-0", f"sudo sh -c 'test ! -e {left} || mv -- {left} {path}'; rm -f /tmp/borrowed.json")
    assert done.returncode == 3
    assert "borrowed already" in done.stdout + done.stderr
    assert bench.leased() == []


def test_who_has_the_bench_is_told_and_waited_for(bench: Bench) -> None:
    def keeper(verb: str, **request: Any) -> dict[str, Any]:
        asked = shlex.quote(json.dumps(request))
        answer = json.loads(bench.ssh("bench-0", f"echo {asked} | sudo /usr/local/sbin/keeper call {verb}"))
        assert isinstance(answer, dict)
        return answer

    me = {"resource": "bench-0", "run_id": f"20260101T000000Z-{secrets.token_hex(3)}", "nonce": secrets.token_hex(16)}
    holder = {"controller_id": "another-computer", "host": "elsewhere", "user": "nightly", "pid": 1, "start_time": 1}
    token = keeper("acquire", **me, holder=holder, ttl=600, wait=300, arm=False)["token"]
    fence = {**me, "token": token}
    try:
        done = bench.run("e2e", "main", "--miners", "none")
        assert done.returncode == 75
        assert "nightly@elsewhere" in done.stdout
        assert ", since 2" in done.stdout
        with a_full_disk(bench), running(bench, "e2e", "main", "--miners", "none", "--wait", "300") as process:
            until(process, "s in lease")
            keeper("release", fence=fence)
            said, _err = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            keeper("release", fence=fence)
    # It was served: a run that has the lease finds out that the bench is full.
    assert process.returncode == 3
    assert "space" in said
    assert bench.leased() == []
