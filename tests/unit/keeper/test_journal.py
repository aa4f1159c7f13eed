from __future__ import annotations

from typing import Any, Dict, List

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _journal
from ansible_collections.benchkeeper.core.plugins.module_utils._journal import JournalError
from hypothesis import given
from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=6,
)
extras = st.lists(st.dictionaries(st.sampled_from(["path", "before", "why"]), values, max_size=3), max_size=6)


def journal(more: List[Dict[str, Any]]) -> List[bytes]:
    lines = [_journal.encode({"v": 1, "seq": 1, "type": "OPEN", "run_id": "r"})]
    for number, extra in enumerate(more):
        seq = 2 * number + 2
        head = {"v": 1, "seq": seq, "type": "INTENT", "item": f"i{number}", "group": "g", "kind": "file"}
        lines.append(_journal.encode({**extra, **head}))
        lines.append(_journal.encode({"v": 1, "seq": seq + 1, "type": "DONE", "ref": seq}))
    return lines


@given(extras)
def test_a_journal_reads_back(more: List[Dict[str, Any]]) -> None:
    raw = b"".join(journal(more))
    parsed = _journal.parse(raw)
    assert parsed.length == len(raw)
    assert [one["seq"] for one in parsed.records] == list(range(1, 2 * len(more) + 2))
    assert all(item.done is not None for item in _journal.items(parsed.records))


@given(extras.filter(bool), st.data())
def test_a_torn_last_line_is_cut_and_nothing_else(more: List[Dict[str, Any]], data: Any) -> None:
    lines = journal(more)
    cut = data.draw(st.integers(0, len(lines[-1]) - 1))
    parsed = _journal.parse(b"".join(lines[:-1]) + lines[-1][:cut])
    assert parsed.length == len(b"".join(lines[:-1]))
    assert len(parsed.records) == len(lines) - 1


@given(extras.filter(bool), st.data())
def test_any_flipped_bit_of_a_whole_line_is_corruption(more: List[Dict[str, Any]], data: Any) -> None:
    raw = bytearray(b"".join(journal(more)))
    # The very last line end may be lost, which is a torn write and not corruption.
    place = data.draw(st.integers(0, len(raw) - 2))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(JournalError):
        _journal.parse(bytes(raw))


BAD = {
    "empty": [],
    "duplicated": [0, 0, 1, 2],
    "first missing": [1, 2],
    "one missing": [0, 2],
    "swapped": [0, 2, 1],
}


@pytest.mark.parametrize("order", BAD.values(), ids=BAD.keys())
def test_lines_that_do_not_follow_each_other(order: List[int]) -> None:
    lines = journal([{}])
    with pytest.raises(JournalError):
        _journal.parse(b"".join(lines[one] for one in order))


@pytest.mark.parametrize(
    "record",
    [
        {"v": 2, "seq": 2, "type": "INTENT"},
        {"v": 1, "seq": 2, "type": "NONSENSE"},
        {"v": 1, "seq": 2, "type": "OPEN"},
        {"v": 1, "seq": 2, "type": "DONE", "ref": 7},
        {"v": 1, "seq": 2, "type": "UNDONE", "ref": 1},
    ],
)
def test_records_that_mean_nothing_here(record: Dict[str, Any]) -> None:
    first = _journal.encode({"v": 1, "seq": 1, "type": "OPEN"})
    with pytest.raises(JournalError):
        _journal.parse(first + _journal.encode(record))


def test_a_line_with_other_white_space_is_not_ours() -> None:
    first = _journal.encode({"v": 1, "seq": 1, "type": "OPEN"})
    with pytest.raises(JournalError):
        _journal.parse(first.replace(b":", b": "))


def test_undo_goes_by_groups_the_last_changed_first_and_newest_first_in_each() -> None:
    records: List[Dict[str, Any]] = [{"v": 1, "seq": 1, "type": "OPEN"}]
    for seq, (name, group) in enumerate([("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")], start=2):
        records.append({"v": 1, "seq": seq, "type": "INTENT", "item": name, "group": group, "kind": "file"})
    records.append({"v": 1, "seq": 6, "type": "UNDONE", "ref": 4})
    order = _journal.undo_order(_journal.items(tuple(records)))
    assert [(group, [item.name for item in items]) for group, items in order] == [("x", ["d", "a"]), ("y", ["b"])]


def test_a_record_that_is_too_long_is_refused() -> None:
    with pytest.raises(JournalError):
        _journal.encode({"v": 1, "seq": 1, "type": "OPEN", "x": "y" * _journal.LINE_LIMIT})
