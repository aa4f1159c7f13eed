"""Each test has runs of its own, and ends with nothing of them left and a stranger's sandbox that runs, by its own account."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine
from ansible_collections.benchkeeper.core.plugins.module_utils._owned_engine import PATIENCE

from benchkeeper import engine as engines
from benchkeeper import owned
from benchkeeper.paths import Paths
from tests.e2e.owned.engine_rig import Images, Rig, Sandbox, another_checkout, forget_images, make_images, sweep_planted

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 180.0  # seconds that all of it may take, once images are there


@pytest.fixture(scope="package")
def client() -> Engine:
    return Engine(owned.socket(), timeout=PATIENCE)


@pytest.fixture(scope="package")
def made(client: Engine) -> Iterator[Images]:
    """The images; what a killed session left is removed first."""
    engine = engines.ensure(install=True)
    sweep_planted(client)
    forget_images(client)
    yield make_images(engine, client)
    forget_images(client)


@pytest.fixture(scope="package")
def clock(request: pytest.FixtureRequest, made: Images) -> Iterator[list[tuple[str, float]]]:
    """How long each test took. All of them together are bounded: a cleanup that waits for something is one that hangs."""
    spent = list[tuple[str, float]]()
    yield spent
    whole = sum(seconds for _name, seconds in spent)  # other tests may come before this ends
    lines = [f"{seconds:6.1f} s  {name}" for name, seconds in sorted(spent, key=lambda one: -one[1])]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *lines, f"{whole:6.1f} s  all of them, of {LIMIT:.0f}", sep="\n")
    assert whole < LIMIT


@pytest.fixture(scope="package")
def sandbox(
    client: Engine, made: Images, clock: list[tuple[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    """A stranger's environment with a running game, under labels and leases of its own."""
    home = tmp_path_factory.mktemp("stranger")
    (home / "checkout").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        one = Sandbox(client, made, Paths(home / "checkout"), short_directory())
        patch.undo()
        yield one
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        one.close()


@pytest.fixture(scope="package")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return another_checkout(tmp_path_factory.mktemp("ours") / "checkout")


def short_directory() -> Path:
    """A directory whose path leaves room for a socket's name below a state directory."""
    return Path(tempfile.mkdtemp(prefix="bk-"))


@pytest.fixture(autouse=True)
def timed(request: pytest.FixtureRequest, clock: list[tuple[str, float]]) -> Iterator[None]:
    begun = time.monotonic()
    yield
    clock.append((str(request.node.name), time.monotonic() - begun))


@pytest.fixture
def rig(sandbox: Sandbox, checkout: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    place = short_directory()
    # This user's own runs are not looked at, whatever a test sweeps.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(place))
    one = Rig(sandbox.rig.engine, sandbox.rig.images, checkout, place)
    try:
        yield one
    finally:
        one.close()
        assert sandbox.view() == ["running"], "by its reconciler's own account"
