"""Environment names in code: which are asked for, with which default, and which words are in it at all."""

from __future__ import annotations

import ast
import bisect
import re
from typing import TYPE_CHECKING

from benchkeeper.env_found import Asked, Code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from benchkeeper.environment import Reader

# How a program asks for a name, in the languages that are usual here; the group is the name.
READS = (
    r"\b(?:environ|env)\.get\(\s*[\"']([A-Z][A-Z0-9_]*)",
    r"\b(?:environ|env)\[[\"']([A-Z][A-Z0-9_]*)(?=[\"']\](?!\s*=[^=]))",  # not an assignment
    r"\b(?:[Gg]etenv|LookupEnv)\(\s*[\"']([A-Z][A-Z0-9_]*)",
    r"\bprocess\.env\.([A-Z][A-Z0-9_]*)",
)
# What stands behind a name when a default is given with it: `NAME", "x")`, `NAME", 30)`, `NAME:-x}`.
_DEFAULT = re.compile(r"""["']\s*,\s*(?:"([^"\n]*)"|'([^'\n]*)'|(-?\d+(?:\.\d+)?))\s*[,)]|:?-([^}\n]*)\}""")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = ("#", "//")
CODE_LIMIT = 1024 * 1024  # bytes; a larger file is data


def _asked(text: str, name: str, patterns: Iterable[re.Pattern[str]]) -> Iterator[Asked]:
    ends = [match.start() for match in re.finditer("\n", text)]
    for pattern in patterns:
        for match in pattern.finditer(text):
            if text[text.rfind("\n", 0, match.start()) + 1 :].lstrip(" \t").startswith(_COMMENT):
                continue
            after = _DEFAULT.match(text, match.end(1))
            default = next((group for group in after.groups() if group is not None), None) if after else None
            yield Asked(match[1], default, name, bisect.bisect_left(ends, match.start(1)) + 1)


def words(text: str, *, python: bool) -> set[str]:
    """Return the words of code that could be names: of Python the texts in it but for docstrings, else all but comment lines."""
    if python:
        try:
            return {word for literal_ in _texts(ast.parse(text)) for word in _WORD.findall(literal_)}
        except (SyntaxError, ValueError):
            pass
    return {word for line in text.splitlines() if not line.lstrip().startswith(_COMMENT) for word in _WORD.findall(line)}


def _texts(tree: ast.AST) -> Iterator[str]:
    documented = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documented.add(id(node.value))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def read(files: Sequence[tuple[Path, str]], reader: Reader) -> Code:
    """Read a reader's code; files are given as (path, how it is called)."""
    patterns = [re.compile(one) for one in (*READS, *reader.reads)]
    asked: dict[tuple[str, str, int], Asked] = {}
    seen: set[str] = set()
    for path, name in files:
        if path.stat().st_size <= CODE_LIMIT:
            text = path.read_text(encoding="utf-8", errors="replace")
            asked |= {(one.name, one.file, one.line): one for one in _asked(text, name, patterns) if one.name not in reader.ignore}
            seen |= words(text, python=path.suffix == ".py")
    return Code(tuple(asked.values()), frozenset(seen), len(files))
