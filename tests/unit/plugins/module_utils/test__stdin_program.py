from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take
from ansible_collections.benchkeeper.core.plugins.module_utils._stdin_program import (
    NoAnswerError,
    build_stdin_program,
    needed_sources,
    read_answer,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_on_stdin_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("content", "utf-8")
    probes = {"f": {"kind": "file", "path": str(file)}, "e": {"kind": "compose", "project": "p"}, "s": {"kind": "sockets"}}
    (tmp_path / "key").write_bytes(b"k" * 32)
    here = take(probes, {"run_id": "r", "host": "h", "key": b"k" * 32})
    empty = tmp_path / "empty"
    empty.mkdir()
    params = {"probes": probes, "run_id": "r", "host": "h", "key_file": f"{tmp_path}/key"}
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=build_stdin_program("host_snapshot_info", params),
        capture_output=True,
        text=True,
        check=True,
        cwd=empty,
        env={"PATH": "/usr/bin:/bin"},
    )
    there = json.loads(done.stdout)["snapshot"]
    assert there["invariant"]["f"] == here["invariant"]["f"]
    assert there["errors"] == here["errors"]
    assert done.stderr == ""
    assert list(empty.iterdir()) == []


def test_a_program_has_what_it_needs_and_no_more() -> None:
    names = set(needed_sources("keeper_info"))
    assert {"modules.keeper_info", "module_utils._keeper_client", "module_utils._looking"} <= names
    assert "module_utils._snapshot" not in names


def test_an_answer_is_found_between_whatever_else_is_said() -> None:
    assert read_answer('{"lecture": 1}\nno end of line#m#{"ok": true}\n{}\nBye', "#m#") == {"ok": True}
    for output in ("", "{}", '#m#{"ok": tr', "#m#[]", "#m#", "#m#" + "[" * 100_000):
        with pytest.raises(NoAnswerError):
            read_answer(output, "#m#")
