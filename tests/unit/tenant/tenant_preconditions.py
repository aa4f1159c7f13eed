"""What a case of the recording needs beforehand, and which cases cannot be played in this process, with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenant_memory import activity

from benchkeeper.conform import recording

if TYPE_CHECKING:
    from tenant_bench import Bench, Running

ROOT = Path(__file__).resolve().parents[3]
RECORDING = ROOT / "tests" / "golden" / "tenant" / "real-0af4012f.jsonl"
CASES = recording.load(RECORDING)

EDGE = "the answer is nginx's own, or its header table is what is tested: the harness plays it against the real edge"
SQL = "the tables and migration names of the recorded program are its own; ours are others"
DOTENV = "the recorded program looks for .env beside its own source's module file; the builtin reads none"

# Cases that are not played here, and why.
NOT_PLAYED: dict[int, str] = {
    **{case.seq: EDGE for case in CASES if case.group == "edge"},
    221: EDGE,
    714: SQL,
    755: DOTENV,
}
# Later cases depend on these, too, although they are not marked: 504 shows that 501 used the token, 587 lists what 403 made.
ALSO_NEEDED = frozenset({403, 501})
# What the recorded server sends along with a start, and we do not: its own script and that script's checksum.
OURS = frozenset({"MOLECULE_GH_WRAPPER_B64", "MOLECULE_GH_WRAPPER_SHA"})

PROVISION = ("POST", "/cp/workspaces/provision")
SIX = "66666666-6666-4666-8666-666666666666"
SEVEN = "66666666-6666-4666-8666-666666666667"
NO_ROUTE = 9099  # the port of the recording where nothing listens


@dataclass
class Stage:
    """What a precondition may turn: surroundings and the running tenant."""

    bench: Bench
    now: Running
    started: int = 0  # scripted starts that gave an instance

    def member(self, cookie: str, **parts: Any) -> None:
        self.bench.plane.script("GET", "/cp/auth/tenant-member", when={"Cookie": cookie}, **parts)

    def starts(self) -> None:
        """Let the next start give an instance; its number counts what the recorder scripted so far."""
        self.started += 1
        body = {"instance_id": f"mol-ws-{self.started}", "state": "running"}
        self.bench.plane.script(*PROVISION, status=201, body=body)

    def provision(self, **parts: Any) -> None:
        self.bench.plane.script(*PROVISION, **parts)


Before = Callable[[Stage], Awaitable[None] | None]


def _four_rows(stage: Stage) -> None:
    start = datetime.now(UTC) - timedelta(minutes=10)
    extra: dict[int, dict[str, Any]] = {
        2: {"activity_type": "task_update"},
        3: {"source_id": "33333333-3333-4333-8333-333333333333"},
    }
    stage.now.store.lines += [activity(n, SIX, start + timedelta(minutes=n), **extra.get(n, {})) for n in range(1, 5)]


def _many_rows(stage: Stage) -> None:
    start = datetime.now(UTC) - timedelta(days=1)
    stage.now.store.lines += [activity(1000 + n, SEVEN, start + timedelta(seconds=n)) for n in range(620)]


def _members(stage: Stage) -> None:
    # The last one fits every cookie.
    stage.member("session=good", body={"member": True, "user_id": "u1"})
    stage.member("session=nouser", body={"member": True, "user_id": ""})
    stage.member("session=notmember", body={"member": False, "user_id": "u2"})
    stage.member("session=", status=401, body={"error": "no session"})


def _turn(seconds: float) -> Before:
    def turn(stage: Stage) -> None:
        stage.bench.clock.now += seconds

    return turn


def _scripted(method: str, path: str, **parts: Any) -> Before:
    return lambda stage: stage.bench.plane.script(method, path, **parts)


def _status(**parts: Any) -> Before:
    return _scripted("GET", "/cp/workspaces/:id/status", **parts)


def _store(*, down: bool) -> Before:
    def turn(stage: Stage) -> None:
        stage.now.store.down = down

    return turn


def _cache(*, down: bool) -> Before:
    def turn(stage: Stage) -> None:
        stage.now.cache.down = down

    return turn


def _both(*steps: Before) -> Before:
    async def all_of_them(stage: Stage) -> None:
        for step in steps:
            done = step(stage)
            if done is not None:
                await done

    return all_of_them


PLANE_DOWN: Before = lambda stage: stage.bench.plane.down()  # noqa: E731
PLANE_UP: Before = lambda stage: stage.bench.plane.up()  # noqa: E731
CANVAS_DOWN: Before = lambda stage: stage.bench.canvas.down()  # noqa: E731
CANVAS_UP: Before = lambda stage: stage.bench.canvas.up()  # noqa: E731

# What the notes of the recording say, arranged before the case.
BEFORE: dict[int, Before] = {
    240: _scripted("GET", "/cp/auth/err", status=500, body={"error": "upstream"}),
    241: _scripted("GET", "/cp/auth/hangup", fault="hangup"),
    242: _scripted("GET", "/cp/auth/garbage", fault="garbage"),
    243: _scripted("GET", "/cp/auth/cors", headers={"Access-Control-Allow-Origin": "https://app.example"}, body={}),
    244: PLANE_DOWN,
    249: PLANE_UP,
    272: CANVAS_DOWN,
    276: CANVAS_UP,
    304: CANVAS_UP,
    524: _four_rows,
    536: _many_rows,
    542: Stage.starts,
    544: lambda stage: stage.provision(status=200, body={"instance_id": "mol-ws-x", "state": "running"}),
    546: lambda stage: stage.provision(status=201, body={}),
    548: lambda stage: stage.provision(status=201, body="<html></html>"),
    550: lambda stage: stage.provision(status=500, body={"error": "no capacity"}),
    552: lambda stage: stage.provision(status=500, body="<html></html>"),
    554: lambda stage: stage.provision(fault="hangup"),
    556: PLANE_DOWN,
    558: _both(PLANE_UP, Stage.starts),
    559: Stage.starts,
    562: _scripted("GET", "/cp/admin/workspaces/:id/console", body={"output": "boot ok"}),
    564: Stage.starts,
    569: Stage.starts,
    574: _status(body={"state": "running"}),
    575: _status(body={"state": "terminated"}),
    576: lambda stage: stage.bench.plane.unscript(),
    630: _members,
    644: _turn(6),
    645: PLANE_DOWN,
    690: _both(PLANE_UP, _members, _turn(31)),
    691: _cache(down=True),
    696: _both(_cache(down=False), _store(down=True)),
}
