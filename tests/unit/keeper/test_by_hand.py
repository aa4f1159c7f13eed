"""Records that the keeper cannot trust: nothing is done, and a person is told where to look."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _journal, _lease

from keeper import by_hand, human
from tests.unit.keeper.bench import NONCE, Bench

JOURNAL = Path("runs", "run-1", "miner-0", "journal.jsonl")


@pytest.fixture
def lent(bench: Bench, me: str) -> Bench:
    bench.acquire()
    path = Path(bench.root, "file")
    path.write_text("theirs")
    bench.guarded("file", "mine", path=str(path), content="ours")
    bench.guarded("file", "new", path=str(bench.root / "it's new"), content="ours")
    bench.guarded("service", "off", unit="xmrig.service", state="stopped")
    bench.guarded("command", "on", argv=["true"], user=me, undo={"argv": ["rm", "-f", "a b"], "cwd": "/srv", "user": me})
    return bench


def of_version(bench: Bench, version: int) -> None:
    """Write the journal as another version of the keeper would have."""
    records = [json.loads(line) for line in (bench.state / JOURNAL).read_bytes().splitlines()]
    (bench.state / JOURNAL).write_bytes(b"".join(_journal.encode({**one, "v": version}) for one in records))


def damaged(bench: Bench) -> None:
    lines = (bench.state / JOURNAL).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"seq":2', b'"seq":9')
    (bench.state / JOURNAL).write_bytes(b"".join(lines))


def lease_of_version(bench: Bench) -> None:
    path = bench.state / "leases" / "miner-0"
    raw = bytearray(path.read_bytes())
    payload = b'{"another": "format"}'
    slot = b"BKLEASE2 %08x %06d\n" % (zlib.crc32(payload), len(payload)) + payload
    raw[: _lease.SLOT_SIZE] = slot.ljust(_lease.SLOT_SIZE, b"\0")
    path.write_bytes(bytes(raw))


def journal_of_version(bench: Bench) -> None:
    of_version(bench, 2)


@pytest.mark.parametrize("harm", [journal_of_version, lease_of_version, damaged])
def test_a_record_of_another_version_is_unproven_and_says_what_to_do(lent: Bench, me: str, harm: Callable[[Bench], None]) -> None:
    harm(lent)
    path = Path(lent.root, "file")
    pages = [human.render("status", lent.call("status")), human.render("explain", lent.call("status"))]
    code, answer = lent.try_call("recover", resource="miner-0", nonce=NONCE)
    assert code == 4
    pages += [human.render("recover", answer), human.render("recover", lent.try_call("recover")[1])]
    assert lent.call("status")["leases"][0]["state"] == "unproven"
    for page in pages:
        for part in (
            "systemctl stop 'bk-miner-0-*'",
            f"the original of {path} should be {lent.root}/.file.bk-run-1-2",
            "xmrig.service was active, enabled",
            f"true was run; it is undone by rm -f 'a b' in /srv as {me}",
            f"{lent.state}/leases/miner-0 {lent.state}/runs/run-1/miner-0",
            "that version can finish it",
        ):
            assert part in page, page
        assert "settle" not in page
    if harm is damaged:
        assert "1 cannot be" in pages[0]
    assert path.read_text() == "ours"
    assert lent.services.acts == ["stop xmrig.service"]  # nothing was undone


def test_nothing_is_said_where_the_keeper_can_do_it(lent: Bench) -> None:
    assert "by_hand" not in lent.call("status")["leases"][0]
    Path(lent.root, "file").write_text("a third party's")
    answer = lent.try_call("recover", resource="miner-0", nonce=NONCE)[1]["resources"]["miner-0"]
    assert (answer["restored"], "by_hand" in answer) == (False, False)
    assert by_hand.needed(lent.keeper.store, "miner-0") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "file", "path": "/etc/x\u001b[2J", "staged": ["no", "text"], "before": 7},
        {"kind": "service", "unit": None, "before": []},
        {"kind": "engine", "argv": "$(reboot)", "undo": {"argv": [{}, "`reboot`"], "live_dir": "/a b"}, "baseline": "x\ny"},
        {"kind": "created", "dir": "\n/etc", "name": "", "pattern": "*"},
        {"kind": "teleport"},
        {"kind": ["call"], "covered_by": "\u0007"},
        {"item": None},
    ],
)
def test_whatever_stands_in_a_record_is_printed_as_harmless_words(lent: Bench, fields: Dict[str, Any]) -> None:
    line = _journal.encode({"v": 9, "seq": 99, "type": "INTENT", "item": "bad", **fields})
    with (lent.state / JOURNAL).open("ab") as file:
        file.write(line)
    page = human.render("status", lent.call("status"))
    line = next(one for one in page.splitlines() if one.strip().startswith("99 "))
    assert line.isprintable()
    assert not re.search(r"[$`]", re.sub(r"'[^']*'", "", line)), "a shell would do something"


def test_a_journal_that_is_no_journal_at_all(lent: Bench) -> None:
    deep = b"[" * 60000 + b"\n"
    (lent.state / JOURNAL).write_bytes(deep + b"\xff\xfe\n{}\n")
    found = lent.call("status")["leases"][0]["by_hand"]["runs"][0]
    assert (found["read"], found["damaged"], found["changes"]) == (0, 3, [])
    assert "0 records of it can be read, 3 cannot be" in human.render("status", lent.call("status"))
