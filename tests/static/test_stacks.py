"""A stack is data: nothing that runs it knows one by name, and the page that says how to add one shows the real files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from benchkeeper import stack_schema

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "stacks" / "hello"
GUIDE = ROOT / "docs" / "how-to" / "add-a-stack.md"
SNIPPET = re.compile(r"^<!-- (stacks/hello/\S+) -->\n```[a-z]+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What says how the files are used, and a second planted bug.
UNSHOWN = {"README.md", "planted/upgrade-does-not-build.patch"}
# The first stack, the smallest one, and what the first one is made of.
NAMES = re.compile(r"\b(pithead|hello|monero\w*|p2pool|xmrig\w*|tari|rigforge)\b", re.IGNORECASE)
# A default is a name that a person may leave out; it opens no way of its own.
FIRST = "pithead"
DEFAULT = f"default('{FIRST}')"
CODE = [
    *(ROOT / "roles").glob("*/tasks/*.yml"),
    *(ROOT / "roles").glob("*/vars/*.yml"),
    *(ROOT / "playbooks").glob("*.yml"),
    *(ROOT / "plugins" / "filter").glob("*.py"),
    *(ROOT / "plugins" / "action").glob("*.py"),
    *(ROOT / "plugins" / "module_utils").glob("*.py"),
    *(ROOT / "keeper").glob("*.py"),
]


def shown() -> dict[str, str]:
    """Return by file what the page shows of it, in its order."""
    found: dict[str, str] = {}
    for name, text in SNIPPET.findall(GUIDE.read_text(encoding="utf-8")):
        found[name] = found.get(name, "") + text
    return found


@pytest.mark.parametrize("name", sorted(shown()))
def test_a_snippet_is_the_file(name: str) -> None:
    assert shown()[name] == (ROOT / name).read_text(encoding="utf-8")


def test_every_file_of_the_smallest_stack_is_shown() -> None:
    files = {str(path.relative_to(ROOT)) for path in HELLO.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files - {f"stacks/hello/{name}" for name in UNSHOWN} == set(shown())


def words(path: Path) -> list[str]:
    """Return what a file does things with: lines of YAML, names and texts of a program. Comments and docstrings give examples."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        return [line.partition("#")[0].replace(DEFAULT, "") for line in text.splitlines()]
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [one for one in (*texts, *names) if one not in docs]


@pytest.mark.parametrize("path", sorted(CODE), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_runs_a_stack_names_no_product(path: Path) -> None:
    assert [one for one in words(path) if NAMES.search(one) and one != FIRST] == []


def test_every_key_of_what_the_machines_carry_is_explained() -> None:
    steps = (stack_schema.BaselineFile, stack_schema.BaselineLink, stack_schema.BaselineUnit, stack_schema.BaselineCommand)
    models = (stack_schema.Embedded, stack_schema.Limits, stack_schema.Share, stack_schema.SentImage, stack_schema.Repository)
    every = (*models, stack_schema.BaselineStep, stack_schema.BaselineDir, *steps, stack_schema.BaselineWait)
    keys = {field.alias or name for model in every for name, field in model.model_fields.items()}
    page = re.sub(
        r"^```.*?^```", "", (ROOT / "roles" / "baseline" / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    explained = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`[^`]+`", page))))
    assert keys - explained == set()
