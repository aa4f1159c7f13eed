"""Paths into JSON documents: ``sync.monero.state``, ``pools[0].url``, ``pools[].url``, ``workers[name=rig-1].pool``.

A path is a string or, where a key itself contains a dot or a bracket, a list of keys and numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

Path = Union[str, Sequence[Union[str, int]]]


class PathError(ValueError):
    """The text is not a path."""


class MissingError(LookupError):
    """The document has nothing at this path. The message says at which step."""


@dataclass(frozen=True)
class Each:
    """The step ``[]``: every element of a list, every value of a mapping."""


@dataclass(frozen=True)
class Where:
    """The step ``[key=value]``: the first element of a list whose key, written as text, equals the value."""

    key: str
    value: str


Step = Union[str, int, Each, Where]
_TOKEN = re.compile(r"(?P<key>[^.\[\]]+)|\[(?P<index>-?\d+)\]|\[(?P<wkey>[^=\]]+)=(?P<wvalue>[^\]]*)\]|(?P<each>\[\])")


def parse(path: Path) -> Tuple[Step, ...]:
    """Return the steps of a path.

    Raises:
        PathError: When the text cannot be read as a path.
    """
    if not isinstance(path, str):
        return tuple(Each() if step == "[]" else step for step in path)
    steps: List[Step] = []
    position = 0
    while position < len(path):
        if path[position] == "." and steps and position + 1 < len(path):
            position += 1
        match = _TOKEN.match(path, position)
        if match is None:
            raise PathError(f"not a path: {path!r}")
        if match["key"] is not None:
            steps.append(match["key"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["each"] is not None:
            steps.append(Each())
        else:
            steps.append(Where(match["wkey"], match["wvalue"]))
        position = match.end()
    return tuple(steps)


def spell(path: Path) -> str:
    """Return a path as text for messages."""
    return path if isinstance(path, str) else ".".join(str(step) for step in path)


def as_text(value: Any) -> str:
    """Return a scalar as JSON would spell it without quotes (``true``, not ``True``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def find(document: Any, path: Path) -> Any:
    """Return what stands at a path.

    A step ``[]`` returns what stands behind it in each element: a list for a list, a mapping for a mapping.

    Raises:
        MissingError: When nothing stands there (``null`` is something).
    """
    return _find(document, parse(path), "")


def _find(node: Any, steps: Tuple[Step, ...], walked: str) -> Any:
    if not steps:
        return node
    step, rest = steps[0], steps[1:]
    if isinstance(step, Each) and isinstance(node, Mapping):
        return {key: _find(value, rest, f"{walked}.{key}") for key, value in node.items()}
    if isinstance(step, Each) and isinstance(node, list):
        return [_find(element, rest, f"{walked}[{index}]") for index, element in enumerate(node)]
    here, chosen = _step(node, step, walked)
    return _find(chosen, rest, here)


def _step(node: Any, step: Step, walked: str) -> Tuple[str, Any]:
    """Return where one step leads, and what stands there."""
    shown = walked.lstrip(".") or "the top"
    if isinstance(step, str):
        if not isinstance(node, Mapping) or step not in node:
            raise MissingError(f"nothing at {(walked + '.' + step).lstrip('.')}")
        return f"{walked}.{step}", node[step]
    if not isinstance(node, list):
        raise MissingError(f"no list at {shown}")
    for index, element in enumerate(node):
        if _selects(step, index, element, len(node)):
            return f"{walked}[{index}]", element
    asked = f"{step.key}={step.value}" if isinstance(step, Where) else step
    raise MissingError(f"no element {asked} in {shown}, which has {len(node)}")


def keep_paths(document: Any, paths: Sequence[Path]) -> Any:
    """Return a document reduced to some paths, with its shape kept; what is missing stays missing.

    In a list of which only some elements are wanted the others become ``None``, so that indexes stay true.
    """
    return _keep(document, [parse(path) for path in paths])


def _keep(node: Any, wanted: Sequence[Tuple[Step, ...]]) -> Any:
    if any(not steps for steps in wanted):
        return node
    if isinstance(node, Mapping):
        out: Dict[str, Any] = {}
        for key, value in node.items():
            below = [steps[1:] for steps in wanted if steps[0] == key or isinstance(steps[0], Each)]
            if below:
                out[key] = _keep(value, below)
        return out
    if isinstance(node, list):
        elements: List[Any] = []
        for index, element in enumerate(node):
            below = [steps[1:] for steps in wanted if _selects(steps[0], index, element, len(node))]
            elements.append(_keep(element, below) if below else None)
        return elements
    return None


def _selects(step: Step, index: int, element: Any, length: int) -> bool:
    if isinstance(step, Each):
        return True
    if isinstance(step, int):
        return step in (index, index - length)
    if isinstance(step, Where):
        return isinstance(element, Mapping) and step.key in element and as_text(element[step.key]) == step.value
    return False
