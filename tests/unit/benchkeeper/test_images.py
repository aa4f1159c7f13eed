"""Images out of packages, with stand-ins for the two programs: what goes wrong in either is told, and hits nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper import images
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE = images.Suite("bookworm", ("git",), ["deb mirror bookworm main"])
# In a process of its own: what goes wrong there would end the tests.
ALONE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from benchkeeper import images
from benchkeeper.errors import UnfitError
engine, suite = SimpleNamespace(program=Path(sys.argv[1])), images.Suite("bookworm", (), ["deb mirror bookworm main"])
try:
    images.bootstrap(engine, "made:1", {}, suite, install=False)
except UnfitError as error:
    print("told:", error)
"""


class Programs:
    """A directory that is the whole PATH but for the shell's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"

    def write(self, name: str, body: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs(tmp_path)
    monkeypatch.setenv("PATH", made.path)
    return made


class Images:
    """The engine's images: what was given a name, what was taken away."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def get(self, name: str) -> Any:
        return SimpleNamespace(tag=lambda tag: self.done.append(f"{name} is {tag}"))

    def remove(self, name: str) -> None:
        self.done.append(f"{name} goes")


def bootstrap(docker: Path) -> list[str]:
    found = Images()
    engine: Any = SimpleNamespace(program=docker, client=SimpleNamespace(images=found))
    images.bootstrap(engine, "made:1", {"benchkeeper.owner": "o"}, SUITE, install=False)
    return found.done


def test_only_a_whole_archive_gets_the_name(programs: Programs, tmp_path: Path) -> None:
    programs.write("mmdebstrap", f'echo "$@" > {tmp_path}/asked; printf archive')
    docker = programs.write("docker", f'echo "$@" > {tmp_path}/imported; cat > {tmp_path}/taken')
    assert bootstrap(docker) == ["made:1-unproven is made:1", "made:1-unproven goes"]
    assert (tmp_path / "taken").read_text() == "archive"
    assert "--include=git" in (tmp_path / "asked").read_text()
    assert "LABEL benchkeeper.owner=o" in (tmp_path / "imported").read_text()


@pytest.mark.parametrize(
    ("mmdebstrap", "docker", "said"),
    [
        ("printf half; echo no mirror >&2; exit 5", "cat > /dev/null", "no mirror"),
        ("printf all", "echo no space >&2; exit 1", "no space"),
    ],
)
def test_half_of_one_is_told_and_gets_no_name(programs: Programs, mmdebstrap: str, docker: str, said: str) -> None:
    programs.write("mmdebstrap", mmdebstrap)
    with pytest.raises(UnfitError, match=said):
        bootstrap(programs.write("docker", docker))


def test_a_producer_that_hangs_its_group_up_does_not_hang_us_up(programs: Programs) -> None:
    programs.write("mmdebstrap", "sleep 0.3; kill -HUP 0; exit 1")
    docker = programs.write("docker", "echo no space >&2; exit 1")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(docker)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, "no space" in done.stdout) == (0, True), done


def eventually(look: Callable[[], object]) -> bool:
    end = time.monotonic() + 10
    while not look():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_an_interrupt_ends_the_producer_too(programs: Programs, tmp_path: Path) -> None:
    programs.write("mmdebstrap", f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 60")
    docker = programs.write("docker", "exec sleep 60")
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE, str(docker)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert eventually((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    os.killpg(process.pid, signal.SIGINT)
    process.wait(20)
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())
