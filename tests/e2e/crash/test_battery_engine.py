"""F5, F14, F19, F20: a container engine that dies, somebody who changes its containers, and things that only look like ours."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.crash.machine import BOUND, KEEPER, Loan, Machine, wish
from tests.e2e.crash.playing import Play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNPROVEN = 4
COMPOSE = """
services:
  app: {image: "crash-app:1", stop_grace_period: 1s}
  db: {image: "crash-db:1", stop_grace_period: 1s, volumes: ["data:/data"]}
volumes: {data: {}}
"""
# A branch gives the app another image, and starts one more service.
BRANCH = """
services:
  app: {image: "crash-app:2", stop_grace_period: 1s}
  db: {image: "crash-db:1", stop_grace_period: 1s, volumes: ["data:/data"]}
  more: {image: "crash-app:2", stop_grace_period: 1s}
volumes: {data: {}}
"""
# Two programs of the machine's own and what they need: no registry, a few megabytes.
IMAGE = r"""
files=$(ldd /bin/sleep /bin/sh | grep -o '/lib[^ ]*' | sort -u)
for tag in app:1 db:1 app:2; do
    tar -C / -ch --transform 's,^usr/,,' bin/sleep bin/sh $(for file in $files; do echo "${file#/}"; done) |
        docker import -c 'CMD ["/bin/sleep", "infinity"]' -c "LABEL made=$tag" - crash-$tag >/dev/null
done
"""


class Project:
    """A compose project on a machine's engine: its baseline in one directory, a branch's in another."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.name = f"crash{machine.place[-6:]}"
        self.live, self.branch = f"{machine.place}/live", f"{machine.place}/branch"

    def compose(self, folder: str, *words: str) -> list[str]:
        return ["docker", "compose", "-p", self.name, "--project-directory", folder, "-f", f"{folder}/compose.yml", *words]

    def up(self) -> None:
        self.machine.sh(f"{IMAGE}mkdir {self.live} {self.branch}", timeout=180)
        self.machine.write(f"{self.live}/compose.yml", COMPOSE)
        self.machine.write(f"{self.branch}/compose.yml", BRANCH)
        self.machine.sh(" ".join(self.compose(self.live, "up", "-d", "--quiet-pull")), timeout=180)

    def down(self) -> None:
        self.machine.sh("systemctl reset-failed docker.service 2>/dev/null || true; systemctl start docker.service")
        self.machine.sh(" ".join(self.compose(self.branch, "down", "-v", "-t", "1", "--remove-orphans")), timeout=180)
        self.machine.sh("docker image rm -f $(docker images -q 'crash-*' | sort -u) >/dev/null 2>&1 || true")

    def picture(self) -> dict[str, str]:
        """Return what has to be the same again: images and directories by container, networks, volumes, tags."""
        place = '{{index .Config.Labels "com.docker.compose.project.working_dir"}}'
        look = f"docker inspect -f '{{{{.Name}}}} {{{{.Image}}}} {{{{.State.Status}}}} {place}'"
        return {
            "containers": self.machine.sh(f"docker ps -aq | xargs -r {look} | sort"),
            "networks": self.machine.sh("docker network ls --format '{{.Name}} {{.Driver}}' | sort"),
            "volumes": self.machine.sh("docker volume ls -q | sort"),
            "images": self.machine.sh("docker images -a --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort"),
        }

    def undo(self) -> dict[str, object]:
        up = self.compose(self.live, "up", "-d", "--remove-orphans")
        return {"kind": "engine", "project": self.name, "live_dir": self.live, "argv": up, "user": "root", "timeout": 120}

    def lend(self) -> Loan:
        """Take the lease, and the look from before."""
        loan = self.machine.lend(ttl=300)
        loan.look(stack={"kind": "compose", "project": self.name})
        return loan

    def deploy(self, script: str = "") -> dict[str, object]:
        """What deploys the branch, as a guarded command."""
        up = " ".join(self.compose(self.branch, "up", "-d"))
        return {"argv": ["sh", "-c", f"{up}; {script or 'true'}"], "undo": self.undo(), "timeout": 180}


@pytest.fixture
def project(miner: Machine) -> Iterator[Project]:
    found = Project(miner)
    try:
        found.up()
        yield found
    finally:
        with contextlib.suppress(AssertionError):
            miner.ask("recover", resource=miner.name, run_id=miner.status().get("run_id"), force=True)
        found.down()


def kill_engine(machine: Machine) -> None:
    machine.sh("systemctl kill -s KILL docker.service; systemctl reset-failed docker.service; systemctl start docker.service")
    machine.until("the engine is back", lambda: machine.run("docker", "version").returncode == 0, 40)


@pytest.mark.case(
    "F5",
    tier="machine",
    oracle="the engine is killed while the branch comes up: nothing is there twice, the baseline is back",
)
def test_the_engine_is_killed_while_the_branch_comes_up(project: Project) -> None:
    machine, before = project.machine, project.picture()
    loan = project.lend()
    asked = loan.starts("command", "deploy", **project.deploy("sleep 5"))
    machine.until("the branch comes up", lambda: "crash-app:2" in machine.sh("docker ps --format '{{.Image}}'"), 60)
    kill_engine(machine)
    asked.answer()
    done = loan.recover()
    assert done["proven"], done
    assert project.picture() == before
    loan.is_over()


