from __future__ import annotations

import json
from typing import Any, Dict

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _edits
from hypothesis import given
from hypothesis import strategies as st

POOL = {"url": "pool-0:3333", "user": "w", "pass": "x"}
FIRST = {"op": "first_in_list", "list": "pools", "match": {"rig-id": "bk"}, "url_host": "Bench-0", "set": {"url": "bench-0:3333"}}


def edit(document: Any, *operations: Dict[str, Any]) -> Any:
    return json.loads(_edits.apply(json.dumps(document).encode(), {"json": list(operations)}))


def test_a_copy_of_the_first_pool_is_put_before_the_others() -> None:
    done = edit({"pools": [POOL, {"url": "b:1"}]}, {**FIRST, "tag": {"rig-id": "bk"}})
    assert done["pools"] == [{**POOL, "url": "bench-0:3333", "rig-id": "bk"}, POOL, {"url": "b:1"}]


@pytest.mark.parametrize(
    "mine", [{"url": "stratum+tcp://BENCH-0:3333/"}, {"url": "old:1", "rig-id": "bk"}, {"url": "user@bench-0:9"}]
)
def test_a_pool_that_is_there_already_is_brought_to_the_front_and_not_doubled(mine: Dict[str, Any]) -> None:
    done = edit({"pools": [POOL, {"no": "url"}, mine]}, FIRST)
    assert done["pools"] == [{**mine, "url": "bench-0:3333"}, POOL, {"no": "url"}]
    assert edit(done, FIRST) == done


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("a:1", "a"),
        ("tls://A.b:1/x", "a.b"),
        ("[::1]:3333", "::1"),
        ("::1", "::1"),
        ("", ""),
        (None, ""),
        ("u:p@h:1", "h"),
        ("bench-01:3333", "bench-01"),
    ],
)
def test_hosts_of_pool_addresses(url: Any, host: str) -> None:
    assert _edits.url_host(url) == host


def test_keys_are_set_and_unset() -> None:
    done = edit(
        {"a": {"b": [1, 2]}},
        {"op": "set", "path": "a.b[1]", "value": 3},
        {"op": "set", "path": "new.deep", "value": True},
        {"op": "set", "path": ["dotted.key"], "value": 1},
        {"op": "unset", "path": "a.gone"},
        {"op": "unset", "path": "nothing.at.all"},
    )
    assert done == {"a": {"b": [1, 3]}, "new": {"deep": True}, "dotted.key": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \n",
        b'{"half": ',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b'{"a": ' + b"[" * 700 + b"]" * 700 + b"}",
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'["pools"]',
    ],
)
def test_files_that_are_not_what_they_should_be(raw: bytes) -> None:
    with pytest.raises(_edits.UnfitError):
        _edits.apply(raw, {"json": [{"op": "set", "path": "new", "value": 1}, FIRST]})


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"op": "explode"},
        {"op": "set", "path": "a"},
        {"op": "set", "path": "a[]", "value": 1},
        {"op": "first_in_list", "list": "pools"},
    ],
)
def test_operations_that_are_none(operation: Dict[str, Any]) -> None:
    with pytest.raises(_edits.EditError):
        _edits.apply(b'{"pools": [{}]}', {"json": [operation]})


def test_an_empty_list_has_nothing_to_copy() -> None:
    with pytest.raises(_edits.UnfitError):
        edit({"pools": []}, FIRST)
    assert edit({"pools": []}, {**FIRST, "copy_first": False})["pools"] == [{"url": "bench-0:3333"}]


def test_the_file_keeps_its_indent_and_its_last_line_end() -> None:
    raw = json.dumps({"a": 1, "ä": "ü"}, indent=3, ensure_ascii=False).encode() + b"\n"
    assert _edits.apply(raw, {"json": [{"op": "set", "path": "a", "value": 2}]}) == raw.replace(b'"a": 1', b'"a": 2')
    assert _edits.apply(raw, {"json": [{"op": "set", "path": "a", "value": 1}]}) == raw
    assert _edits.apply(b'{"a":1}', {"json": [{"op": "set", "path": "a", "value": 2}]}) == b'{"a": 2}'


def test_settings_are_set_and_the_rest_is_kept() -> None:
    assert _edits.apply(b"# c\nA='1'\nB=2\n", {"dotenv": {"A": "x y", "C": 3}}) == b"# c\nA='x y'\nB=2\nC=3\n"
    with pytest.raises(_edits.UnfitError):
        _edits.apply(b"\xff", {"dotenv": {"A": "1"}})


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), documents, max_size=4))
def test_whatever_the_values_they_travel_through_an_edit(document: Dict[str, Any]) -> None:
    assert edit(document, {"op": "set", "path": ["{{ x }}"], "value": "%s {{ lookup('pipe','id') }}"}) == {
        **document,
        "{{ x }}": "%s {{ lookup('pipe','id') }}",
    }
