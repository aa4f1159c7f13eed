"""The keeper in a world of its own: any operation, any crash, any clock, in any order; and what must be true all the same.

Everything outside of the keeper's logic is in memory and decided by the test: files lose what was not synced, processes die between
any two writes, the wall clock jumps, third parties write, controllers vanish. A failing history is printed as a program; put it
below as a test of its own, so that it stays.
"""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any, Dict, Iterator, List, Optional, Set

from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keeper import boot, hold, restore, sweep
from keeper.core import Keeper
from keeper.errors import KeeperError
from tests.unit.keeper.bench import HOLDER
from tests.unit.keeper.memory import Crash
from tests.unit.keeper.test_crash import CONFIG, EDIT, World

RESOURCE = "miner-0"
FOREIGN = "/etc/miner/foreign"
crashes = st.none() | st.integers(1, 40)


class History(RuleBasedStateMachine):
    """One machine, one resource, any number of runs one after the other or at once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.triggers.asleep = True  # the sweep is an operation of its own here
        self.world.files.put(FOREIGN, b"somebody else's")
        self.original = self.config()
        self.runs = 0
        self.fences: List[Dict[str, Any]] = []  # whoever was ever told that it has the lease
        self.served: Set[str] = set()
        self.waiters: List[str] = []
        self.touched: Set[bytes] = set()  # what third parties wrote and nobody has settled
        self.dice = random.Random(0)  # noqa: S311 - chance, no secret

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - chance, no secret

    # What is looked at

    def config(self) -> Optional[bytes]:
        return self.world.files.tree("/etc/miner").get("config.json")

    def keeper(self) -> Keeper:
        self.world.call("status")  # makes a keeper that remembers nothing but what is on disk
        found = self.world.triggers.keeper
        assert isinstance(found, Keeper)
        return found

    def state(self) -> str:
        return str(self.keeper().lease(RESOURCE).state)

    @contextlib.contextmanager
    def dying(self, crash: Optional[int], *, power: bool) -> Iterator[None]:
        """Let the process, or the machine, die after so many writes of what happens inside."""
        self.world.crash_at = None if crash is None else self.world.steps + crash
        try:
            yield
        except Crash:
            if power:
                self.cut_power()
        finally:
            self.world.crash_at = None

    def cut_power(self) -> None:
        self.world.files.power_cut(self.dice)
        self.world.clock.identity = Boot("boot-1", self.world.clock.identity.init_start + 1)
        self.world.clock.now += 5.0
        with contextlib.suppress(KeeperError):
            boot.boot(self.keeper())

    # What runs do

    def _request(self, number: int) -> Dict[str, Any]:
        who = {**HOLDER, "pid": number}
        return {"resource": RESOURCE, "run_id": f"run-{number}", "nonce": f"{number:032x}", "ttl": 60, "holder": who}

    def _given(self, number: int, answer: Dict[str, Any]) -> None:
        """A lease was given: the machine is clean, and nobody waited longer."""
        run_id = f"run-{number}"
        assert not answer["already"] or run_id in self.served
        self.served.add(run_id)
        fence = {"resource": RESOURCE, "run_id": run_id, "nonce": f"{number:032x}", "token": answer["token"]}
        if fence not in self.fences:
            self.fences.append(fence)
            assert self.config() == self.original, "I4: a machine was lent that is not as its owner left it"
            assert all(fence["token"] > old["token"] for old in self.fences[:-1]), "a token was given twice"
        if run_id in self.waiters:
            self.waiters.remove(run_id)

    @rule(crash=crashes, power=st.booleans(), queue=st.booleans())
    def acquire(self, crash: Optional[int], power: bool, queue: bool) -> None:
        self.runs += 1
        number = self.runs
        with self.dying(crash, power=power):
            answer = self.world.call("acquire", **self._request(number), queue=queue)
            if answer["code"] == 0:
                self._given(number, answer)
            elif queue and (answer.get("busy") or {}).get("position"):
                self.waiters.append(f"run-{number}")

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def ask_again(self, data: Any) -> None:
        run_id = data.draw(st.sampled_from(self.waiters))
        number = int(run_id.rpartition("-")[2])
        answer = self.world.call("acquire", **self._request(number), queue=True)
        if answer["code"] == 0:
            self._given(number, answer)

    @precondition(lambda self: self.fences)
    @rule(
        data=st.data(), crash=crashes, power=st.booleans(), what=st.sampled_from(["edit", "content", "service", "command", "tree"])
    )
    def change(self, data: Any, crash: Optional[int], power: bool, what: str) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        live = self._live(fence)
        before = self.config()
        calls: Dict[str, Any] = {
            "edit": ("file", {"path": CONFIG, "edit": EDIT, "canonical": ["pools"]}),
            "content": ("file", {"path": CONFIG, "content": "ours", "canonical": ["pools"]}),
            "service": ("service", {"unit": "xmrig.service", "state": "stopped", "enabled": False}),
            "command": ("command", {"argv": ["on"], "undo": {"argv": ["off"]}}),
            "tree": ("tree", {"path": "/etc/room"}),
        }
        verb, request = calls[what]
        with self.dying(crash, power=power):
            looked = self.world.call("snapshot", fence=fence, probes={"c": {}}, proof={"deadline": 0})
            if live and looked["code"] != 0 and "taken twice" not in looked["error"]["message"]:
                return  # as a run does: without a look from before nothing is changed
            answer = self.world.call(verb, fence=fence, item=f"{what}-{self.world.steps}", group=what, **request)
            if not live:
                assert answer["code"] != 0, "I1: somebody without the lease changed something"
        if not live:
            assert self.config() == before, "I1: somebody without the lease changed something"

    def _live(self, fence: Dict[str, Any]) -> bool:
        return self.world.call("renew", fence=fence)["code"] == 0

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), crash=crashes, power=st.booleans())
    def recover(self, data: Any, crash: Optional[int], power: bool) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        with self.dying(crash, power=power):
            self.world.call("recover", resource=RESOURCE, run_id=fence["run_id"], nonce=fence["nonce"])

    @precondition(lambda self: self.fences)
    @rule(data=st.data())
    def hold_and_lose_it(self, data: Any) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        with contextlib.suppress(KeeperError):
            hold.begin(self.keeper(), {"fence": fence}).cut()

    # What happens by itself

    @rule(seconds=st.sampled_from([0.5, 5.0, 11.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule(days=st.sampled_from([-20.0, 20.0]))
    def the_wall_clock_jumps(self, days: float) -> None:
        self.world.clock.wall_offset += days * 86400

    @rule(crash=crashes, power=st.booleans())
    def the_sweep_looks(self, crash: Optional[int], power: bool) -> None:
        with self.dying(crash, power=power):
            if sweep.sweep(self.keeper(), seconds=0.0):
                sweep.restore_due(self.keeper())

    @rule()
    def the_power_is_cut(self) -> None:
        self.cut_power()

    @rule(text=st.sampled_from([b'{"pools": "a third party\'s"}', b"not even JSON"]))
    def a_third_party_writes(self, text: bytes) -> None:
        """At rest that is the owner; while it is lent or on its way back, a person may have to settle it."""
        guarded, rest = self._guarded(), self._at_rest()
        self.world.files.put(CONFIG, text, 0o600)
        if not rest:
            self.touched.add(text)
        if not guarded:
            self.original = text

    @precondition(lambda self: self.state() == "unproven")
    @rule(keep=st.sampled_from(["original", "current"]))
    def a_person_settles(self, keep: str) -> None:
        status = self.world.call("status")["leases"][0]
        self.world.call("settle", resource=RESOURCE, item="proof", keep="current", reason="a test")
        for item in status["items"]:
            if item["state"] == "conflict" and item["kind"] == "file":
                done = self.world.call("settle", resource=RESOURCE, item=item["item"], keep=keep, reason="a test")
                if keep == "current" and done["code"] in (0, 4):
                    self.original = self.config()

    @rule(full=st.booleans())
    def the_disk_fills_up(self, full: bool) -> None:
        self.world.files.full = full

    def _guarded(self) -> bool:
        return any(
            item.kind == "file" and item.open and item.intent["path"] == CONFIG
            for run in self.keeper().store.open_runs(RESOURCE)
            if not restore.untouched(run)
            for item in run.items()
        )

    def _at_rest(self) -> bool:
        keeper = self.keeper()
        return keeper.lease(RESOURCE).state == "free" and not restore.left_open(keeper, RESOURCE)

    # What is always true

    @invariant()
    def at_most_one_fence_opens_anything(self) -> None:
        keeper = self.keeper()
        opened = 0
        for fence in self.fences:
            with contextlib.suppress(KeeperError), keeper.store.host_lock():
                from keeper.core import fence_of  # noqa: PLC0415

                keeper.check_fence(fence_of({"fence": fence}))
                opened += 1
        assert opened <= 1, "I1: two runs may write"

    @invariant()
    def at_rest_it_is_as_it_was(self) -> None:
        if self._at_rest():
            assert self.config() == self.original, "I2: the machine is free and not as its owner left it"

    @invariant()
    def the_original_is_somewhere(self) -> None:
        found = self.world.files.tree("/etc/miner")
        copies = [data for name, data in found.items() if name == "config.json" or name.startswith(".config.json.bk-")]
        assert self.original is None or self.original in copies, "I3: the original is gone"

    @invariant()
    def what_is_foreign_is_untouched(self) -> None:
        assert self.world.files.tree("/etc/miner")["foreign"] == b"somebody else's", "I6: something foreign was touched"

    def teardown(self) -> None:
        """Let time pass with nobody there: everything comes back, or waits for a person with both versions kept."""
        self.world.files.full = False
        for _turn in range(12):
            self.world.clock.now += 700.0
            if sweep.sweep(self.keeper(), seconds=0.0):
                sweep.restore_due(self.keeper())
        state = self.state()
        if state == "free":
            self.at_rest_it_is_as_it_was()
            keys = [name for name in self.world.files.tree("/var/lib/benchkeeper") if name.endswith("/key")]
            assert keys == [], "a key is left for ever, and the sweep with it"
            before = self.world.files.tree("/etc")
            answer = self.world.call("recover", resource=RESOURCE)
            assert answer["code"] == 0, "I5: recovering what is back is no error"
            assert self.world.files.tree("/etc") == before, "I5: recovering what is back changed something"
        else:
            assert state == "unproven", f"it stays {state}"
            assert self.touched, f"I2: it waits for a person though nobody else touched it: {json.dumps(self.reason())}"
            self.the_original_is_somewhere()

    def reason(self) -> Any:
        return self.world.call("status")["leases"]


TestHistories = History.TestCase
TestHistories.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    print_blob=True,
)
