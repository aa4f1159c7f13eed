"""Every replay of the tenant is green, turns red on each of its breaks, and every break has a replay."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from typing import TYPE_CHECKING

import pytest
from stub.settings import Defect as StubDefect
from tenant.behaviour import ALL_DEFECTS, Behaviour, Defect, Regression
from tenant_harness import REPLAYS, Harness, Verdict, Wish, harness, play

from benchkeeper import replay_header
from benchkeeper.harness import edge

if TYPE_CHECKING:
    from pathlib import Path

TODAY = dt.datetime.now(dt.UTC).date()
PATHS = {path.stem: path for path in replay_header.replays(REPLAYS)}
HEADERS = {name: replay_header.read(path.read_text(encoding="utf-8"), path.name, TODAY) for name, path in PATHS.items()}
SWITCHES = {"tenant": {*Defect, *Regression}, "stub": set(StubDefect), "edge": set(edge.BREAKS)}
BREAKS = [(name, part, switch) for name, header in HEADERS.items() for part, given in header.breaks.items() for switch in given]
# What takes a real server to be shown: ./bench replays --prove does.
NOT_HERE = {"quiet-outage": "it takes the database away"}
AT_ONCE = 4  # replays side by side


def wish(name: str, **breaks: tuple[str, ...]) -> Wish:
    """Give the harness that a replay needs."""
    header = HEADERS[name]
    return Wish(own="gamma" if header.needs == "own-tenant" else "", admin=header.admin, breaks=breaks)


async def played(name: str, folder: Path, **breaks: tuple[str, ...]) -> Verdict:
    async with harness(folder, wish(name, **breaks)) as up:
        return await play(PATHS[name], up.environment, folder / "scratch")


def test_every_break_has_a_replay_and_every_replay_a_break() -> None:
    named = {part: {switch for _, one, switch in BREAKS if one == part} for part in SWITCHES}
    assert named == SWITCHES
    assert [name for name, header in HEADERS.items() if not any(header.breaks.values())] == []


def test_a_regression_is_asked_for_by_name_and_never_by_all() -> None:
    assert not {*Regression} & ALL_DEFECTS
    assert not {*Regression} & {*Defect}
    both = Behaviour.from_env({"TENANT_DEFECTS": "stale-build, open-peers"})
    assert (both.has(Regression.STALE_BUILD), both.has(Defect.OPEN_PEERS), both.has(Regression.GUARD_OFF)) == (True, True, False)
    assert Behaviour.from_env({"TENANT_DEFECTS": "all"}).mistakes == ALL_DEFECTS


async def together(up: Harness, folder: Path) -> dict[str, Verdict]:
    """Play all that may be played side by side."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Verdict:
        async with room:
            return await play(PATHS[name], up.environment, folder / secrets.token_hex(4))

    names = [name for name, header in HEADERS.items() if header.needs == "shared"]
    return dict(zip(names, await asyncio.gather(*(one(name) for name in names)), strict=True))


def test_all_are_green_side_by_side_and_again_and_leave_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with harness(tmp_path, Wish()) as up:
            before = up.names()
            for _ in range(2):
                verdicts = await together(up, tmp_path)
                assert {name: one.output for name, one in verdicts.items() if one.code} == {}
            assert up.names() == before
            wrong = [one.path for one in up.stub.journal.after(0) if one.unexpected or one.complaint]
            assert wrong == [], "the control plane was asked for what it does not know, or answered wrongly"

    asyncio.run(story())


@pytest.mark.parametrize("name", [name for name, header in HEADERS.items() if header.needs != "shared"])
def test_a_replay_with_a_tenant_of_its_own_is_green(name: str, tmp_path: Path) -> None:
    verdict = asyncio.run(played(name, tmp_path))
    assert verdict.code == (77 if name in NOT_HERE else 0), verdict.output


@pytest.mark.parametrize(("name", "part", "switch"), [one for one in BREAKS if one[0] not in NOT_HERE])
def test_a_break_turns_its_replay_red(name: str, part: str, switch: str, tmp_path: Path) -> None:
    verdict = asyncio.run(played(name, tmp_path, **{part: (switch,)}))
    assert verdict.code == 1, verdict.output
    assert "Traceback" not in verdict.output, verdict.output
    assert "RED" in verdict.output or "failed: " in verdict.output or "RedError" in verdict.output


@pytest.mark.parametrize("name", PATHS)
def test_what_a_replay_needs_and_is_not_given_is_said(name: str, tmp_path: Path) -> None:
    """No replay is green where nothing is."""
    verdict = asyncio.run(play(PATHS[name], {}, tmp_path / "scratch"))
    assert verdict.code != 0
    if PATHS[name].suffix == ".py" and not name.startswith("test_"):
        assert (verdict.code, "skipped: " in verdict.output.splitlines()[-1]) == (77, True), verdict.output


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ('replay.check(False, "it does not hold"); raise SkipError("and that is missing")', 1),
        ('raise SkipError("that is missing")', 77),
        ('must(False, "it does not hold")', 1),
        ("raise ConnectionResetError", 2),
        ('replay.workspace(replay.tenants()[0], tier="none")', 2),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", 143),
        ("pass", 0),
    ],
)
def test_whatever_ends_a_replay_what_it_made_goes(ending: str, code: int, tmp_path: Path) -> None:
    script = tmp_path / "ending.py"
    lines = (
        "#!/usr/bin/env python3",
        "import os, signal, time",
        "from _harness import SkipError, must, run",
        "def play(replay):",
        "    replay.workspace(replay.tenants()[0])",
        f"    {ending}",
        "run(play)",
    )
    script.write_text("\n".join(lines), encoding="utf-8")
    script.chmod(0o755)

    async def story() -> None:
        async with harness(tmp_path, Wish()) as up:
            before = up.names()
            verdict = await play(script, {**up.environment, "PYTHONPATH": str(REPLAYS)}, tmp_path / "scratch")
            assert (verdict.code, up.names() == before) == (code, True), verdict.output

    asyncio.run(story())
