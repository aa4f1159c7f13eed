"""The house is in order: links hold, every role and module has what it must have, targets get the standard library only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted(path for path in (ROOT / "plugins" / "modules").glob("*.py") if not path.name.startswith("_"))
TARGET_CODE = sorted([*(ROOT / "plugins" / "module_utils").glob("*.py"), *(ROOT / "keeper").glob("*.py")])
# These run on the controller only, with the project's own environment.
CONTROLLER_MODULES = ("run_context", "run_record", "machine", "machine_info")
LINKS = {
    "library": "plugins/modules",
    "filter_plugins": "plugins/filter",
    **{
        f"collections/ansible_collections/benchkeeper/core/{name}": f"../../../../{name}"
        for name in ("plugins", "roles", "playbooks", "meta", "galaxy.yml")
    },
}
TOP = ("ansible.cfg", "inventories", "playbooks", "roles", "collections", "molecule", "library", "filter_plugins", "tests", "docs")


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("name", LINKS)
def test_links_hold(name: str) -> None:
    assert (ROOT / name).is_symlink()
    assert str((ROOT / name).readlink()) == LINKS[name]
    assert (ROOT / name).exists()


@pytest.mark.parametrize("name", TOP)
def test_the_top_level_is_as_ordered(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_a_role_has_its_contract(role: Path) -> None:
    spec = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]
    assert (role / "README.md").is_file()
    options = spec["options"]
    for name, option in options.items():
        assert name.startswith(f"{role.name}_"), name
        assert option.get("description"), name
        assert option.get("type"), name
    optional = {name: option["default"] for name, option in options.items() if "default" in option}
    unset = [name for name, option in options.items() if "default" not in option and not option.get("required")]
    assert unset == [], "an option is required or has a default"
    defaults = role / "defaults" / "main.yml"
    stated = yaml.safe_load(defaults.read_text(encoding="utf-8")) if defaults.is_file() else {}
    assert list((stated or {}).items()) == list(optional.items())


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_a_role_has_a_molecule_scenario(role: Path) -> None:
    assert (ROOT / "molecule" / role.name / "molecule.yml").is_file()


@pytest.mark.parametrize("scenario", sorted(ROOT.glob("molecule/*/molecule.yml")), ids=lambda path: path.parent.name)
def test_a_scenario_that_prepares_does_so_each_time(scenario: Path) -> None:
    """Molecule keeps `prepared` beside no checkout but in the user's home: a second clone at this path would not be prepared."""
    loaded = yaml.safe_load(scenario.read_text(encoding="utf-8")) or {}
    steps = loaded.get("scenario", {}).get("test_sequence", [])
    assert "prepare" not in steps or "destroy" in steps[: steps.index("prepare")]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_is_documented(module: Path) -> None:
    texts: dict[str, str] = {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant):
            texts[node.targets[0].id] = str(node.value.value)
    documented = yaml.safe_load(texts["DOCUMENTATION"])
    assert documented["module"] == module.stem
    assert {"check_mode", "diff_mode", "idempotent"} <= set(documented["attributes"])
    assert f"benchkeeper.core.{module.stem}" in texts["EXAMPLES"]
    for value in yaml.safe_load(texts["RETURN"]).values():
        assert {"description", "returned", "type", "sample"} <= set(value)


def foreign_imports(path: Path) -> set[str]:
    """Modules that a file imports at run time and that the standard library does not have."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    ours = {"ansible_collections", "ansible", "keeper", "benchkeeper_keeper"}
    return found - set(sys.stdlib_module_names) - ours


@pytest.mark.parametrize("path", TARGET_CODE, ids=lambda path: path.name)
def test_target_code_needs_the_standard_library_only(path: Path) -> None:
    assert foreign_imports(path) == set()


@pytest.mark.parametrize("module", [path for path in MODULES if path.stem not in CONTROLLER_MODULES], ids=lambda path: path.stem)
def test_a_module_for_targets_needs_the_standard_library_only(module: Path) -> None:
    assert foreign_imports(module) == set()


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    # Spelled in parts, so that this file does not name them either.
    hosts = [
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "deb.debian" + ".org",
        "docker" + ".io/",
        "npmjs" + ".org",
        "galaxy.ansible" + ".com",
    ]
    places = ["/wo" + "rk/", "/fa" + "rm/"]
    # A folder of that name below another one is not a place of one machine.
    pattern = re.compile("|".join([*map(re.escape, hosts), *(rf"(?<![\w}}.]){place}" for place in places)]))
    found = []
    for path in tracked():
        if path.is_symlink() or not path.is_file() or "golden" in path.parts:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {match.group(0)}" for match in pattern.finditer(text)]
    assert found == []
