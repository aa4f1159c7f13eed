"""What goes onto the machines: the stack's data resolved, and when a file is written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.benchkeeper.core.plugins.filter.baseline import baseline_of
from ansible_collections.benchkeeper.core.plugins.module_utils._provision import (
    FailedError,
    Provisioner,
    digest,
    must_write,
    touches,
)

STACK = Path(__file__).resolve().parents[3] / "stacks" / "pithead"
EMBEDDED = yaml.safe_load((STACK / "embedded.yml").read_text())
TAGS = {"base": "benchkeeper/pithead-base:1"}


def share(host: str, groups: list[str]) -> dict[str, Any]:
    return baseline_of(EMBEDDED, str(STACK / "embedded"), host, groups, TAGS)


def test_a_miner_gets_its_own_name() -> None:
    steps = share("miner-1", ["miners"])["steps"]
    (config,) = [step for step in steps if step.get("dest", "").endswith("config.json")]
    assert '"user": "miner-1"' in config["content"]
    assert "@{" not in config["content"]
    assert (config["owner"], config["mode"], config["once"]) == ("ops", "0600", True)


def test_the_bench_gets_image_and_checkout() -> None:
    bench = share("bench-0", ["benches"])
    assert bench["images"] == [{"tag": "benchkeeper/pithead-base:1", "as": "pithead-runtime:trixie"}]
    assert bench["repositories"][0]["dest"] == "/srv/code/pithead"


def test_the_pool_gets_the_stacks_own_stratum() -> None:
    files = {step["dest"] for step in share("pool-0", ["pools"])["steps"] if step["kind"] == "file"}
    assert {"/opt/pool/common/stratum.py", "/opt/pool/pool/__main__.py"} <= files


def test_other_machines_get_nothing() -> None:
    assert share("elsewhere", ["others"]) == {"images": [], "repositories": [], "steps": []}


def test_an_unknown_image_is_said() -> None:
    with pytest.raises(AnsibleFilterError, match="no image 'base'"):
        baseline_of(EMBEDDED, str(STACK / "embedded"), "bench-0", ["benches"], {})


@pytest.mark.parametrize(
    ("once", "on_disk", "recorded", "expected"),
    [
        (False, None, None, True),
        (False, b"text", None, False),
        (False, b"other", None, True),
        (True, None, digest("text"), True),
        (True, b"completed by its program", digest("text"), False),
        (True, b"completed by its program", digest("older"), True),
        (True, b"text", None, True),
    ],
)
def test_when_a_file_is_written(once: bool, on_disk: bytes | None, recorded: str | None, expected: bool) -> None:
    assert must_write({"content": "text", "once": once}, on_disk, recorded) is expected


def test_a_unit_restarts_for_files_below_its_paths() -> None:
    assert touches(["/opt/pool"], ["/opt/pool/common/http.py"])
    assert not touches(["/opt/pool"], ["/opt/poolside"])


def test_steps_are_done_once_and_failures_name_the_step(tmp_path: Path) -> None:
    import getpass  # noqa: PLC0415
    import grp  # noqa: PLC0415
    import os  # noqa: PLC0415

    mine = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
    steps = [
        {"kind": "dir", "path": str(tmp_path / "a/b"), **mine},
        {"kind": "file", "dest": str(tmp_path / "a/b/c"), "content": "x\n", "mode": "0600", **mine},
        {"kind": "link", "path": str(tmp_path / "l"), "target": "a"},
        {"kind": "command", "argv": ["touch", str(tmp_path / "made")], "creates": str(tmp_path / "made")},
        {"kind": "wait", "argv": ["cat", str(tmp_path / "a/b/c")], "contains": "x", "timeout": 5},
    ]
    first = Provisioner("t", dry_run=False, records=tmp_path / "records")
    first.walk(steps)
    assert len(first.did) == 4
    second = Provisioner("t", dry_run=False, records=tmp_path / "records")
    second.walk(steps)
    assert second.did == []
    with pytest.raises(FailedError, match="false ended with 1"):
        second.walk([{"kind": "command", "argv": ["false"]}])
