"""Edits of a file as data: JSON operations, dotenv keys, whole contents. Pure: text in, text out.

They are sent instead of new contents so that a secret in the file never leaves its machine.
"""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from ansible_collections.benchkeeper.core.plugins.module_utils import _dotenv
from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import Path, PathError, parse

DEFAULT_INDENT = 4


class EditError(ValueError):
    """The request is wrong."""


class UnfitError(ValueError):
    """The file is not what it should be: half-written, empty, with a byte order mark, of another shape."""


def read_json(raw: bytes) -> Any:
    """Read a JSON document strictly.

    Raises:
        UnfitError: Saying what is wrong, without any of the contents.
    """
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise UnfitError("it starts with a byte order mark")
    if not raw.strip():
        raise UnfitError("it is empty")
    try:
        text = raw.decode("utf-8")
        return json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise UnfitError(f"it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise UnfitError(f"it is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise UnfitError("it is nested too deeply") from error


def _no_twins(pairs: List[Any]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnfitError("an object in it has the same key twice")
    return found


def _no_constant(name: str) -> Any:
    raise UnfitError(f"it contains {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise UnfitError("it contains a number that is larger than any we can write back")
    return number


def write_json(document: Any, like: bytes) -> bytes:
    """Return a document as text, indented as the file it replaces was."""
    text = like.decode("utf-8", "replace")
    match = re.search(r"^[\[{]\r?\n([ \t]+)", text)
    indent: Union[int, str, None] = match[1] if match else (DEFAULT_INDENT if "\n" in text.strip() else None)
    out = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    return (out + ("\n" if text.endswith("\n") else "")).encode("utf-8", "surrogatepass")


def apply_json(document: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Return a changed copy of a document.

    Args:
        document: What ``read_json`` returned.
        operations: In order: ``{op: set, path, value}``, ``{op: unset, path}``, ``{op: first_in_list, list, match?,
            url_host?, copy_first?, set?, tag?}``.

    Raises:
        EditError: When an operation is not understood.
        UnfitError: When the document does not have the shape that it needs.
    """
    changed = copy.deepcopy(document)
    for one in operations:
        name = one.get("op")
        try:
            if name == "set":
                _set(changed, one["path"], one["value"])
            elif name == "unset":
                _unset(changed, one["path"])
            elif name == "first_in_list":
                _first_in_list(changed, one)
            else:
                raise EditError(f"unknown JSON operation {name!r}; there are set, unset, first_in_list")
        except (KeyError, PathError) as error:
            raise EditError(f"operation {name!r}: {error}") from error
    return changed


def _walk(document: Any, path: Path, *, create: bool) -> Any:
    """Return (container, last step) of a path, making missing objects on the way when asked."""
    steps = parse(path)
    if not steps or any(not isinstance(step, (str, int)) for step in steps):
        raise EditError(f"a path of keys and numbers is wanted, not {path!r}")
    node = document
    for position, step in enumerate(steps[:-1]):
        if isinstance(step, str) and isinstance(node, dict):
            if step not in node:
                if not create:
                    return None, steps[-1]
                node[step] = [] if isinstance(steps[position + 1], int) else {}
            node = node[step]
        elif isinstance(step, int) and isinstance(node, list) and -len(node) <= step < len(node):
            node = node[step]
        else:
            raise UnfitError(f"there is nothing at step {position + 1} of {path!r}")
    return node, steps[-1]


def _set(document: Any, path: Path, value: Any) -> None:
    node, last = _walk(document, path, create=True)
    fits = isinstance(node, dict) if isinstance(last, str) else isinstance(node, list) and -len(node) <= last < len(node)
    if not fits:
        raise UnfitError(f"{path!r} does not fit the document")
    node[last] = copy.deepcopy(value)


def _unset(document: Any, path: Path) -> None:
    node, last = _walk(document, path, create=False)
    if isinstance(node, dict):
        node.pop(last, None)


def url_host(url: Any) -> str:
    """Return the host of a pool address (``host:port``, ``stratum+tcp://host:port``, ``[::1]:port``) in lower case."""
    text = str(url or "").rsplit("://", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]
    if text.startswith("["):
        return text[1:].split("]", 1)[0].lower()
    return text.rsplit(":", 1)[0].lower() if text.count(":") == 1 else text.lower()


def _first_in_list(document: Any, operation: Mapping[str, Any]) -> None:
    """Bring the elements that match to the front, or put a changed copy of the first element there."""
    node, last = _walk(document, operation["list"], create=False)
    elements = node.get(last) if isinstance(node, dict) else None
    if not isinstance(elements, list) or not all(isinstance(one, dict) for one in elements):
        raise UnfitError(f"{operation['list']!r} is no list of objects")
    match = operation.get("match")
    host: Optional[str] = operation.get("url_host")
    if not match and not host:
        raise EditError("first_in_list takes match or url_host")

    def wanted(element: Mapping[str, Any]) -> bool:
        if match and all(element.get(key) == value for key, value in match.items()):
            return True
        return bool(host) and url_host(element.get("url")) == str(host).lower()

    front = [one for one in elements if wanted(one)]
    rest = [one for one in elements if not wanted(one)]
    if not front:
        if operation.get("copy_first", True) and not elements:
            raise UnfitError(f"{operation['list']!r} is empty, there is nothing to copy")
        front = [copy.deepcopy(elements[0])] if operation.get("copy_first", True) else [{}]
    front[0].update(copy.deepcopy({**operation.get("set", {}), **operation.get("tag", {})}))
    node[last] = front + rest


def apply(raw: bytes, edit: Mapping[str, Any]) -> bytes:
    """Return the new contents of a file.

    Args:
        raw: The present contents.
        edit: ``{json: [operations]}`` or ``{dotenv: {KEY: value}}``.

    Raises:
        EditError: When the edit is not understood.
        UnfitError: When the file cannot be edited.
    """
    if set(edit) == {"json"}:
        before = read_json(raw)
        try:
            after = apply_json(before, edit["json"])
            return raw if after == before else write_json(after, raw)
        except RecursionError as error:  # reading goes deeper than copying and writing
            raise UnfitError("it is nested too deeply") from error
    if set(edit) == {"dotenv"}:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnfitError(f"it is not UTF-8 at byte {error.start}") from error
        for key, value in edit["dotenv"].items():
            text = _dotenv.set_value(text, key, str(value))
        return text.encode("utf-8")
    raise EditError(f"an edit is one of json, dotenv, not {sorted(edit)}")