@pytest.mark.case(
    "F5",
    tier="machine",
    oracle="the engine is killed while the baseline is brought back: the restore is tried again by itself, and is whole",
)
def test_the_engine_is_killed_during_the_restore(project: Project) -> None:
    machine, before = project.machine, project.picture()
    loan = project.lend()
    loan.does("command", "deploy", **project.deploy())
    assert project.picture() != before
    asked = machine.start("recover", resource=machine.name, run_id=loan.run_id, nonce=loan.wish["nonce"])
    machine.until_unit("bk-miner-1-*-u*.service", 60)
    kill_engine(machine)
    asked.answer(180)
    machine.until_state("free", 120)
    assert project.picture() == before
    loan.is_over()


@pytest.mark.case(
    "F5",
    tier="machine",
    oracle="who waits for a container while the engine is killed and comes back sees it all the same",
)
def test_the_engine_is_killed_while_somebody_waits(project: Project, tmp_path: Path) -> None:
    machine = project.machine
    machine.sh("docker stop -t 1 $(docker ps -q)")
    play = Play(tmp_path, machine, lease=False)
    running = {"probe": "stack", "path": "services[].state", "op": "all_in", "value": ["running"]}
    signal = {"name": "running", "deadline": 90, "all": [running]}
    probes = {"stack": {"kind": "compose", "project": project.name}}
    play.task("stack_wait", host=machine.name, project=project.name, probes=probes, signals=[signal], fail=True)
    process = play.start()
    looking = "ps -eo args | grep -c '[p]ython3 -I -B -' || true"  # how a module runs from memory
    machine.until("it waits", lambda: int(machine.sh(looking)) > 0, 30)
    time.sleep(2)
    assert process.poll() is None
    kill_engine(machine)
    machine.sh(f"docker ps -aq --filter label=com.docker.compose.project={project.name} | xargs docker start", timeout=120)
    out, _err = process.communicate(timeout=120)
    assert process.returncode == 0, out


@pytest.mark.case(
    "F20",
    tier="machine",
    oracle="without an engine its part waits and says so, the rest is back; once it runs the restore ends by itself",
)
def test_the_engine_is_gone_when_it_is_needed(project: Project) -> None:
    machine, before = project.machine, project.picture()
    path = f"{machine.place}/config"
    machine.write(path, "theirs\n")
    loan = project.lend()
    loan.does("file", "mine", path=path, content="ours\n", group="files")
    loan.does("command", "deploy", **project.deploy())
    try:
        machine.sh("systemctl stop docker.socket docker.service")
        stuck = loan.recover()
        assert (stuck["code"], stuck["restored"]) == (UNPROVEN, False)
        now = machine.status()
        assert now["state"] == "unproven"
        assert now["reason"].startswith("deploy: ")
        assert now["retry_in"] is not None
        assert machine.read(path) == "theirs"
    finally:
        machine.sh("systemctl reset-failed 'docker.*' || true; systemctl start docker.socket docker.service")
    machine.until_state("free", 120)
    assert project.picture() == before
    loan.is_over()


@pytest.mark.case(
    "F14",
    tier="machine",
    oracle="somebody who gives a container a new image in the middle of a run: the baseline's image is back",
)
def test_somebody_starts_a_container_anew_with_another_image(project: Project) -> None:
    machine, before = project.machine, project.picture()
    loan = project.lend()
    loan.does("command", "deploy", **project.deploy())
    up = " ".join(project.compose(project.live, "up", "-d", "--force-recreate", "app"))
    machine.sh(f"docker tag crash-app:2 crash-app:1; {up}", timeout=120)
    done = loan.recover()
    assert done["proven"], done
    assert project.picture() == before
    loan.is_over()


DECOYS = """
docker run -d --name bk-lookalike --label benchkeeper.owner=somebody --label benchkeeper.stack=pithead crash-app:1
docker run -d --name {name}-app-2 --label benchkeeper.run=another crash-app:1
docker network create --label benchkeeper.owner=somebody {name}_look
docker volume create --label benchkeeper.owner=somebody {name}_look
docker tag crash-db:1 benchkeeper-lookalike:1
touch {place}/.config.bk-another-3 {place}/.benchkeeper.json
systemd-run -q --unit=bk-miner-10-1-1 sleep 600
systemd-run -q --unit=bk-miner-1-lookalike sleep 600
"""
LOOK = """
docker inspect -f '{{{{.Id}}}} {{{{.State.StartedAt}}}}' bk-lookalike {name}-app-2
docker network inspect -f '{{{{.Id}}}}' {name}_look; docker volume inspect -f '{{{{.CreatedAt}}}}' {name}_look
docker image inspect -f '{{{{.Id}}}}' benchkeeper-lookalike:1
stat -c '%n %i %Z' {place}/.config.bk-another-3 {place}/.benchkeeper.json
systemctl show -p MainPID bk-miner-10-1-1 bk-miner-1-lookalike
"""
NO_DECOYS = """
docker rm -f bk-lookalike {name}-app-2 || true
docker network rm {name}_look || true
docker volume rm {name}_look || true
docker rmi benchkeeper-lookalike:1 || true
rm -f {place}/.config.bk-another-3 {place}/.benchkeeper.json
systemctl stop bk-miner-10-1-1 bk-miner-1-lookalike || true
"""


