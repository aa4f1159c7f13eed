"""One Python text that runs a module of ours: for ``python3 -`` on a host on which nothing may be written."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any, Dict, List, Mapping

PACKAGE = "ansible_collections.benchkeeper.core.plugins"
PLUGINS = Path(__file__).parents[1]
_OURS = re.escape(f"{PACKAGE}.module_utils")
_IMPORTED = re.compile(rf"^\s*from {_OURS}\.(_\w+) import|^\s*from {_OURS} import ([\w, ]+)", re.MULTILINE)

# Everything stays in memory: the modules come out of the text itself, no file is made, no byte code is kept.
_PROGRAM = '''\
import sys
sys.dont_write_bytecode = True
import base64, importlib, importlib.abc, importlib.machinery, json, types, zlib
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


class AnsibleModule:
    def __init__(self, **spec):
        self.params = PAYLOAD["params"]

    def exit_json(self, **result):
        sys.stdout.write(PAYLOAD["mark"] + json.dumps(result) + "\\n")
        sys.exit(1 if result.get("failed") else 0)

    def fail_json(self, msg, **result):
        self.exit_json(failed=True, msg=msg, **result)


basic = types.ModuleType("ansible.module_utils.basic")
basic.AnsibleModule = AnsibleModule
sys.modules[basic.__name__] = basic
sys.meta_path.insert(0, Memory())
importlib.import_module(PAYLOAD["module"]).main()
'''


class NoAnswerError(Exception):
    """A program was not run, or did not come to its end."""


def needed_sources(module: str) -> Dict[str, str]:
    """Return the sources of a module of ours and of all that it imports of ours, by their name below ``plugins``."""
    found: Dict[str, str] = {}
    open_names: List[str] = [f"modules.{module}"]
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found[name] = (PLUGINS / f"{name.replace('.', '/')}.py").read_text("utf-8")
        for one, several in _IMPORTED.findall(found[name]):
            names = [one] if one else [part.strip() for part in several.split(",")]
            open_names += [f"module_utils.{part}" for part in names]
    return found


def build_stdin_program(module: str, params: Mapping[str, Any], mark: str = "") -> str:
    """Return a program that does what a module does and prints its result as one line of JSON.

    The module takes nothing of ``AnsibleModule`` but ``params``, ``exit_json`` and ``fail_json``, and of Ansible nothing else.

    Args:
        module: Its name in this collection.
        params: Its options, complete and checked: the program does not know what they may be.
        mark: What the line begins with, so that ``read_answer`` finds it.
    """
    packages = f"{PACKAGE}.modules".split(".")
    sources = {".".join(packages[: count + 1]): "" for count in range(len(packages))}
    sources[f"{PACKAGE}.module_utils"] = ""
    sources.update({f"{PACKAGE}.{name}": text for name, text in sorted(needed_sources(module).items())})
    document = {"module": f"{PACKAGE}.modules.{module}", "sources": sources, "params": dict(params), "mark": mark}
    packed = base64.encodebytes(zlib.compress(json.dumps(document).encode("utf-8"))).decode("ascii").strip()
    return _PROGRAM.format(payload=packed)


def read_answer(output: str, mark: str) -> Dict[str, Any]:
    """Return the result that a program printed, whatever else stands before and behind it.

    Raises:
        NoAnswerError: There is none, or not all of it.
    """
    _noise, found, rest = output.rpartition(mark)
    try:
        answer = json.JSONDecoder().raw_decode(rest)[0] if found else None
    except (ValueError, RecursionError) as error:
        raise NoAnswerError(str(error)) from error
    if not isinstance(answer, dict):
        raise NoAnswerError
    return answer
