"""Filter that turns a stack's embedded.yml into what one machine gets: texts read, trees unfolded, names filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from ansible.errors import AnsibleFilterError

HOST = "@{host}@"


def baseline_of(
    embedded: Mapping[str, Any],
    folder: str,
    host: str,
    groups: Sequence[str],
    tags: Mapping[str, str],
) -> Dict[str, Any]:
    """Return ``{images, repositories, steps}`` of one machine, from all groups it is in, in the order of the file.

    Args:
        embedded: the parsed ``stacks/<name>/embedded.yml``.
        folder: absolute path of ``stacks/<name>/embedded``; sources are relative to it.
        host: the machine's name.
        groups: names of the groups it is in.
        tags: the controller's image tags by short name.
    """
    wanted: Dict[str, Any] = {"images": [], "repositories": [], "steps": []}
    for name, group in (embedded.get("groups") or {}).items():
        if name not in groups:
            continue
        for image in group.get("images") or []:
            if image["image"] not in tags:
                raise AnsibleFilterError(f"embedded.yml: there is no image {image['image']!r}; there are {sorted(tags)}")
            wanted["images"].append({"tag": tags[image["image"]], "as": image["as"]})
        wanted["repositories"] += [group["repository"]] if group.get("repository") else []
        for step in group.get("steps") or []:
            wanted["steps"] += _resolved(step, Path(folder), host)
    return wanted


def _resolved(step: Mapping[str, Any], folder: Path, host: str) -> List[Dict[str, Any]]:
    if len(step) != 1:
        raise AnsibleFilterError(f"a step of embedded.yml has one kind, this one has {sorted(step)}")
    ((kind, what),) = step.items()
    if kind == "file":
        rest = {key: value for key, value in what.items() if key != "src"}
        return [{"kind": "file", **rest, "content": _text(folder / what["src"], host)}]
    if kind == "tree":
        source = folder / what["src"]
        files = [path for path in sorted(source.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
        if not files:
            raise AnsibleFilterError(f"embedded.yml: {source} holds no files")
        rest = {key: value for key, value in what.items() if key not in {"src", "dest"}}
        return [
            {"kind": "file", **rest, "dest": f"{what['dest']}/{path.relative_to(source).as_posix()}", "content": _text(path, host)}
            for path in files
        ]
    return [{"kind": kind, **what}]


def _text(path: Path, host: str) -> str:
    try:
        return path.read_text(encoding="utf-8").replace(HOST, host)
    except (OSError, UnicodeDecodeError) as error:
        raise AnsibleFilterError(f"embedded.yml: {path}: {error}") from error


class FilterModule:
    """Names of this file's filters."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Return filter name -> function."""
        return {"baseline_of": baseline_of}
