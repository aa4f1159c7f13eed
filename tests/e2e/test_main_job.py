"""The main job as a stranger runs it: good branch, bad branch, interrupted, only looking. Each ends with everything back."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


def test_a_cold_run_of_main_is_good_and_leaves_nothing(bench: Bench) -> None:
    bench.run("down", "--force")
    done = bench.run("e2e", "main")
    assert done.returncode == 0
    result = bench.result()
    assert (result["verdict"], result["exit_code"]) == ("good", 0)
    assert result["counts"]["pass"] > 60
    assert result["counts"]["fail"] == result["counts"]["error"] == 0
    assert {name: host["proven"] for name, host in result["restored"].items()} == {"bench-0": True, "miner-0": True}
    assert bench.leased() == []
    assert bench.owned(result["run_id"]) == []
    for name in ("manifest.json", "events.jsonl", "verdicts.jsonl", "junit.xml", "report.html"):
        assert (bench.root / "results" / "latest" / name).stat().st_size > 0


def test_the_miner_mines_on_its_own_pool_again(bench: Bench) -> None:
    def accepted() -> tuple[str, int]:
        summary = json.loads(bench.ssh("miner-0", "curl", "-s", "http://127.0.0.1:8080/2/summary"))
        return summary["connection"]["pool"], summary["connection"]["accepted"]

    assert accepted()[0].startswith("pool-0")


def test_no_secret_of_the_bench_is_in_the_results(bench: Bench) -> None:
    """The values of the live settings, searched in everything that a run leaves for a reader."""
    env = bench.ssh("bench-0", "sudo", "cat", "/srv/code/pithead/.env")
    names = ("PROXY_AUTH_TOKEN", "MONERO_NODE_PASSWORD", "MONERO_WALLET_ADDRESS", "MONERO_ONION_ADDRESS", "P2POOL_ONION_ADDRESS")
    secrets = [match.group(1) for name in names if (match := re.search(rf"^{name}='?([^'\n]{{8,}})'?$", env, re.MULTILINE))]
    assert len(secrets) >= 3
    found = []
    for path in (bench.root / "results" / "latest").resolve().rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            found += [path.name for secret in secrets if secret.encode() in raw]
            found += [f"{path.name}: canary" for _ in re.findall(rb"bkcanary[0-9a-f]{24}", raw)]
    assert found == []


STRANGER = (
    "docker run -d --name stranger --network stranger-net -v stranger-data:/data --entrypoint sleep pithead-runtime:trixie infinity"
)


def test_a_planted_bug_is_red_for_its_reason_and_everything_is_back(bench: Bench) -> None:
    """Beside it live things of somebody else, on the same engine and the same disk: they are not touched."""
    bench.ssh("bench-0", f"docker network create stranger-net && docker volume create stranger-data && {STRANGER}")
    bench.ssh("bench-0", "docker tag pithead-runtime:trixie stranger:kept && echo mine >/home/ops/pithead-backup-of-mine")
    look = (
        "docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.Image}}' stranger; docker network inspect -f '{{.Id}}' stranger-net; "
        "docker volume inspect -f '{{.CreatedAt}}' stranger-data; docker image inspect -f '{{.Id}}' stranger:kept; "
        "stat -c '%i %Y' /home/ops/pithead-backup-of-mine"
    )
    before = bench.ssh("bench-0", look)
    try:
        done = bench.run("planted", "rpc-open-to-the-lan")
        assert bench.ssh("bench-0", look) == before
    finally:
        tidy = "docker rm -f stranger; docker network rm stranger-net; docker volume rm stranger-data; docker rmi stranger:kept"
        bench.ssh("bench-0", f"{tidy}; rm -f /home/ops/pithead-backup-of-mine")
    assert done.returncode == 0, "the planted bug was not red for its reason, or something did not come back"
    assert bench.leased() == []


def test_signals_at_random_moments(bench: Bench) -> None:
    done = bench.run("signals", "--count", "2", timeout=2400)
    assert done.returncode == 0
    assert bench.leased() == []


# What a living machine writes by itself. Whoever adds a line here says who writes it.
LIVING = re.compile(
    r"""
      /var/log/journal/.*                                 # the journal
    | /var/log/(wtmp|btmp|lastlog) | /var/lib/(wtmpdb|lastlog)/.* | /run/utmp   # logins, ours as well
    | /run/systemd/(sessions|users|units|transient|seats)(/.*)? | /run/user(/.*)?   # their sessions
    | /run/sudo/ts(/.*)?                                  # sudo remembers who asked
    | /srv/data/.* | /run/(docker|containerd)/.*          # containers: their data, their health checks
    | /tmp | /tmp/runc-process\d+                         # every health check makes and removes one; names are watched, see WATCH
    """,
    re.VERBOSE,
)
# Says what is made in /tmp, also when it is removed at once, until standard input ends.
WATCH = """
import ctypes, os, select, sys
libc = ctypes.CDLL(None)
events = libc.inotify_init1(0)
libc.inotify_add_watch(events, b"/tmp", 0x180)  # created, or moved there
print("watching", flush=True)
while select.select([events, 0], [], [])[0] == [events]:
    raw = os.read(events, 65536)
    while raw:
        end = 16 + int.from_bytes(raw[12:16], sys.byteorder)
        print("/tmp/" + raw[16:end].rstrip(bytes(1)).decode(), flush=True)
        raw = raw[end:]
