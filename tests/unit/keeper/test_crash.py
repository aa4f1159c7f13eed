"""Every crash point of a small run, by process and by power: what was lent comes back, or is kept in quarantine."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any, Dict, Iterator, List, Optional

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper import verbs
from keeper.core import Keeper
from keeper.store import Store
from tests.unit.keeper.bench import HOLDER, NONCE, FakeClock, FakeLooker, FakeServices, FakeSessions, FakeTriggers
from tests.unit.keeper.memory import Crash, MemoryFiles

CONFIG = "/etc/miner/config.json"
ORIGINAL = b'{"pools": [{"url": "pool-0:3333"}], "threads": 1}'
EDIT = {"json": [{"op": "set", "path": "pools[0].url", "value": "bench-0:3333"}]}


class MemoryLocks:
    def __init__(self) -> None:
        self.names: List[str] = []

    @contextlib.contextmanager
    def hold(self, name: str, wait: float) -> Iterator[None]:
        assert name not in self.names, f"{name} is held already"
        self.names.append(name)
        try:
            yield
        finally:
            self.names.remove(name)

    def held(self, name: str) -> bool:
        return name in self.names


class MemoryUnits:
    """A unit's program is a small change of the memory world; it may die in the middle like everything else."""

    def __init__(self, files: MemoryFiles) -> None:
        self.files = files

    def start(self, unit: str, spec: str, timeout: float) -> None:
        folder, _, name = spec.rpartition("/")
        document = json.loads(self.files.open(folder).read(name, 10**6).data)
        flag = self.files.open("/etc/miner")
        self.files.step(f"run {document['argv'][0]}")
        if document["argv"][0] == "on" and flag.stat("flag") is None:
            self.files.put("/etc/miner/flag", b"on")
        elif document["argv"][0] == "off" and flag.stat("flag") is not None:
            flag.unlink("flag")
            flag.sync()
        self.files.put(document["result"], json.dumps({"rc": 0, "seconds": 0.1}).encode())

    def alive(self, unit: str) -> bool:
        return False

    def stop(self, resource: str) -> List[str]:
        self.files.step("stop units")
        return []


class World:
    def __init__(self) -> None:
        self.files = MemoryFiles()
        self.files.put(CONFIG, ORIGINAL, 0o600)
        self.files.put("/var/lib/there", b"")
        self.clock = FakeClock()
        self.services = FakeServices()
        self.triggers = FakeTriggers()
        self.steps = 0
        self.crash_at: Optional[int] = None
        self.files.step = self._step

    def _step(self, what: str) -> None:
        self.steps += 1
        if self.crash_at is not None and self.steps >= self.crash_at:
            self.crash_at = None
            raise Crash(what)

    def call(self, verb: str, **request: Any) -> Dict[str, Any]:
        store = Store(self.files, MemoryLocks(), "/var/lib/benchkeeper")
        keeper = Keeper(
            store,
            self.clock,
            MemoryUnits(self.files),
            self.services,
            Look(self.files),
            lambda: None,  # type: ignore[arg-type, return-value] # there is no engine in this world
            self.triggers,
            FakeSessions(),
        )
        self.triggers.keeper = keeper
        code, answer = verbs.call(keeper, verb, request)
        return {**answer, "code": code}


class Look(FakeLooker):
    def __init__(self, files: MemoryFiles) -> None:
        self.files = files

    def take(self, probes: Any, prints: Any, before: Any) -> Dict[str, Any]:
        seen = {name: data.hex() for name, data in self.files.tree("/etc/miner").items() if not name.startswith(".")}
        return {"host": prints.host, "kinds": {"c": "file"}, "invariant": {"c": seen}, "observed": {}, "errors": {}}


def borrow(world: World) -> None:
    answer = world.call("acquire", resource="miner-0", run_id="run-1", nonce=NONCE, ttl=60, holder=HOLDER)
    assert answer["code"] == 0, answer
    fence = {"resource": "miner-0", "run_id": "run-1", "nonce": NONCE, "token": answer["token"]}
    calls: List[Any] = [
        ("snapshot", {"probes": {"c": {}}, "proof": {"deadline": 0}}),
        ("file", {"item": "repoint", "group": "miner", "path": CONFIG, "edit": EDIT, "canonical": ["pools"]}),
        ("file", {"item": "new", "group": "miner", "path": "/etc/miner/new", "content": "x"}),
        ("service", {"item": "stopped", "group": "svc", "unit": "xmrig.service", "state": "stopped", "enabled": False}),
        ("tree", {"item": "room", "group": "stack", "path": "/etc/room"}),
        ("file", {"item": "in-room", "group": "stack", "path": "/etc/room/file", "content": "y"}),
        ("command", {"item": "on", "group": "stack", "argv": ["on"], "undo": {"argv": ["off"]}}),
        ("file", {"item": "again", "group": "miner", "path": CONFIG, "content": "whatever"}),
        ("file", {"item": "gone", "group": "miner", "path": CONFIG, "remove": True}),
    ]
    for verb, request in calls:
        answer = world.call(verb, fence=fence, **request)
        assert answer["code"] == 0, (verb, request, answer)


