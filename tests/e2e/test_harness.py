"""The harness and its replays, typed as a person does, on this computer's engine: green, red on demand, and gone afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness_world import Command, Relay, client, eventually, owned
from whole import WHOLE

from benchkeeper import images, labels, setup
from benchkeeper import owned as ownership
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BACK = 30.0  # seconds within which nothing owned is left after a kill -9
MOMENTS = 10 if os.environ.get("BENCH_WHOLE") == "1" else 1  # of each kind
HEADER = """#!/bin/sh
# /// replay
# issue: "1"
# bug_class: any
# timeout: {timeout}
# needs: shared
# break: {{ tenant: [open-peers] }}
# ///
"""


@pytest.fixture(scope="module", autouse=True)
def stranger() -> Iterator[Any]:
    """Somebody else's container and network on the same engine, one label of ours away from being ours: it must stay."""
    engine, paths = client(), checkout()
    _engine, tags = setup.prepare_images(paths, "tenant", install=True)
    carried = {labels.OWNER: paths.checkout_id, labels.STACK: "tenant-2", labels.RUN: "somebody"}
    name = f"sandbox-{paths.checkout_id}"
    network = engine.networks.create(name, labels=carried, internal=True)
    container = engine.containers.run(tags["runtime"], ["sleep", "3600"], name=name, network=name, labels=carried, detach=True)
    begun = container.attrs["Created"]
    yield container
    container.reload()
    assert (container.status, container.attrs["Created"]) == ("running", begun)
    assert container.attrs["State"]["StartedAt"]
    container.remove(force=True)
    network.remove()


@pytest.fixture(autouse=True)
def nothing_is_left(stranger: Any) -> Iterator[None]:
    assert owned() == {}
    yield
    left = eventually(lambda: None if owned() else "nothing", BACK)
    assert left == "nothing", owned()
    stranger.reload()
    assert stranger.status == "running"


def result(folder: Path | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        ((folder or ROOT / "results" / "replays" / "latest") / "result.json").read_text(encoding="utf-8")
    )
    return found


def test_all_replays_from_nothing_to_nothing() -> None:
    command = Command("replays")
    assert command.wait() == 0
    assert owned() == {}
    said = result()
    assert {one["verdict"] for one in said["outcomes"]} <= {"pass", "skip", "xfail"}
    assert sum(one["verdict"] == "pass" for one in said["outcomes"]) >= 12
    assert said["build_id"].startswith(said["run"])
    print(f"warm: {said['seconds']}")


