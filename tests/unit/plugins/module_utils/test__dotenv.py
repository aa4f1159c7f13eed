from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._dotenv import parse, quote, set_value
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.from_regex(r"[A-Z_][A-Z0-9_]{0,12}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1", {"A": "1"}),
        ("A=1\nB='two words'\n", {"A": "1", "B": "two words"}),
        ("A='it'\\''s'", {"A": "it's"}),
        ('A="a \\"b\\" \\\\ \\$c"', {"A": 'a "b" \\ $c'}),
        ("A=a\\ b", {"A": "a b"}),
        ("A=", {"A": ""}),
        ("A=''", {"A": ""}),
        ("export A=1", {"A": "1"}),
        ("A=1 # why", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A='# no comment'", {"A": "# no comment"}),
        ("# A=1\n\nB=2", {"B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A='two\nlines'\nB=2", {"A": "two\nlines", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=base64==", {"A": "base64=="}),
        ("A=one two ", {"A": "one two"}),
    ],
)
def test_values_are_read_as_a_shell_would(text: str, values: dict[str, str]) -> None:
    assert parse(text).values == values
    assert parse(text).bad_lines == ()


@pytest.mark.parametrize(("text", "bad"), [("A=1\n<<<<\nB=2", (2,)), ("A='open\nB=2", (1,)), ("\n=x", (2,))])
def test_bad_lines_are_counted_and_the_rest_is_read(text: str, bad: tuple[int, ...]) -> None:
    parsed = parse(text)
    assert parsed.bad_lines == bad
    assert "B" not in text or parsed.values["B"] == "2"


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_what_a_shell_quotes_is_read_back(values: dict[str, str]) -> None:
    for quoting in (shlex.quote, quote):
        text = "".join(f"{key}={quoting(value)}\n" for key, value in values.items())
        parsed = parse(text)
        assert parsed.values == values
        assert parsed.bad_lines == ()


@given(st.text(max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    parse(text)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=6), VALUES, st.data())
def test_setting_a_value_changes_nothing_else(values: dict[str, str], value: str, data: st.DataObject) -> None:
    text = "# top\n" + "".join(f"{key}={quote(old)}\n" for key, old in values.items())
    key = data.draw(st.sampled_from([*values, "NEW_ONE"]))
    changed = set_value(text, key, value)
    assert parse(changed).values == {**values, key: value}
    assert changed.startswith("# top\n")


def test_a_shell_agrees(tmp_path: Path) -> None:
    hard = """it's "quoted" $HOME `id` \\ # end"""
    file = tmp_path / "env"
    file.write_text(f"A={quote(hard)}\n", "utf-8")
    shell = subprocess.run(["/bin/sh", "-c", '. "$1"; printf %s "$A"', "sh", str(file)], capture_output=True, text=True, check=True)
    assert shell.stdout == hard == parse(file.read_text("utf-8")).values["A"]
