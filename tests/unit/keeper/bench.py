"""One machine in a directory, with a keeper and everything that it reaches the machine by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot

from keeper import sweep, verbs
from keeper.core import Keeper
from keeper.errors import UNFIT, KeeperError
from keeper.ports import FileLocks
from keeper.store import Store

NONCE = "0123456789abcdef0123456789abcdef"
HOLDER = {"controller_id": "c1", "host": "desk", "user": "ann", "pid": 42, "start_time": 1234}


class FakeClock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = 1_700_000_000.0
        self.identity = Boot("boot-1", 7)

    def wall(self) -> float:
        return self.now + self.wall_offset

    def boottime(self) -> float:
        return self.now

    def boot(self) -> Boot:
        return self.identity

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeUnits:
    """Runs a unit's program at once, in place; ``lost`` units never get to run."""

    def __init__(self) -> None:
        self.started: List[str] = []
        self.stopped: List[str] = []
        self.lose = False

    def start(self, unit: str, spec: str, timeout: float) -> None:
        self.started.append(unit)
        if not self.lose:
            code = "import sys; from keeper.unit_run import main; sys.exit(main(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", code, spec], check=True, cwd=Path(__file__).parents[3])

    def alive(self, unit: str) -> bool:
        return False

    def stop(self, resource: str) -> List[str]:
        self.stopped.append(resource)
        return []


class FakeServices:
    def __init__(self) -> None:
        self.units: Dict[str, Dict[str, Optional[str]]] = {
            "xmrig.service": {"load": "loaded", "active": "active", "enabled": "enabled"}
        }
        self.acts: List[str] = []

    def look(self, unit: str) -> Mapping[str, Optional[str]]:
        return dict(self.units.get(unit, {"load": "not-found", "active": "inactive", "enabled": None}))

    def act(self, verb: str, unit: str) -> None:
        self.acts.append(f"{verb} {unit}")
        change = {
            "start": ("active", "active"),
            "stop": ("active", "inactive"),
            "restart": ("active", "active"),
            "enable": ("enabled", "enabled"),
            "disable": ("enabled", "disabled"),
        }[verb]
        self.units[unit][change[0]] = change[1]


class FakeLooker:
    """Looks at files only: enough for a proof."""

    def take(self, probes: Mapping[str, Any], prints: Any, before: Any) -> Dict[str, Any]:
        document: Dict[str, Any] = {"host": prints.host, "kinds": {}, "invariant": {}, "observed": {}, "errors": {}}
        for name, spec in probes.items():
            path = Path(spec["path"])
            document["kinds"][name] = "file"
            exists = path.is_file()
            document["invariant"][name] = {"exists": exists, "text": path.read_text() if exists else None}
            document["observed"][name] = {"exists": exists}
        return document

    def redact(self, text: str, sources: Sequence[str]) -> str:
        for source in sources:
            for line in Path(source).read_text().splitlines():
                text = text.replace(line.partition("=")[2], "[redacted]")
        return text


def names(place: Path) -> List[str]:
    """Return what is in a directory, hidden files too."""
    return sorted(path.name for path in place.iterdir())


class FakeTriggers:
    """An init that is always awake: a restore that is set off is done at once, unless ``asleep``."""

    def __init__(self) -> None:
        self.keeper: Any = None
        self.asleep = False
        self.dead = False
        self.locks: List[str] = []
        self.stamps = 0

    def alive(self, since: float) -> str:
        if self.dead:
            raise KeeperError(UNFIT, "nothing was changed: the sweep of this machine's keeper did not look")
        return "the sweep of a test"

    def stamp(self) -> None:
        self.stamps += 1

    def start(self) -> None:
        if not self.asleep:
            sweep.restore_due(self.keeper)

    def restore(self, work: Callable[[], object]) -> None:
        work()

    def lock(self, resource: str, *, on: bool, wait: bool = True) -> None:
        self.locks.append(f"{'on' if on else 'off'} {resource}")


class FakeSessions:
    def __init__(self) -> None:
        self.time: Optional[float] = None

    def began(self) -> Optional[float]:
        return self.time


class NoEngine:
    def __call__(self) -> Any:
        raise AssertionError("no engine in this test")


class Bench:
    """One machine in a directory, with its keeper."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.units = FakeUnits()
        self.services = FakeServices()
        self.engine: Any = NoEngine()
        self.triggers = FakeTriggers()
        self.sessions = FakeSessions()
        self.state = root / "state"
        self.state.mkdir()
        self.keeper = self.restart()
        self.token = 0

    def adopt(self, root: Path, now: float) -> None:
        """Take up, in another process, the machine of a directory."""
        self.root, self.state = root, root / "state"
        self.clock, self.units, self.services = FakeClock(), FakeUnits(), FakeServices()
        self.clock.now = now
        self.engine, self.triggers, self.sessions = NoEngine(), FakeTriggers(), FakeSessions()
        self.restart()

    def restart(self) -> Keeper:
        """Return a keeper that remembers nothing but what is on disk."""
        store = Store(_fsio.RealFiles(), FileLocks(str(self.state), self.clock), str(self.state))
        self.keeper = Keeper(
            store,
            self.clock,
            self.units,
            self.services,
            FakeLooker(),
            lambda: self.engine,
            self.triggers,
            self.sessions,
        )
        self.triggers.keeper = self.keeper
        return self.keeper

    def call(self, verb: str, **request: Any) -> Dict[str, Any]:
        """Call a verb that must succeed."""
        code, answer = self.try_call(verb, **request)
        assert code == 0, answer
        return answer

    def try_call(self, verb: str, **request: Any) -> tuple[int, Dict[str, Any]]:
        return verbs.call(self.restart(), verb, request)

    def acquire(self, run_id: str = "run-1", nonce: str = NONCE, **more: Any) -> Dict[str, Any]:
        request = {"resource": "miner-0", "run_id": run_id, "nonce": nonce, "holder": HOLDER, "ttl": 60, **more}
        answer = self.call("acquire", **request)
        self.token = answer["token"]
        return answer

    def look(self) -> None:
        """Take the look from before, unless there is one."""
        self.try_call("snapshot", fence=self.fence, probes={}, proof={})

    @property
    def fence(self) -> Dict[str, Any]:
        return {"resource": "miner-0", "run_id": "run-1", "nonce": NONCE, "token": self.token}

    def guarded(self, verb: str, item: str, **request: Any) -> Dict[str, Any]:
        """Make a guarded call that must succeed, after a look from before: without one nothing can be proven."""
        self.look()
        return self.call(verb, fence=self.fence, item=item, **request)

    def lease(self) -> Any:
        return self.restart().store.lease("miner-0")
