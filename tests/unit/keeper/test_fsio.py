from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _fsio
from ansible_collections.benchkeeper.core.plugins.module_utils._fsio import Content

from tests.unit.keeper.bench import names

if TYPE_CHECKING:
    from pathlib import Path

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="by design: owners can be set by root alone")
ME = (os.geteuid(), os.getegid())


@pytest.mark.parametrize("path", ["", "/", "a", "a/b", "/a/", "/a//b", "/a/./b", "/a/../b", "/a\0b"])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(_fsio.FileError):
        _fsio.split(path)


def test_a_file_is_replaced_as_a_whole_with_mode_and_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / ".tmp").write_text("left by somebody who died")
    with _fsio.opened(_fsio.RealFiles(), str(tmp_path)) as directory:
        _fsio.replace(directory, "file", Content(b"new", 0o640, *ME, 1_500_000_000_000_000_000), ".tmp")
        found = directory.read("file", 100)
    assert (found.data, found.mode, found.mtime_ns) == (b"new", 0o640, 1_500_000_000_000_000_000)
    assert names(tmp_path) == ["file"]


def test_links_are_not_followed_as_file_or_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "way").symlink_to("real")
    (tmp_path / "real" / "link").symlink_to("file")
    if os.geteuid() == 0:
        os.chown(tmp_path / "way", 65534, 65534, follow_symlinks=False)
    with pytest.raises(_fsio.UnsafePathError):
        _fsio.RealFiles().open(str(tmp_path / "way"))
    with _fsio.opened(_fsio.RealFiles(), str(tmp_path / "real")) as directory:
        for act in (
            lambda: directory.read("link", 10),
            lambda: directory.write_at("link", 0, b"y"),
            lambda: directory.truncate("link", 0),
            lambda: directory.own("link", 0o600, *ME),
        ):
            with pytest.raises(_fsio.UnsafePathError):
                act()
        with pytest.raises(FileExistsError):
            directory.create("link", Content(b"y", 0o600, *ME))
    assert (tmp_path / "real" / "file").read_text() == "x"


@root_only
def test_a_link_that_only_root_can_have_made_is_a_way(tmp_path: Path) -> None:
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "srv").symlink_to("disk")
    assert _fsio.RealFiles().open(str(tmp_path / "srv" / "data")).path == str(tmp_path / "disk" / "data")
    tmp_path.chmod(0o777)
    with pytest.raises(_fsio.UnsafePathError):
        _fsio.RealFiles().open(str(tmp_path / "srv" / "data"))
    tmp_path.chmod(0o755)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(_fsio.UnsafePathError):
        _fsio.RealFiles().open(str(tmp_path / "loop"))


def test_what_is_no_regular_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 101)
    with _fsio.opened(_fsio.RealFiles(), str(tmp_path)) as directory:
        with pytest.raises(_fsio.FileError):
            directory.read("pipe", 10)
        with pytest.raises(_fsio.TooLargeError):
            directory.read("large", 100)
        with pytest.raises(FileNotFoundError):
            directory.read("none", 100)


def test_reserved_space_does_not_lengthen_a_file(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"line\n")
    with _fsio.opened(_fsio.RealFiles(), str(tmp_path)) as directory:
        directory.reserve("journal", 1024 * 1024)
        directory.write_at("journal", 5, b"more\n")
        directory.sync("journal")
        directory.sync()
    assert (tmp_path / "journal").read_bytes() == b"line\nmore\n"
