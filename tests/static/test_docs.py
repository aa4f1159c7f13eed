"""The documentation is fresh and complete: generated pages are what they would be, and what the code knows stands in the others."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils import _check, _predicate, _step

from benchkeeper import coherence, environment, replay_header, results, stack_schema, verdicts

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")])
SPECS = sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
BIN = Path(sys.executable).parent


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def named(names: Any, text: str) -> list[str]:
    """Return those of the names that the text does not have as code."""
    return [name for name in names if f"`{name}`" not in text]


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert done.stdout == "", "python docs/generate.py writes them anew"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = [match.group(1) for match in LINK.finditer(path.read_text(encoding="utf-8")) if "://" not in match.group(1)]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_page_can_be_found_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert [str(path) for path in pages if path.parts[0] != "adr" and path.name != "index.md" and f"({path})" not in index] == []


def test_every_predicate_operator_is_explained() -> None:
    assert named(_predicate.OPERATORS, page("profile")) == []


def test_every_op_of_a_step_is_explained() -> None:
    assert named((*_step.OPS, "changed", "changed_like", "same_keys"), page("exercise")) == []


def test_every_key_and_operator_of_a_check_is_explained() -> None:
    assert named((*verdicts.KEYS, *_check.OPERATORS, *_check.SKIP_CLASSES), page("checks") + page("results")) == []


def keys_of(data: Any, prefix: str = "", depth: int = 2) -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict) and depth > 1:
            yield from keys_of(value, f"{prefix}{key}.", depth - 1)
        yield f"{prefix}{key}"


def test_every_key_of_a_profile_is_explained() -> None:
    profile = yaml.safe_load((ROOT / "stacks" / "pithead" / "profile.yml").read_text(encoding="utf-8"))
    text = page("profile")
    unknown = [key for key in keys_of(profile) if f"`{key}`" not in text and f"`{key.split('.')[0]}`" not in text]
    groups = [key for key in unknown if not any(other.startswith(f"{key}.") for other in keys_of(profile))]
    inside = [key for host in profile["hosts"].values() for key in host if f"`{key}`" not in text]
    assert (groups, inside) == ([], [])


def test_every_key_of_an_exercise_is_explained() -> None:
    exercise = yaml.safe_load((ROOT / "stacks" / "pithead" / "exercise.yml").read_text(encoding="utf-8"))
    assert named(exercise, page("exercise")) == []


def fields(*models: Any) -> set[str]:
    """Return the keys that files of these models may have."""
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def test_every_key_of_a_list_of_names_is_explained() -> None:
    models = (environment.Component, environment.Name, environment.Reader, environment.Production)
    text = page("environment")
    assert named(fields(*models) - {"components", "file"}, text) == []
    assert [name for name in fields(environment.Settings, environment.Inventory) if name not in text] == []
    assert named((*coherence.KINDS, *(f"sources.{name}" for name in fields(environment.Sources))), text) == []


def test_every_key_of_a_replay_is_explained() -> None:
    text = page("replays")
    assert named(fields(replay_header.ReplayHeader), text) == []
    assert [name for name in fields(replay_header.Declared) if name not in text] == []


def test_every_key_that_a_profile_or_an_exercise_may_have_is_explained() -> None:
    text = page("profile")
    models = (stack_schema.Profile, stack_schema.Borrow, stack_schema.FitSignal, stack_schema.Predicate, stack_schema.Driver)
    assert [name for name in fields(*models) if name not in text] == []
    ops = (
        stack_schema.Argv,
        stack_schema.Edit,
        stack_schema.EngineOp,
        stack_schema.Look,
        stack_schema.Expectation,
        stack_schema.Step,
    )
    assert [name for name in fields(stack_schema.Exercise, *ops) if name not in page("exercise") + text] == []


def test_every_exit_code_is_explained() -> None:
    source = (ROOT / "benchkeeper" / "results.py").read_text(encoding="utf-8")
    words = [*re.findall(r'Decision\("([a-z]+)"', source), results.KEPT]
    assert len(words) > 5
    assert named(words, page("exit-codes")) == []
    assert named(words, page("results")) == []


def test_every_key_of_the_result_is_explained() -> None:
    from benchkeeper import report  # noqa: PLC0415 - a page of its own

    run = report.Run(ROOT, {}, [], [], {}, None, {})
    assert named(report.make_result(run, []), page("results")) == []


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parts[-3])
def test_descriptions_are_whole_sentences(path: Path) -> None:
    """YAML cuts a text in brackets at its commas, without a word."""
    for spec in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
        texts = [*spec["description"], *(option["description"] for option in spec["options"].values())]
        assert [text for text in texts if not text[:1].isupper() or not text.endswith(".")] == []


def test_modules_are_documented_as_ansible_wants_it() -> None:
    argv = [BIN / "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    # Filters are documented by their docstrings.
    said = [line for line in done.stdout.splitlines() if not line.startswith("plugins/filter/")]
    assert said == []


def test_the_changelog_can_be_written() -> None:
    done = subprocess.run([BIN / "antsibull-changelog", "lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_collection_builds_without_what_is_not_ours(tmp_path: Path) -> None:
    argv = [BIN / "ansible-galaxy", "collection", "build", "--output-path", tmp_path]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.split("/")[0] for name in archive.getnames()}
    assert {"plugins", "roles", "playbooks", "meta", "stacks", "keeper"} <= names
    assert {name for name in names if name.endswith("_cache") or name in (".venv", ".bench", "results", "collections")} == set()