def test_every_replay_is_red_with_the_bug_that_it_is_there_for() -> None:
    command = Command("replays", "--prove")
    assert command.wait() == 0
    said = result()
    ran = {one["name"] for one in said["outcomes"] if one["verdict"] != "skip"}
    assert ran == set(said["proofs"])
    assert all(one["verdict"] == "fail" and one["code"] for one in said["proofs"].values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_ended_at_any_moment_it_is_never_green_and_leaves_nothing(number: signal.Signals) -> None:
    dice = random.Random(int(os.environ.get("BENCH_HARNESS_SEED", "5")))  # noqa: S311 - the same moments again
    known = result()["seconds"]
    whole = float(known["all"]) - float(known.get("prove", 0.0))
    for turn in range(MOMENTS):
        command = Command("replays")
        moment = 0.3 + (turn + dice.random()) / MOMENTS * whole * 0.8  # all over the run
        time.sleep(moment)
        assert command.process.poll() is None, "it was done before"
        command.process.send_signal(number)
        code = command.wait(120)
        wanted = -signal.SIGKILL if number == signal.SIGKILL else 128 + number
        # Before its handlers are there a signal ends it as it ends every program.
        assert code in (wanted, -number), (turn, moment, code)
        begun = time.monotonic()
        left = eventually(lambda: None if owned() else "nothing", BACK)
        assert left == "nothing", (turn, moment, owned())
        print(f"{number.name} after {moment:.1f} s: exit {code}, nothing left after {time.monotonic() - begun:.1f} s")


def test_when_the_watcher_is_killed_as_well_the_next_command_cleans_up() -> None:
    command = Command("replays")
    command.until("harness +bringing")
    watchers = command.watchers()
    assert len(watchers) == 1
    time.sleep(2)
    os.kill(watchers[0], signal.SIGKILL)
    command.kill()
    time.sleep(3)
    assert owned() != {}, "nobody is there to clean up"
    again = Command("harness", "up", "--tenants", "1")
    assert again.wait() == 0
    assert "sweep    removed" in again.text
    assert Command("harness", "down").wait() == 0


def test_two_at_once_do_not_see_each_other() -> None:
    both = [Command("replays"), Command("replays")]
    assert [one.wait() for one in both] == [0, 0]


def test_it_stays_until_it_is_taken_down() -> None:
    assert Command("harness", "seed").wait() == 2, "there is none"
    up = Command("harness", "up")
    assert up.wait() == 0
    first, second = Command("harness", "seed"), Command("harness", "seed")
    assert first.wait() == 0
    assert second.wait() == 0
    ids = [[line for line in one.text.splitlines() if "_ID=" in line] for one in (first, second)]
    assert ids[0] == ids[1], "a second seed makes nothing"
    assert len(ids[0]) == 6
    one = Command("harness", "replay", "tenant-isolation")
    assert one.wait() == 0
    assert Command("harness", "down").wait() == 0
    assert owned() == {}
    assert Command("harness", "down").wait() == 2


def play(playbook: str, **variables: object) -> str:
    argv = [str(ROOT / ".venv" / "bin" / "ansible-playbook"), str(ROOT / "playbooks" / playbook), "-e", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout[-3000:], done.stderr[-1000:])
    assert done.returncode == 0
    return done.stdout


def test_playbooks_do_the_same() -> None:
    assert "changed=1" in play("harness.yml", breaks=["tenant:open-peers"])
    assert "changed=0" in play("harness.yml")
    assert "changed=1" in play("harness.yml", state="absent")
    assert "changed=0" in play("harness.yml", state="absent")
    assert owned() == {}
    assert "changed=0" in play("replays.yml", names=["unknown-host", "open-peers"])


def drop(folder: Path, name: str, body: str, timeout: float = 20, mode: int = 0o755) -> None:
    path = folder / name
    path.write_text(HEADER.format(timeout=timeout) + body + "\n", encoding="utf-8")
    path.chmod(mode)


def test_bad_input_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    drop(tmp_path, "good.sh", "exit 0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        table: list[tuple[list[str], int, str]] = [
            (["replays", "no-such-replay"], 2, "no such replay: 'no-such-replay'"),
            (["replays", "--folder", str(tmp_path / "none")], 2, "no replays in"),
            (["replays", "--tenant", "image", "--image", "no/such:image"], 2, "no image no/such:image"),
            (["replays", "--tenant", "image"], 2, "needs --image"),
            (["replays", "--tenant", "binary", "--binary", "/no/such/program"], 2, "no such program"),
            (["replays", "--break", "tenant"], 2, "a break is tenant:NAME"),
            (["replays", "--break", "edge:nothing"], 2, "has no break nothing"),
            (["replays", "--tenants", "99"], 2, "--tenants"),
            (["replays", "--folder", str(tmp_path), "--port", str(port)], 3, str(port)),
            (["harness", "down", "--run", "20200101T000000Z-aaaaaa"], 2, "no harness"),
        ]
        for words, code, said in table:
            command = Command(*words)
            assert command.wait(120) == code, words
            assert said in command.text, words
    (tmp_path / "good.sh").chmod(0o644)
    command = Command("replays", "--folder", str(tmp_path))
    assert command.wait() == 2
    assert "is not executable" in command.text


def test_a_replay_that_hangs_a_route_that_nobody_knows_and_a_run_that_skips(tmp_path: Path) -> None:
    drop(tmp_path, "hangs.sh", "trap '' TERM; sleep 600", timeout=1)
    # Whatever the answer is: that it was asked for is what counts.
    ask = "import os, urllib.request as web; web.urlopen(os.environ['HARNESS_STUB'] + '/cp/nobody/knows')"
    drop(tmp_path, "asks.sh", f'python3 -c "{ask}" 2>/dev/null || true')
    command = Command("replays", "--folder", str(tmp_path))
    assert command.wait() == 1
    assert "it took longer than 1 s" in command.text
    assert "the stub was asked for what it does not know: GET /cp/nobody/knows (501)" in command.text
    for path in tmp_path.iterdir():
        path.unlink()
    drop(tmp_path, "skips.sh", "echo nothing to see; exit 77")
    command = Command("replays", "--folder", str(tmp_path))
    assert command.wait() == 1
    assert "all of them skipped" in command.text


def test_a_tenant_that_does_not_start_is_its_own_fault(tmp_path: Path) -> None:
    drop(tmp_path, "good.sh", "exit 0")
    program = tmp_path / "programs" / "tenant"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no such migration' >&2\nexit 7\n", encoding="utf-8")
    program.chmod(0o755)
    command = Command("replays", "--folder", str(tmp_path), "--tenant", "binary", "--binary", str(program))
    assert command.wait() == 1
    assert "exit code 7" in command.text
    assert "no such migration" in command.text
    assert "no such migration" in (ROOT / "results" / "replays" / "latest" / "services" / "tenant-alpha.log").read_text()


def test_what_answers_must_be_what_was_built(tmp_path: Path) -> None:
    drop(tmp_path, "good.sh", "exit 0")
    command = Command("replays", "--folder", str(tmp_path), "--break", "tenant:stale-build")
    assert command.wait() == 1
    assert "what answers is not what was built" in command.text


def test_an_engine_that_goes_away_is_told_and_when_it_is_back_the_watcher_cleans_up(tmp_path: Path) -> None:
    drop(tmp_path, "waits.sh", "sleep 5")
    engine = Relay()
    try:
        command = Command("replays", "--folder", str(tmp_path), DOCKER_HOST=engine.host)
        command.until("1 replays")
        engine.go_away()
        assert command.wait(300) == 4
        assert "Once it is back: ./bench reap" in command.text
        again = Command("reap", "--run", result()["run"])
        assert again.wait() == 4
        assert "not known" in again.text
    finally:
        engine.come_back()
        # The lease goes last, after looks through the same socket.
        leases = ownership.directory(checkout())
        eventually(lambda: not list(leases.glob("*.json")), BACK)
        engine.close()
    assert owned() == {}


def test_other_kinds_of_tenant_pass_the_same_replays() -> None:
    paths = checkout()
    engine, tags = setup.prepare_images(paths, "tenant", install=True)
    name, build = f"benchkeeper-test/tenant:{paths.checkout_id}", "from-outside-1"
    arguments = [f"BASE={tags['runtime']}", f"GIT_SHA={build}"]
    command = [str(engine.program), "build", "-t", name, *(word for one in arguments for word in ("--build-arg", one))]
    images.checked([*command, str(paths.stacks / "tenant" / "reference")], None, name)
    try:
        run = Command("replays", "--tenant", "image", "--image", name, "--build-id", build)
        assert run.wait() == 0
        assert result()["kind"] == "image"
        unknown = Command("replays", "--tenant", "image", "--image", name, "buildinfo-stale-image", "unknown-host")
        assert unknown.wait() == 0, "what nobody knows skips"
        assert {one["name"]: one["verdict"] for one in result()["outcomes"]}["buildinfo-stale-image"] == "skip"
    finally:
        subprocess.run([str(engine.program), "image", "rm", name], check=False, capture_output=True)


def test_a_program_with_its_folder_is_a_tenant(tmp_path: Path) -> None:
    shutil.copytree(checkout().stacks / "tenant" / "reference", tmp_path / "lib", ignore=shutil.ignore_patterns("stub", "canvas"))
    program = tmp_path / "tenant"
    program.write_text("#!/bin/sh\nexport GIT_SHA=b-1 PYTHONPATH=/app/lib\nexec python3 -m tenant\n", encoding="utf-8")
    program.chmod(0o755)
    some = (
        () if os.environ.get("BENCH_WHOLE") == "1" else ("buildinfo-stale-image", "tenant-isolation", "websocket-through-the-edge")
    )
    command = Command("replays", "--tenant", "binary", "--binary", str(tmp_path), "--build-id", "b-1", *some)
    assert command.wait() == 0
    assert result()["kind"] == "binary"


@WHOLE
def test_tenants_that_run_elsewhere(tmp_path: Path) -> None:
    assert Command("harness", "up").wait() == 0
    try:
        (folder,) = [path.parent for path in Path("/tmp").glob("benchkeeper-*/harness.json")]
        known = json.loads((folder / "harness.json").read_text(encoding="utf-8"))
        for one in known["tenants"]:
            token = tmp_path / one["name"]
            token.write_text(one["admin_token"], encoding="ascii")
        tenants = [
            {"name": one["name"], "host": one["host"], "org": one["org"], "token_file": one["name"], "direct": one["direct"]}
            for one in known["tenants"]
        ]
        far = {"edge": known["edge"], "build_id": known["build_id"], "tenants": tenants}
        (tmp_path / "far.yml").write_text(json.dumps(far), encoding="utf-8")
        assert Command("replays", "--tenant", "url", "--at", str(tmp_path / "far.yml")).wait() == 0
        verdicts = {one["name"]: one["verdict"] for one in result()["outcomes"]}
        assert verdicts["tenant-isolation"] == verdicts["dot-segments"] == "pass"
        assert verdicts["quiet-outage"] == "skip"
    finally:
        assert Command("harness", "down").wait() == 0


@WHOLE
def test_what_it_costs() -> None:
    from harness_floor import compare  # noqa: PLC0415 - it takes its time, and only here

    up, down = compare(rounds=5)
    ratios = [statistics.median(ours) / statistics.median(floor) for ours, floor in (up, down)]
    print(f"M1 bring-up {ratios[0]:.2f} of the floor (at most 1.25), M3 teardown {ratios[1]:.2f} of compose down (at most 1.05)")
    assert ratios[0] <= 1.25
    assert ratios[1] <= 1.05
