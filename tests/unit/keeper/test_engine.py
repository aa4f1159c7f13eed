from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from tests.unit.keeper.bench import NONCE, Bench
from tests.unit.keeper.engine import FakeEngine

UNDO = {"kind": "engine", "project": "pit", "live_dir": "/live", "argv": ["./up"], "user": "ops", "timeout": 60}


class EngineBench(Bench):
    """A bench whose units run little programs on a fake engine."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.engine = world = FakeEngine()
        world.imgs = {"sha-a": ["app:dev"], "sha-b": ["db:dev"], "sha-x": ["foreign:1"]}
        world.box("app", "sha-a")
        world.box("db", "sha-b", state="exited")
        world.box("foreign", "sha-x", project="")
        world.net("pit_net")
        world.vol("pit_data")
        self.programs: Dict[str, Callable[[], int]] = {"./up": self.up, "./deploy": self.deploy}
        self.ran: list[str] = []
        self.units.start = self._start  # type: ignore[method-assign]

    def _start(self, unit: str, spec: str, timeout: float) -> None:
        document = json.loads(Path(spec).read_text())
        self.ran.append(f"{document['argv'][0]} in {document['cwd']} as {document['user']}")
        rc = self.programs[document["argv"][0]]()
        if rc >= 0:
            Path(document["result"]).write_text(json.dumps({"rc": rc, "seconds": 1.0}))

    def up(self) -> int:
        """What compose does: recreate what has another image; start everything."""
        for name, image in (("app", "app:dev"), ("db", "db:dev")):
            wanted = self.engine.image(image)["Id"]
            found = [one for one in self.engine.boxes.values() if one["Names"] == [f"/{name}"]]
            if found and found[0]["ImageID"] == wanted:
                found[0]["State"] = "running"
                continue
            for one in found:
                del self.engine.boxes[one["Id"]]
            self.engine.box(name, wanted)
        if not any(one["Name"] == "pit_net" for one in self.engine.nets.values()):
            self.engine.net("pit_net")
        return 0

    def deploy(self) -> int:
        """What a branch does."""
        world = self.engine
        world.imgs["sha-new"] = []
        world.imgs["sha-extra"] = ["extra:new"]
        world.tag("sha-new", "app:dev")
        del world.boxes[world.by_name("app")["Id"]]
        world.box("app", "sha-new", where="/e2e")
        world.by_name("db")["State"] = "running"
        world.by_name("db")["Labels"][f"{'com.docker.compose.project'}.working_dir"] = "/e2e"
        world.box("extra", "sha-extra", where="/e2e")
        world.net("pit_extra", subnet="10.0.9.0/24")
        world.vol("pit_more")
        return 0


@pytest.fixture
def pit(tmp_path: Path) -> Any:
    return EngineBench(tmp_path)


def picture(engine: FakeEngine) -> Any:
    return {
        "boxes": sorted(
            (one["Names"][0], one["ImageID"], one["State"], one["Labels"].get("com.docker.compose.project.working_dir"))
            for one in engine.boxes.values()
        ),
        "nets": sorted((one["Name"], str(one.get("IPAM"))) for one in engine.nets.values()),
        "vols": sorted(engine.vols),
        "images": {image: sorted(tags) for image, tags in engine.imgs.items()},
    }


def deploy(pit: EngineBench, **more: Any) -> tuple[int, Dict[str, Any]]:
    request = {"item": "deploy", "argv": ["./deploy"], "cwd": "/e2e", "user": "ops", "undo": UNDO, **more}
    pit.look()
    return pit.try_call("command", fence=pit.fence, **request)


def test_a_project_comes_back_with_its_images_and_without_strangers(pit: EngineBench) -> None:
    before = picture(pit.engine)
    pit.acquire()
    assert deploy(pit)[0] == 0
    assert picture(pit.engine) != before
    pit.engine.box("late-foreign", "sha-x", project="")
    pit.engine.imgs["sha-late"] = ["late:1"]
    done = pit.call("recover", resource="miner-0", nonce=NONCE)
    assert done["resources"]["miner-0"]["items"][0]["verdict"] == "PUT_BACK"
    assert pit.engine.imgs.pop("sha-late") == ["late:1"]
    pit.engine.remove("late-foreign")
    assert picture(pit.engine) == before
    assert pit.ran[0] == "./deploy in /e2e as ops"
    assert set(pit.ran[1:]) == {"./up in /live as ops"}


def test_while_it_is_leased_the_images_of_the_baseline_carry_a_tag_of_ours(pit: EngineBench) -> None:
    pit.acquire()
    deploy(pit)
    kept = [tag for tags in pit.engine.imgs.values() for tag in tags if tag.startswith("benchkeeper/keep:")]
    assert kept == ["benchkeeper/keep:run-1-2-0", "benchkeeper/keep:run-1-2-1"]


def test_nothing_is_run_when_nothing_is_different(pit: EngineBench) -> None:
    pit.programs["./deploy"] = lambda: 1
    pit.acquire()
    assert deploy(pit)[1]["rc"] == 1
    done = pit.call("recover", resource="miner-0", nonce=NONCE)
    assert done["resources"]["miner-0"]["items"][0]["verdict"] == "UNDONE"
    assert pit.ran == ["./deploy in /e2e as ops"]


def test_what_a_covered_command_makes_is_found_by_the_difference(pit: EngineBench) -> None:
    before = picture(pit.engine)

    def stray() -> int:
        pit.engine.box("stray", "sha-x", project="")
        pit.engine.tag("sha-a", "alias:1")
        return 0

    pit.programs["./stray"] = stray
    pit.acquire()
    deploy(pit)
    pit.guarded("command", "stray", argv=["./stray"], covered_by="deploy")
    pit.call("recover", resource="miner-0", nonce=NONCE)
    assert picture(pit.engine) == before


def test_a_command_without_done_is_final_only_when_the_engine_cannot_act_any_more(pit: EngineBench) -> None:
    before = picture(pit.engine)
    deployed = pit.deploy
    pit.programs["./deploy"] = lambda: deployed() - 1  # it worked, and its client was lost
    pit.acquire()
    assert deploy(pit)[0] == 1
    started = pit.clock.now
    pit.call("recover", resource="miner-0", nonce=NONCE)
    assert picture(pit.engine) == before
    assert pit.clock.now <= started + 12
    assert "GET /events" in pit.engine.log or pit.clock.now >= started


def test_a_network_with_other_addresses_is_made_anew(pit: EngineBench) -> None:
    before = picture(pit.engine)

    def reshape() -> int:
        for one in list(pit.engine.nets.values()):
            if one["Name"] == "pit_net":
                del pit.engine.nets[one["Id"]]
        pit.engine.net("pit_net", subnet="10.0.7.0/24")
        return 0

    pit.programs["./deploy"] = reshape
    pit.acquire()
    deploy(pit)
    pit.engine.boxes.pop(pit.engine.by_name("foreign")["Id"])  # the fake says that every container is on every network
    pit.call("recover", resource="miner-0", nonce=NONCE)
    pit.engine.box("foreign", "sha-x", project="")
    assert picture(pit.engine) == before


@pytest.mark.parametrize("loss", ["image", "volume", "up fails", "engine"])
def test_what_cannot_be_brought_back_is_said_and_tried_again(pit: EngineBench, loss: str) -> None:
    pit.acquire()
    deploy(pit)
    if loss == "image":
        kept = pit.engine.imgs.pop("sha-a")
    elif loss == "volume":
        pit.engine.vols.pop("pit_data")
        pit.engine.vol("pit_data")
    elif loss == "engine":
        pit.engine.down = True
    else:
        pit.programs["./up"] = lambda: 7
    code, answer = pit.try_call("recover", resource="miner-0", nonce=NONCE)
    assert code == 4
    item = answer["resources"]["miner-0"]["items"][0]
    assert item["verdict"] == "FAILED"
    assert {"image": "sha-a", "volume": "pit_data", "engine": "no answer", "up fails": "ended with 7"}[loss] in item["why"]
    assert pit.lease().state == "unproven"
    if loss == "volume":
        return
    if loss == "image":
        pit.engine.imgs["sha-a"] = kept
    pit.engine.down = False
    pit.programs["./up"] = pit.up
    assert pit.call("recover", resource="miner-0")["proven"]


def test_without_an_engine_nothing_is_started(pit: EngineBench) -> None:
    pit.acquire()
    pit.engine.down = True
    code, answer = deploy(pit)
    assert (code, answer["error"]["kind"]) == (2, "unfit")
    assert pit.ran == []
    pit.call("release", fence=pit.fence)


def test_engine_calls_are_undone_by_state(pit: EngineBench) -> None:
    before = picture(pit.engine)
    pit.acquire()
    calls = [
        {"action": "stop", "container": "app", "timeout": 300},
        {"action": "start", "container": "db"},
        {"action": "pause", "container": "foreign"},
    ]
    done = pit.guarded("engine", "calls", calls=calls)
    assert [one["before"]["state"] for one in done["calls"]] == ["running", "exited", "running"]
    assert picture(pit.engine) != before
    journal = pit.call("evidence", resource="miner-0")["journal"]
    assert {one["bound"] for one in journal if one["type"] == "INTENT"} == {12.0}
    pit.call("recover", resource="miner-0", nonce=NONCE)
    assert picture(pit.engine) == before


@pytest.mark.parametrize(
    "calls", [[], [{"action": "rm", "container": "app"}], [{"action": "explode", "container": "app"}], [{"action": "stop"}]]
)
def test_engine_calls_that_are_refused(pit: EngineBench, calls: Any) -> None:
    pit.acquire()
    assert pit.try_call("engine", fence=pit.fence, item="x", calls=calls)[0] == 2
    pit.call("release", fence=pit.fence)