@pytest.mark.case(
    "F19",
    tier="machine",
    oracle="what only looks like ours is untouched; what the branch made without a label of ours is gone",
)
def test_lookalikes_are_untouched_and_strays_are_found(project: Project) -> None:
    machine, names = project.machine, {"name": project.name, "place": project.machine.place}
    machine.sh(DECOYS.format(**names))
    try:
        path = f"{machine.place}/config"
        machine.write(path, "theirs\n")
        before, look = project.picture(), machine.sh(LOOK.format(**names))
        loan = project.lend()
        loan.does("file", "mine", path=path, content="ours\n", group="files")
        stray = "docker run -d --name stray crash-app:2; docker network create stray; docker volume create stray"
        stray += "; docker tag crash-db:1 stray:1"
        loan.does("command", "deploy", **project.deploy(stray))
        assert "stray" in project.picture()["containers"]
        done = loan.recover()
        assert done["proven"], done
        assert project.picture() == before
        assert machine.sh(LOOK.format(**names)) == look
        assert machine.read(path) == "theirs"
    finally:
        machine.sh(NO_DECOYS.format(**names))
    loan.is_over()


# F20 for the machine's own dead-man, which stands where others have a reaper.


@pytest.mark.case("F20", tier="machine", oracle="a machine whose own sweep does not live is not lent")
def test_a_machine_without_its_sweep_is_not_lent(miner: Machine) -> None:
    miner.sh("systemctl stop benchkeeper-sweep.timer benchkeeper-sweep.service")
    try:
        refused = miner.ask("acquire", **wish("miner-1"))
        assert (refused["code"], refused["error"]["kind"]) == (2, "unfit")
        assert "sweep" in refused["error"]["message"]
        assert miner.status()["state"] == "free"
    finally:
        miner.sh("systemctl start benchkeeper-sweep.timer")


@pytest.mark.case(
    "F20",
    tier="machine",
    oracle="a sweep that is killed comes again by itself; without it the next run, or a boot, puts everything back",
)
@pytest.mark.parametrize("second", ["the sweep itself", "the next run", "a person"])
def test_the_sweep_is_killed_and_another_trigger_does_it(miner: Machine, second: str) -> None:
    path = f"{miner.place}/config"
    miner.write(path, "theirs\n")
    loan = miner.lend()
    loan.looking_at(path)
    loan.does("file", "mine", path=path, content="ours\n")
    miner.must("renew", fence=loan.fence, ttl=5)
    try:
        if second == "the sweep itself":
            miner.sh("systemctl kill -s KILL benchkeeper-sweep.service")
            miner.until_state("free", BOUND)
        else:
            miner.sh("systemctl stop benchkeeper-sweep.timer benchkeeper-sweep.service")
            time.sleep(7)
            assert miner.read(path) == "ours"
            if second == "a person":
                done = miner.run("keeper", "recover")
                assert done.returncode == 0
                assert "miner-1: restored and proven" in done.stdout
            else:  # not armed: a machine without its sweep is only lent to whoever says so
                given = miner.must("acquire", **wish("miner-1", arm=False, run_id="crash-next-run", nonce="n" * 32))
                assert given["recovered"]["proven"]
                assert given["recovered"]["run_id"] == loan.run_id
                fence = {"resource": "miner-1", "run_id": "crash-next-run", "nonce": "n" * 32, "token": given["token"]}
                assert miner.must("release", fence=fence)["released"]
        assert miner.read(path) == "theirs"
    finally:
        miner.sh("systemctl start benchkeeper-sweep.timer")
    loan.is_over()


@pytest.mark.case(
    "F20",
    tier="machine",
    oracle="a keeper whose program cannot be unpacked, its place in memory being taken away, still puts everything back",
)
def test_the_keepers_place_in_memory_is_taken_away(miner: Machine) -> None:
    path = f"{miner.place}/config"
    miner.write(path, "theirs\n")
    loan = miner.lend(ttl=300)
    loan.looking_at(path)
    loan.does("file", "mine", path=path, content="ours\n")
    miner.sh("rm -rf /run/benchkeeper; touch /run/benchkeeper")
    try:
        done = miner.run(KEEPER, "call", "recover", text=json.dumps({"resource": "miner-1", "run_id": loan.run_id, "force": True}))
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        miner.sh("rm -f /run/benchkeeper")
    assert miner.read(path) == "theirs"
    loan.is_over()
