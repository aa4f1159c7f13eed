"""The smallest stack, copied, with one mistake in it: `./bench validate` names it with file and line, and ends with 2."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchkeeper import stack_validate
from benchkeeper.paths import Paths

HERE = Path(__file__).parent
STACK = HERE.parents[3] / "stacks" / "hello"
GUIDE = HERE.parents[3] / "docs" / "how-to" / "add-a-stack.md"
PLANTED: list[dict[str, Any]] = yaml.safe_load((HERE / "mistakes.yml").read_text(encoding="utf-8"))
HEAL = """\
    always: # the heal: it is done whatever happened before
      - { engine: start, container: hello-web }
      - { wait: [healthy, answers] }
      - { verb: status, rc: 0 }
      - { look: healed }
"""


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a copy of the stack's data."""
    folder = tmp_path / "stacks" / "hello"
    shutil.copytree(STACK, folder, ignore=shutil.ignore_patterns("reference", "__pycache__"))
    return folder


def validate(stack: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return exit code and the lines that were said, the last one apart."""
    code = stack_validate.run(Paths(stack.parents[1]), ["hello"], as_json=False)
    *said, last = capsys.readouterr().out.splitlines()
    count = len(said)
    assert last.startswith(f"hello: {'no mistakes' if not count else '1 mistake' if count == 1 else f'{count} mistakes'} (")
    return code, said


def test_the_stack_itself_has_no_mistake(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(stack, capsys) == (0, [])


@pytest.mark.parametrize("row", PLANTED, ids=lambda row: f"{row['file']}: {row['says']}"[:70])
def test_a_mistake_is_named_with_its_line(stack: Path, row: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    path = stack / row["file"]
    text = path.read_text(encoding="utf-8")
    assert text.count(row["old"]) == 1, "the place of a planted mistake is unambiguous"
    path.write_text(text.replace(row["old"], row["new"]), encoding="utf-8")
    line = text[: text.index(row["old"])].count("\n") + 1 + int(row.get("at", 0))
    code, said = validate(stack, capsys)
    assert code == 2
    place = f"stacks/hello/{row['file']}:{line}: "
    assert [one for one in said if one.startswith(place) and row["says"] in one], said
    assert len(said) == 1 + row.get("more", 0), said


def test_a_fault_without_its_heal_is_named(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stack / "exercise.yml"
    text = path.read_text(encoding="utf-8")
    assert text.count(HEAL) == 1
    path.write_text(text.replace(HEAL, ""), encoding="utf-8")
    # The checks are for a look that went with it.
    (stack / "checks" / "web.yml").unlink()
    shutil.rmtree(stack / "planted")
    line = text[: text.index("{ engine: kill")].count("\n") + 1
    why = "fault.web_killed: kill of hello-web has no heal, neither later nor in always"
    assert validate(stack, capsys) == (2, [f"stacks/hello/exercise.yml:{line}: {why}"])


@pytest.mark.parametrize("name", ["profile.yml", "exercise.yml"])
def test_a_file_that_is_not_there_is_named(stack: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (stack / name).unlink()
    other = "exercise.yml" if name == "profile.yml" else "profile.yml"
    code, said = validate(stack, capsys)
    assert code == 2
    assert f"stacks/hello/{other}:1: is there without a{'n' if name[0] == 'e' else ''} {name}" in said


def test_all_mistakes_are_told_at_once(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of places of their own, which hide no other."""
    taken: set[str] = set()
    wanted = []
    for row in PLANTED:
        path = stack / row["file"]
        text = path.read_text(encoding="utf-8")
        if not row.get("more") and "not YAML" not in row["says"] and "twice" not in row["says"] and text.count(row["old"]) == 1:
            path.write_text(text.replace(row["old"], row["new"]), encoding="utf-8")
            taken.add(row["file"])
            wanted.append(row["says"])
    code, said = validate(stack, capsys)
    assert code == 2
    assert len(wanted) >= 12
    assert len(taken) >= 4
    missing = [one for one in wanted if not any(one.split("; ")[0] in line for line in said)]
    assert len(missing) <= 2, (missing, said)


def test_the_page_shows_what_is_really_said(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = GUIDE.read_text(encoding="utf-8").partition("$ ./bench validate hello\n")[2].partition("\n```")[0].splitlines()
    for row in PLANTED:
        if row["new"].startswith(("deployed: [helthy", "json.greeting, op: smae")):
            path = stack / row["file"]
            path.write_text(path.read_text(encoding="utf-8").replace(row["old"], row["new"]), encoding="utf-8")
    stack_validate.run(Paths(stack.parents[1]), ["hello"], as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert len(shown) == len(said) == 3
    assert [line.startswith(page.removesuffix("...")) for page, line in zip(shown, said, strict=True)] == [True] * 3, said