"""


@contextlib.contextmanager
def traces(bench: Bench, host: str) -> Iterator[set[str]]:
    """Fill a set with every path of a host that was made or changed while this was open, but for what is LIVING."""
    found: set[str] = set()
    watch = ["ssh", "-F", str(bench.root / ".bench" / "ssh" / "config"), host, shlex.join(["sudo", "python3", "-IBc", WATCH])]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
        since = bench.ssh(host, "date", "+@%s.%N").strip()
        yield found
        changed = f"\\( -newermt {since} -o -newerct {since} \\)"
        places = "/ /run /run/lock /tmp /var/tmp /dev/shm /root /home/ops"  # -xdev does not look into what is mounted
        seen = bench.ssh(host, f"sudo find {places} -xdev {changed} 2>/dev/null; true").splitlines()
        seen += watcher.communicate(timeout=60)[0].splitlines()
    found.update(path for path in seen if not LIVING.fullmatch(path))


def test_only_looking_leaves_no_trace(bench: Bench) -> None:
    assert bench.run("up").returncode == 0  # an embedded bench is brought up to date before any run
    for host in ("bench-0", "miner-0"):
        bench.ssh(host, "sudo rm -rf /run/benchkeeper")  # as after a boot: not even the keeper may unpack itself
    with traces(bench, "bench-0") as on_bench, traces(bench, "miner-0") as on_miner:
        done = bench.run("e2e", "main", "--mode", "check")
    assert (on_bench, on_miner) == (set(), set())
    assert done.returncode == 0
    result = bench.result()
    assert result["mode"] == "check"
    assert result["counts"]["pass"] > 20
    assert all(host["proven"] for host in result["restored"].values())
    assert bench.leased() == []


def test_a_trace_would_be_seen(bench: Bench) -> None:
    """By its short name a module runs Ansible's ordinary way: unpacked in /tmp, and gone when it is done."""
    ordinary = [str(bench.root / ".venv" / "bin" / "ansible"), "-i", "inventories/embedded", "bench-0:miner-0", "-b", "-m"]
    with traces(bench, "bench-0") as on_bench, traces(bench, "miner-0") as on_miner:
        subprocess.run([*ordinary, "keeper_info"], cwd=bench.root, check=True, capture_output=True, timeout=120)
    for found in (on_bench, on_miner):
        assert [path for path in found if path.startswith("/tmp/ansible_keeper_info_payload_")]
    with traces(bench, "miner-0") as on_miner:
        bench.ssh("miner-0", "touch notes && rm notes; sudo touch /opt/rigforge/data/worker/xmrig/build/config.json")
    assert on_miner == {"/home/ops", "/opt/rigforge/data/worker/xmrig/build/config.json"}


