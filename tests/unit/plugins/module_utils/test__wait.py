from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine
from ansible_collections.benchkeeper.core.plugins.module_utils._wait import (
    Death,
    Listener,
    Mourner,
    Surroundings,
    WaitError,
    advice,
    group,
    parse_signal,
    wait_for_signals,
    wait_group,
)

from tests.unit.plugins.module_utils import fake_servers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROBES: dict[str, Any] = {
    "a": {"kind": "disk", "path": "/"},
    "b": {"kind": "http", "url": "x", "timeout": 60},
    "c": {"kind": "disk", "path": "/"},
}


def signal(name: str = "s", probe: str = "a", op: str = "eq", value: Any = 1, **more: Any) -> dict[str, Any]:
    return {"name": name, "all": [{"probe": probe, "path": "n", "op": op, "value": value}], **more}


class World:
    """A world in which looking and pausing take time that nobody waits for."""

    def __init__(self, values: Callable[[float, str], Any], look: float = 0.01) -> None:
        self.now = 1000.0
        self.values = values
        self.look = look
        self.taken: list[Mapping[str, Any]] = []
        self.pauses: list[float] = []
        self.found: Sequence[Death] = ()

    def take(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        self.taken.append(wanted)
        self.now += self.look
        document: dict[str, Any] = {"observed": {}, "errors": {}}
        for name in wanted:
            value = self.values(self.now - 1000, name)
            if isinstance(value, str) and value.startswith("error"):
                document["errors"][name] = value
            else:
                document["observed"][name] = {"n": value}
        return document

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += max(seconds, 0.001)
        return False

    def run(self, *signals: dict[str, Any]) -> list[dict[str, Any]]:
        waiting = [parse_signal(one, PROBES, None) for one in signals]
        world = Surroundings(
            self.take, self.pause, lambda watched: [d for d in self.found if d.service in watched], lambda: self.now, lambda: 0.5
        )
        wait_group(waiting, PROBES, world)
        return [one.result or {} for one in waiting]


def test_a_signal_that_is_there_needs_one_look() -> None:
    world = World(lambda _now, _name: 1)
    (result,) = world.run(signal())
    assert result == {"name": "s", "ok": True, "state": "yes", "seconds": 0.01, "why": "", "samples": 1}
    assert world.pauses == []


def test_a_signal_that_comes_is_seen_soon() -> None:
    (result,) = World(lambda now, _name: int(now > 3)).run(signal(deadline=60))
    assert result["ok"]
    assert 3 <= result["seconds"] < 3.7


def test_a_deadline_ends_with_the_last_reason() -> None:
    (result,) = World(lambda *_: 0).run(signal(deadline=5, reason="not ready"))
    assert (result["ok"], result["state"]) == (False, "no")
    assert 5 <= result["seconds"] < 5.6
    assert result["why"] == "not ready: not within 5 s: a: n should be eq 1, is 0"


def test_a_deadline_of_zero_looks_once() -> None:
    (result,) = World(lambda *_: 0).run(signal(deadline=0))
    assert result["samples"] == 1
    assert result["why"] == "a: n should be eq 1, is 0"


def test_could_not_ask_is_not_no() -> None:
    (result,) = World(lambda *_: "error: refused").run(signal(deadline=1, op="absent"))
    assert result["state"] == "unknown"
    assert "could not ask" in result["why"]


def test_each_signal_has_its_own_deadline_and_end() -> None:
    early, late, never = World(lambda now, _name: int(now > 4)).run(
        signal("early", deadline=1), signal("late", deadline=9), signal("never", deadline=6, value=7)
    )
    assert (early["ok"], late["ok"], never["ok"]) == (False, True, False)
    assert early["seconds"] < 2
    assert never["seconds"] >= 6


def test_settling_counts_looks_in_a_row() -> None:
    flips = iter([1, 0, 1, 1, 1, 1])
    (result,) = World(lambda *_: next(flips)).run(signal(settle=3))
    assert (result["ok"], result["samples"]) == (True, 5)


def test_rising_compares_with_this_wait() -> None:
    counts = iter([9, 9, 0, 2])
    (result,) = World(lambda *_: next(counts)).run(signal(op="rising"))
    assert (result["ok"], result["samples"]) == (True, 4)


def test_only_what_is_still_waited_for_is_looked_at() -> None:
    world = World(lambda now, name: 1 if name == "a" else int(now > 2))
    world.run({"name": "both", "all": [*signal("x", "a")["all"], *signal("x", "b")["all"]]}, signal("one", "a"))
    assert {*world.taken[0]} == {"a", "b"}
    world = World(lambda now, name: 1 if name == "a" else int(now > 2))
    world.run(signal("one", "a"), signal("two", "b"))
    assert {*world.taken[-1]} == {"b"}


def test_looks_take_at_most_half_of_the_time() -> None:
    world = World(lambda *_: 0, look=2.0)
    world.run(signal(deadline=60))
    assert len(world.taken) <= 17


def test_a_probe_does_not_outlast_the_deadline() -> None:
    world = World(lambda *_: 0)
    world.run(signal("s", "b", deadline=5))
    assert world.taken[0]["b"]["timeout"] == 60
    assert world.taken[-1]["b"]["timeout"] == 1.0
    assert all(taken["b"]["timeout"] <= 5 for taken in world.taken[1:])


def test_the_death_of_a_watched_service_ends_the_wait() -> None:
    world = World(lambda *_: 0)
    world.found = [Death("tor", "ended with code 1", "last words")]
    died, other = world.run(signal("watching", watch=["tor"], deadline=60), signal("other", deadline=2))
    assert (died["ok"], died["died"], died["logs"], died["samples"]) == (False, "tor", "last words", 1)
    assert died["why"] == "tor ended with code 1; waiting for: a: n should be eq 1, is 0"
    assert other["why"].startswith("not within 2 s")


def test_a_signal_that_is_there_outlives_a_death() -> None:
    world = World(lambda *_: 1)
    world.found = [Death("tor", "ended with code 1")]
    assert world.run(signal(watch=["tor"]))[0]["ok"]


def test_signals_that_share_a_probe_go_together() -> None:
    waiting = [parse_signal(one, PROBES, None) for one in (signal("1", "a"), signal("2", "b"), signal("3", "c"))]
    waiting.append(parse_signal({"name": "4", "all": [*signal("", "a")["all"], *signal("", "c")["all"]]}, PROBES, None))
    assert sorted(sorted(one.name for one in members) for members in group(waiting)) == [["1", "3", "4"], ["2"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": "x"},
        {"name": "x", "all": []},
        signal(probe="nope"),
        signal(op="nearly"),
        signal(deadline="soon"),
        {"name": "x", "all": ["text"]},
    ],
)
def test_a_wrong_signal_is_refused_before_the_wait(wrong: dict[str, Any]) -> None:
    with pytest.raises(WaitError):
        wait_for_signals(PROBES, [wrong], {})


def listed(state: str, identity: str = "c1") -> dict[str, Any]:
    return {"Id": identity, "State": state, "Labels": {"com.docker.compose.service": "tor"}}


def test_a_container_that_is_replaced_is_not_mourned(tmp_path: Path) -> None:
    engine = fake_servers.FakeEngine(
        {
            "GET /containers/json": [listed("exited")],
            "GET /containers/c1/json": {"State": {"ExitCode": 7}},
            "GET /containers/c1/logs": b"token=hunter22\n",
        }
    )
    now = [0.0]
    with engine.on(tmp_path) as socket:
        mourner = Mourner(Engine(socket), "p", lambda text: text.replace("hunter22", "***"), lambda: now[0])
        assert mourner.deaths({"tor"}) == []
        now[0] = 0.5
        engine.table["GET /containers/json"] = [listed("created", "c2")]
        assert mourner.deaths({"tor"}) == []
        engine.table["GET /containers/json"] = [listed("exited")]
        now[0] = 2.0
        assert mourner.deaths({"tor"}) == [Death("tor", "ended with code 7", "token=***\n")]
        assert mourner.deaths({"other"}) == []


def test_a_service_that_keeps_dying_is_mourned(tmp_path: Path) -> None:
    engine = fake_servers.FakeEngine({"GET /containers/json": [listed("restarting")], "GET /containers/c1/logs": b""})
    with engine.on(tmp_path) as socket:
        mourner = Mourner(Engine(socket), "p", str)
        for count, dead in ((5, False), (6, False), (7, False), (8, True)):
            engine.table["GET /containers/c1/json"] = {"RestartCount": count}
            assert bool(mourner.deaths({"tor"})) is dead


def test_no_engine_mourns_nobody(tmp_path: Path) -> None:
    assert Mourner(Engine(str(tmp_path / "none")), "p", str).deaths({"tor"}) == []


def test_events_wake_and_a_lost_stream_is_taken_up_again(tmp_path: Path) -> None:
    engine = fake_servers.FakeEngine(events=[[{"Action": "exec_create: x"}], [{"Action": "die"}]])
    with engine.on(tmp_path) as socket:
        listener = Listener(Engine(socket), "p")
        poke = listener.poke_of()
        listener.start()
        while sum("/events" in call for call in engine.calls) < 2:
            assert poke.wait(5)
            poke.clear()
        listener.stop()


def test_what_cannot_come_ends_the_wait_for_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "n.json"
    file.write_text('{"n": 0}', "utf-8")
    probes = {name: {"kind": "json", "path": str(file), "show": ["n"]} for name in ("now", "later")}
    started = time.monotonic()
    now, later = wait_for_signals(
        probes,
        [
            {"name": name, "deadline": deadline, "all": [{"probe": name, "path": "values.n", "op": "eq", "value": 1}]}
            for name, deadline in (("now", 0), ("later", 60))
        ],
        {"engine_socket": str(tmp_path / "none")},
    )
    assert time.monotonic() - started < 10
    assert (now["ok"], "since" in now) == (False, False)
    assert (later["ok"], later["since"]) == (False, "now")
    assert later["why"].startswith("not waited for without now: ")


def test_a_real_wait_on_files_and_without_an_engine(tmp_path: Path) -> None:
    file = tmp_path / "n.json"
    file.write_text('{"n": 0}', "utf-8")
    threading.Timer(0.3, lambda: file.write_text('{"n": 1}', "utf-8")).start()
    probes = {"n": {"kind": "json", "path": str(file), "show": ["n"]}, "slow": {"kind": "command", "argv": ["sleep", "1"]}}
    started = time.monotonic()
    there, slow = wait_for_signals(
        probes,
        [
            {"name": "there", "deadline": 5, "all": [{"probe": "n", "path": "values.n", "op": "rising"}]},
            {"name": "slow", "deadline": 5, "all": [{"probe": "slow", "path": "rc", "op": "eq", "value": 0}]},
        ],
        {"engine_socket": str(tmp_path / "none")},
        project="p",
    )
    assert there["ok"]
    assert there["seconds"] < 1  # the slow probe holds nobody up
    assert slow["ok"]
    assert time.monotonic() - started < 4
    assert json.dumps([there, slow])


HINT = {"probe": "c", "text": "sudo mv -- /d/{} /d/x", "otherwise": "by hand"}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["x.1 0600 file", "x.2 0600 file"], "sudo mv -- /d/x.1 /d/x"),
        (["x.$(id) y 0600 file"], "sudo mv -- /d/'x.$(id) y' /d/x"),
        ([], "by hand"),
    ],
)
def test_what_a_person_can_do_names_what_is_there(entries: list[str], said: str) -> None:
    assert advice(HINT, {"invariant": {"c": {"entries": entries}}}) == said


def test_a_hint_is_told_only_when_the_signal_is_not_there() -> None:
    (missing,) = World(lambda _at, _name: 2).run(signal(deadline=0, reason="bad", hint=HINT))
    assert missing["why"].startswith("bad: ")
    assert missing["why"].endswith("; by hand")
    (there,) = World(lambda _at, _name: 1).run(signal(deadline=0, hint=HINT))
    assert there["why"] == ""
    (unread,) = World(lambda _at, name: "error" if name == "c" else 2).run(signal(deadline=0, hint=HINT))
    assert "by hand" not in unread["why"]
    with pytest.raises(WaitError, match="no probe z"):
        parse_signal(signal(hint={**HINT, "probe": "z"}), PROBES, None)