def recover(world: World) -> Dict[str, Any]:
    return world.call("recover", resource="miner-0", nonce=NONCE)


def assert_as_before(world: World) -> None:
    assert world.files.tree("/etc") == {"miner/config.json": ORIGINAL}
    node = world.files.open("/etc/miner").stat("config.json")
    assert node is not None
    assert node.mode == 0o600
    assert world.services.units["xmrig.service"] == {"load": "loaded", "active": "active", "enabled": "enabled"}
    status = world.call("status")
    assert [one["state"] for one in status["leases"]] in ([], ["free"])
    again = recover(world)
    assert again.get("nothing_to_do"), again


def length(action: Any) -> int:
    world = World()
    action(world)
    return world.steps


BORROW_STEPS = length(borrow)


def _dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - chance, no secret


def lost(world: World, dice: Optional[random.Random]) -> None:
    """The process is gone; with dice the power was cut, too."""
    if dice is not None:
        world.files.power_cut(dice)
        world.clock.identity = Boot("boot-1", world.clock.identity.init_start + 1)


def finish(world: World, dice: Optional[random.Random], crashes: List[int]) -> None:
    """Recover, dying again after so many steps as often as asked."""
    for steps in crashes:
        world.crash_at = world.steps + steps
        try:
            recover(world)
        except Crash:
            lost(world, dice)
        world.crash_at = None
    done = recover(world)
    assert done["code"] == 0, done


def test_a_whole_run_comes_back() -> None:
    world = World()
    borrow(world)
    assert world.files.tree("/etc/room")["file"] == b"y"
    finish(world, None, [])
    assert_as_before(world)


@pytest.mark.case("F9", tier="model", oracle="whatever was not synced is lost at any write of a borrow: what was lent comes back")
@pytest.mark.parametrize("power", [False, True], ids=["process", "power"])
@pytest.mark.parametrize("crash_at", range(1, BORROW_STEPS + 1))
def test_a_crash_at_every_step_of_the_borrow(crash_at: int, power: bool) -> None:
    for seed in range(3 if power else 1):
        world = World()
        world.crash_at = crash_at
        with pytest.raises(Crash):
            borrow(world)
        dice = _dice(seed) if power else None
        lost(world, dice)
        finish(world, dice, [])
        assert_as_before(world)


@pytest.mark.case("F9", tier="model", oracle="so it is when the power goes again, several times, while it is put back")
@settings(max_examples=300, deadline=None)
@given(
    crash_at=st.integers(1, BORROW_STEPS + 1),
    crashes=st.lists(st.integers(1, 40), max_size=3),
    seed=st.integers(0, 2**32),
    power=st.booleans(),
)
def test_crashes_during_borrow_and_restore(crash_at: int, crashes: List[int], seed: int, power: bool) -> None:
    world = World()
    world.crash_at = crash_at
    with contextlib.suppress(Crash):
        borrow(world)
    world.crash_at = None
    dice = _dice(seed) if power else None
    lost(world, dice)
    finish(world, dice, crashes)
    assert_as_before(world)


@settings(max_examples=100, deadline=None)
@given(crash_at=st.integers(1, BORROW_STEPS + 1), seed=st.integers(0, 2**32), power=st.booleans())
def test_the_next_run_gets_a_clean_machine_or_none(crash_at: int, seed: int, power: bool) -> None:
    world = World()
    world.crash_at = crash_at
    with contextlib.suppress(Crash):
        borrow(world)
    world.crash_at = None
    lost(world, _dice(seed) if power else None)
    answer = world.call("acquire", resource="miner-0", run_id="run-2", nonce="f" * 32, holder=HOLDER, holder_gone=True)
    assert answer["code"] == 0, answer
    assert world.files.tree("/etc") == {"miner/config.json": ORIGINAL}
    stale = {"resource": "miner-0", "run_id": "run-1", "nonce": NONCE, "token": 1}
    refused = world.call("file", fence=stale, item="late", path=CONFIG, content="late")
    assert refused["error"]["kind"] == "fence"
    assert world.files.tree("/etc") == {"miner/config.json": ORIGINAL}


def test_a_full_disk_refuses_before_any_change_and_does_not_keep_the_original_from_coming_back() -> None:
    world = World()
    borrow(world)
    world.files.full = True
    fence = {"resource": "miner-0", "run_id": "run-1", "nonce": NONCE, "token": 1}
    before = world.files.tree("/etc")
    answer = world.call("file", fence=fence, item="more", path="/etc/miner/other", content="z")
    assert answer["code"] != 0
    assert world.files.tree("/etc") == before


@pytest.mark.case("F9", tier="model", oracle="each write in place is synced before the next step")
def test_what_is_written_in_place_is_synced_before_anything_else_happens() -> None:
    world = World()
    log: List[str] = []
    world.files.step = log.append
    borrow(world)
    recover(world)
    writes = [(what, log[place + 1]) for place, what in enumerate(log) if what.startswith("write ")]
    assert writes
    assert all(after == what.replace("write", "sync") for what, after in writes)