@pytest.mark.parametrize(
    "words",
    [
        ("e2e",),
        ("e2e", ""),
        ("e2e", "no-such-branch"),
        ("e2e", "x; rm -rf /"),
        ("e2e", "--upload-pack=touch /tmp/p"),
        ("e2e", "x';touch${IFS}/tmp/p;'"),
        ("e2e", "$(id)"),
        ("e2e", "{{lookup('pipe','id')}}"),
        ("e2e", "a\nb"),
        ("e2e", "a\u202eb"),
        ("e2e", "a" * 4096),
        ("e2e", "main", "--mode", "matrixx"),
        ("e2e", "main", "--stack", "nope"),
        ("e2e", "main", "--miners", "miner-9"),
        ("e2e", "main", "--miners", "miner-0,miner-0"),
        ("e2e", "main", "--miners", "-oProxyCommand=x"),
        ("e2e", "main", "--workers", "-1"),
        ("e2e", "main", "--workers", "9999999999"),
        ("e2e", "main", "--ttl", "0"),
        ("e2e", "main", "--keep"),
        ("e2e", "main", "-e", "x={{ y }}"),
        ("recover", "--host", "-oProxyCommand=x"),
        ("recover", "--force"),
        ("machine", "reboot", "nope"),
        ("planted", "no-such-patch"),
    ],
    ids=lambda words: " ".join(words)[:40].encode("unicode_escape").decode(),
)
def test_what_cannot_be_meant_ends_with_two_and_a_clear_message(bench: Bench, words: tuple[str, ...]) -> None:
    done = bench.run(*words, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


UNFIT = {
    "half-written": "printf '{\"pools\": [' >$F",
    "empty": ": >$F",
    "byte order mark": "printf '\\357\\273\\277{}' >$F",
    "huge": "truncate -s 80M $F",
    "a directory": "mv $F $F.aside && mkdir $F",
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_miner_config_that_cannot_be_read_is_not_fit(bench: Bench, name: str) -> None:
    path = "/opt/rigforge/data/worker/xmrig/build/config.json"
    keep = f"sudo cp -a {path} /root/config.keep"
    put = f"rm -rf {path} {path}.aside; cp -a /root/config.keep {path}.new && mv {path}.new {path} && rm /root/config.keep"
    back = f"sudo sh -c '{put}'; sudo systemctl restart xmrig"
    bench.ssh("miner-0", keep)
    try:
        bench.ssh("miner-0", f"sudo env F={path} sh -ec {shlex.quote(UNFIT[name])}")
        done = bench.run("e2e", "main")
    finally:
        bench.ssh("miner-0", back)
    assert done.returncode == 3
    assert bench.leased() == []


def test_a_bench_whose_own_lock_is_held_is_busy(bench: Bench) -> None:
    hold = "flock -x /var/lock/rig-e2e.lock sh -c 'touch /run/held; exec sleep 300'"
    bench.ssh("bench-0", "echo 'nightly pid=1 started=2026-01-01T00:00:00Z' | sudo tee /var/lock/rig-e2e.lock.holder >/dev/null")
    bench.ssh("bench-0", f"sudo systemd-run -q --unit=stranger-lock {hold}; until sudo test -e /run/held; do sleep 0.1; done")
    try:
        done = bench.run("e2e", "main", "--miners", "none")
    finally:
        bench.ssh("bench-0", "sudo systemctl stop stranger-lock; sudo rm -f /run/held /var/lock/rig-e2e.lock.holder")
    assert done.returncode == 75
    assert "nightly pid=1" in done.stdout + done.stderr
    assert bench.leased() == []


def test_an_unhealthy_bench_is_not_fit(bench: Bench) -> None:
    bench.ssh("bench-0", "docker stop caddy")
    try:
        done = bench.run("e2e", "main", "--miners", "none")
    finally:
        bench.ssh("bench-0", "docker start caddy")
    assert done.returncode == 3
    assert bench.leased() == []
