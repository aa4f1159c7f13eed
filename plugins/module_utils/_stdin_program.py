"""One Python text that takes a snapshot: for ``python3 -`` on a host on which nothing may be written."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any, Dict, List, Mapping

PACKAGE = "ansible_collections.benchkeeper.core.plugins.module_utils"
_OURS = re.escape(PACKAGE)
_IMPORTED = re.compile(rf"^\s*from {_OURS}\.(_\w+) import|^\s*from {_OURS} import ([\w, ]+)", re.MULTILINE)

# Everything stays in memory: the modules come out of the text itself, no file is made, no byte code is kept.
_PROGRAM = '''\
import sys
sys.dont_write_bytecode = True
import base64, importlib.abc, importlib.machinery, json, zlib
PAYLOAD = json.loads(zlib.decompress(base64.b64decode("""
{payload}
""")))
SOURCES = PAYLOAD["sources"]


class Memory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name not in SOURCES:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, origin="memory", is_package=not SOURCES[name])
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__spec__.name
        exec(compile(SOURCES[name], name, "exec", dont_inherit=True), module.__dict__)


sys.meta_path.insert(0, Memory())
from {package} import _snapshot
context = PAYLOAD["context"]
if context.get("key"):
    context["key"] = bytes.fromhex(context["key"])
json.dump(_snapshot.take(PAYLOAD["probes"], context), sys.stdout)
'''


def needed_modules(start: str, folder: Path) -> Dict[str, str]:
    """Return the sources of a module of ours and of all that it imports of ours, by short name."""
    found: Dict[str, str] = {}
    open_names: List[str] = [start]
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found[name] = (folder / f"{name}.py").read_text("utf-8")
        for one, several in _IMPORTED.findall(found[name]):
            open_names += [one] if one else [part.strip() for part in several.split(",")]
    return found


def build_stdin_program(probes: Mapping[str, Any], ctx: Mapping[str, Any]) -> str:
    """Return a program that prints the snapshot as JSON.

    Args:
        probes: Probe specs by name.
        ctx: What ``_snapshot.make_context`` takes; without a key the host makes one and forgets it.
    """
    parts = PACKAGE.split(".")
    sources = {".".join(parts[: count + 1]): "" for count in range(len(parts))}
    found = needed_modules("_snapshot", Path(__file__).parent)
    sources.update({f"{PACKAGE}.{name}": text for name, text in sorted(found.items())})
    context = {key: value.hex() if isinstance(value, bytes) else value for key, value in ctx.items()}
    payload = json.dumps({"sources": sources, "probes": dict(probes), "context": context}, sort_keys=True)
    packed = base64.encodebytes(zlib.compress(payload.encode("utf-8"), 9)).decode("ascii").strip()
    return _PROGRAM.format(payload=packed, package=PACKAGE)
