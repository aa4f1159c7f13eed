"""Build the keeper into one file, the same bytes from the same sources: ``python keeper/build.py DEST [EXTRA]``.

The shared modules keep their place below ``ansible_collections``, so every import reads the same here, in the modules of
the collection, and in the tests. EXTRA is a module that is imported before the program starts: the crash tier builds a keeper
that dies where it is told to, so that the one which people use needs nothing of the kind.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Dict, Optional, Set

_PACKAGE = "ansible_collections.benchkeeper.core.plugins.module_utils"
_SHEBANG = b"#!/usr/bin/python3\n"
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_ENTRY = "_snapshot", "_redact"  # imported when they are needed
_START = b"\n    from keeper.cli import main\n"  # where an extra module comes in


def _imports(source: str) -> Set[str]:
    """Return the shared modules that a source imports."""
    found: Set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PACKAGE):
            rest = node.module[len(_PACKAGE) :].lstrip(".")
            found.update([rest.split(".")[0]] if rest else [alias.name for alias in node.names])
    return found


def contents(root: Path, extra: Optional[Path] = None) -> Dict[str, bytes]:
    """Return the files of the program by their name in it.

    Args:
        root: Directory that holds ``keeper/`` and ``plugins/module_utils/``.
        extra: A module to import before the program starts.

    Raises:
        ValueError: When there is no place for the extra module.
    """
    files: Dict[str, bytes] = {}
    wanted: Set[str] = set(_ENTRY)
    for path in sorted((root / "keeper").glob("*.py")):
        if path.name == "build.py":
            continue
        source = path.read_bytes()
        wanted |= _imports(source.decode("utf-8"))
        files["__main__.py" if path.name == "__main__.py" else f"keeper/{path.name}"] = source
    folder = _PACKAGE.replace(".", "/")
    done: Set[str] = set()
    while wanted - done:
        name = min(wanted - done)
        done.add(name)
        source = (root / "plugins" / "module_utils" / f"{name}.py").read_bytes()
        files[f"{folder}/{name}.py"] = source
        wanted |= _imports(source.decode("utf-8"))
    if extra is not None:
        if files["__main__.py"].count(_START) != 1:
            raise ValueError("__main__.py does not import the program where an extra module would come in")
        files["__main__.py"] = files["__main__.py"].replace(_START, f"\n    import keeper.{extra.stem}".encode() + _START)
        files[f"keeper/{extra.name}"] = extra.read_bytes()
    parts = _PACKAGE.split(".")
    for depth in range(1, len(parts) + 1):
        files["/".join([*parts[:depth], "__init__.py"])] = b""
    return files


def build(dest: Path, extra: Optional[Path] = None) -> str:
    """Write the program to ``dest`` (mode 0755), replacing it as a whole; return its SHA-256 as hexadecimal digits."""
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(contents(Path(__file__).resolve().parent.parent, extra).items()):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3  # unix: the same everywhere
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    raw = buffer.getvalue()
    dest.parent.mkdir(parents=True, exist_ok=True)
    temporary = dest.with_name(f".{dest.name}.{os.getpid()}")
    temporary.write_bytes(raw)
    temporary.chmod(0o755)
    temporary.replace(dest)
    return hashlib.sha256(raw).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(build(Path(sys.argv[1]), *map(Path, sys.argv[2:3])) + "\n")
