"""`./bench validate`: the stacks that are there have no mistake; each planted one is named with file, line and reason."""

from __future__ import annotations

import ast
import datetime as dt
import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.benchkeeper.core.plugins.module_utils import _run_context, _snapshot, _step
from hypothesis import HealthCheck, given, settings, strategies

from benchkeeper import cli, replay_header, stack_readers, stack_schema, stack_validate
from benchkeeper.errors import UsageError
from benchkeeper.located import BrokenFileError
from benchkeeper.paths import Paths
from keeper import item_calls

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TODAY = dt.date(2026, 11, 26)
PLANTED: list[dict[str, Any]] = yaml.safe_load((HERE / "planted" / "mistakes.yml").read_text(encoding="utf-8"))
HEADER = """\
#!/bin/sh
# Five causes of no peers were one sentence.
# /// replay
# issue: "2397"
# bug_class: five causes, one message
# timeout: 30
# needs: shared
# break: { tenant: [open-peers] }
# ///
exit 0
"""
CHECKS = "checks/state.yml"
PLANTED_BUG = "planted/dashboard-as-root.patch"
SKIP = '# skip: { class: missing, issue: "2863", expires: 2026-12-31 }\n# ///'


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A copy of the first stack without its code, with one of its planted bugs."""
    folder = tmp_path / "stacks" / "pithead"
    ignored = shutil.ignore_patterns("reference", "images", "embedded*", "planted", "__pycache__")
    shutil.copytree(ROOT / "stacks" / "pithead", folder, ignore=ignored)
    (folder / PLANTED_BUG).parent.mkdir()
    shutil.copy(ROOT / "stacks" / "pithead" / PLANTED_BUG, folder / PLANTED_BUG)
    return folder


def mistakes(folder: Path) -> list[tuple[str, int, str]]:
    found = stack_validate.examine(folder, folder.parents[1], TODAY)
    assert found is not None
    return [(one.file.removeprefix(f"stacks/{folder.name}/"), one.line, one.text) for one in found.mistakes]


def only(folder: Path) -> tuple[str, int, str]:
    (one,) = mistakes(folder)
    return one


@pytest.mark.parametrize("name", sorted({path.parent.name for path in (ROOT / "stacks").glob("*/*.yml")}))
def test_the_stacks_that_are_there_have_no_mistake(name: str) -> None:
    assert mistakes(ROOT / "stacks" / name) == []


def test_what_was_read_is_counted() -> None:
    found = stack_validate.examine(ROOT / "stacks" / "pithead", ROOT, TODAY)
    assert found is not None
    counts = found.counts
    assert counts["checks"] > 50
    assert counts["planted bugs"] > 30
    assert counts["steps"] >= 10


def plant(folder: Path, row: dict[str, Any]) -> int:
    """Plant one mistake; return the line in which it must be found."""
    path = folder / row["file"]
    text = path.read_text(encoding="utf-8")
    assert text.count(row["old"]) == 1, "the place of a planted mistake is unambiguous"
    path.write_text(text.replace(row["old"], row["new"]), encoding="utf-8")
    return text[: text.index(row["old"])].count("\n") + 1 + int(row.get("at", 0))


@pytest.mark.parametrize("row", PLANTED, ids=lambda row: f"{row['file']}: {row['says']}"[:70])
def test_a_planted_mistake_is_named_with_its_line_and_nothing_else_is(stack: Path, row: dict[str, Any]) -> None:
    line = plant(stack, row)
    found = mistakes(stack)
    assert [one for one in found if one[:2] == (row["file"], line) and row["says"] in one[2]], found
    assert len(found) == 1 + row.get("more", 0), found


def test_all_mistakes_are_told_at_once(stack: Path) -> None:
    """Those that stand in places of their own; several of one kind, in one file and in one piece."""
    taken: set[str] = set()
    wanted = []
    for row in PLANTED:
        text = (stack / row["file"]).read_text(encoding="utf-8")
        alone = "not YAML" not in row["says"] and "twice" not in row["says"] and "cannot be loaded" not in row["says"]
        if alone and text.count(row["old"]) == 1 and not row.get("more") and row["old"] not in taken:
            taken.add(row["old"])
            plant(stack, {**row, "new": row["new"]})
            wanted.append(row)
    found = mistakes(stack)
    missing = [row for row in wanted if not any(one[0] == row["file"] and row["says"].split("[")[-1] in one[2] for one in found)]
    # What could not be read in one piece hides nothing in another: only keys under which other mistakes hang may go.
    assert len(wanted) > 40
    assert len(missing) <= 4, missing


def test_every_mistake_of_one_predicate_is_told(stack: Path) -> None:
    row = {
        "file": "profile.yml",
        "old": "{ probe: status, path: rc, op: eq, value: 0 }] }",
        "new": "{ probe: nope, op: huh, part: mine, x: 1 }] }",
    }
    plant(stack, row)
    assert [text.partition(";")[0] for _file, _line, text in mistakes(stack)] == [
        "status: no probe nope",
        "status: part is observed or invariant, not 'mine'",
        "status: unknown operator 'huh'",
        "unknown key hosts.bench.fit[3].all[0].x",
    ]


# What the readers refuse is refused in the same words.


def test_what_is_lacking_is_told_in_the_words_of_the_run(stack: Path) -> None:
    plant(stack, {"file": "profile.yml", "old": "  checkout: /srv/code/pithead-e2e\n", "new": ""})
    profile, exercise = (yaml.safe_load((stack / f"{name}.yml").read_text(encoding="utf-8")) for name in ("profile", "exercise"))
    with pytest.raises(_run_context.UsageError) as refused:
        _run_context.build({}, profile, exercise, {})
    assert only(stack)[2] == str(refused.value)


def test_what_only_the_run_lacks_is_told_beside_other_mistakes(stack: Path) -> None:
    """The schema does not ask for `borrow`; who reads a profile with a miner does."""
    text = (stack / "profile.yml").read_text(encoding="utf-8")
    head, _borrow, _rest = text.partition("\nborrow:\n")
    (stack / "profile.yml").write_text(head.replace("busy_exit: 75", "busy_exit: x") + "\n", encoding="utf-8")
    assert [text for _file, _line, text in mistakes(stack)] == [
        "the stack's profile.yml lacks borrow",
        "driver.busy_exit: input should be a valid integer, not 'x'",
    ]


def test_the_places_that_may_be_filled_in_are_those_that_a_run_fills_in() -> None:
    """One that `build` puts in and the list does not have would be called a mistake; one it does not put in would stay."""
    source = inspect.getsource(_run_context)
    keys = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(_run_context.PLACES) <= keys | {"worker"}
    text = {place: "{" + place + "}" for place in _run_context.PLACES}
    filled = _run_context.fill(text, stack_readers.SAMPLE)
    assert not [place for place, value in filled.items() if value == text[place]]


def test_the_ops_and_actions_of_the_schema_are_those_of_the_readers() -> None:
    assert set(stack_schema._OPS) == set(_step.OPS)
    actions = stack_schema.EngineOp.model_fields["engine"].annotation
    assert set(actions.__args__) == set(item_calls._ACTIONS)


def options_read(name: str, parts: dict[str, ast.AST], seen: set[str]) -> set[str]:
    """Options that a function reads of its spec, also through those that it hands the spec to."""
    seen.add(name)
    found = set()
    for node in ast.walk(parts[name]):
        if isinstance(node, ast.Call):
            called, words = ast.unparse(node.func), [ast.unparse(argument) for argument in node.args]
            if called in ("spec.get", "self._spec.get") or (called == "need" and words[0] == "spec"):
                found.add(ast.literal_eval(node.args[-1] if called == "need" else node.args[0]))
            elif called in parts and called not in seen and {"spec", "self._spec"} & set(words):
                found |= options_read(called, parts, seen)
    return found


@pytest.mark.parametrize("kind", _snapshot.KINDS)
def test_every_option_that_a_probe_reads_is_documented_and_no_other(kind: str) -> None:
    """The documentation of a probe is what its options are judged by."""
    probe = _snapshot.KINDS[kind]
    tree = ast.parse(Path(inspect.getfile(probe)).read_text(encoding="utf-8"))
    parts: dict[str, ast.AST] = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert options_read(probe.__name__, parts, set()) == set(stack_readers.options(kind)[0])


# Replays, faults, odd files.


def replay(folder: Path, text: str, name: str = "peers.sh", mode: int = 0o755) -> None:
    (folder / "replays").mkdir(exist_ok=True)
    (folder / "replays" / name).write_text(text, encoding="utf-8")
    (folder / "replays" / name).chmod(mode)


def test_a_good_replay_has_no_mistake(stack: Path) -> None:
    replay(stack, HEADER)
    replay(stack, HEADER.replace("# ///", SKIP, 2).replace(SKIP + " replay", "# /// replay"), "skipped.sh")
    replay(stack, HEADER.replace("# ", "// "), "peers.js")
    replay(stack, HEADER, "test_peers.py", 0o644)
    replay(stack, "helpers\n", "_curl.sh", 0o644)
    assert mistakes(stack) == []
    found = stack_validate.examine(stack, stack.parents[1], TODAY)
    assert found is not None
    assert found.counts["replays"] == 4


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('# issue: "2397"\n', "", 4, "lacks issue"),
        ('"2397"', "2397", 4, "issue: input should be a valid string"),
        ("bug_class: five causes, one message", 'bug_class: ""', 5, "bug_class: string should have at least 1 character"),
        ("timeout: 30", "timeout: 30s", 6, "timeout: input should be a valid number, not '30s'"),
        ("timeout: 30", "timeout: 0", 6, "timeout: input should be greater than 0"),
        ("needs: shared", "needs: alone", 7, "needs: input should be 'exclusive', 'own-tenant' or 'shared', not 'alone'"),
        ("break: { tenant", "break: { tennant", 8, "break.tennant"),
        ("needs: shared", "needs: shared\n# admin: false", 4, "so it needs: own-tenant"),
        ("needs: shared", "need: shared", 7, "unknown key need"),
        ("# ///\nexit", SKIP.replace("2026-12-31", "2026-11-25") + "\nexit", 9, "the skip has expired on 2026-11-25"),
        (
            "# ///\nexit",
            SKIP.replace("missing", "flaky") + "\nexit",
            9,
            "unknown class 'flaky'; there are missing, by-design, covered",
        ),
        ("# ///\nexit", SKIP.replace(", expires: 2026-12-31", "") + "\nexit", 9, "lacks skip.expires"),
        ("# ///\nexit", SKIP.replace("2026-12-31", "soon") + "\nexit", 9, "skip.expires: input should be a valid date"),
        ("# ///\nexit", SKIP.replace("skip", "xfail").replace("# ///", "") + SKIP + "\nexit", 4, "skip or xfail, not both"),
        ("# /// replay", "# replay", 1, "has no header"),
        ("# ///\nexit", "exit", 3, "the header has no end"),
        ("exit 0", "# /// replay\n# ///", 10, "a second header, the first begins in line 3"),
        ("# timeout: 30", "# timeout: [30", 7, "not YAML: "),
    ],
)
def test_a_bad_header_of_a_replay_is_named(stack: Path, old: str, new: str, line: int, says: str) -> None:
    assert HEADER.count(old) == 1
    replay(stack, HEADER.replace(old, new))
    found = mistakes(stack)
    assert [one for one in found if one[:2] == ("replays/peers.sh", line) and says in one[2]], found


def test_a_replay_that_cannot_be_run_is_named(stack: Path) -> None:
    replay(stack, HEADER, mode=0o644)
    assert only(stack) == ("replays/peers.sh", 1, "is not executable, and no test_*.py")


def test_a_header_is_read_as_what_it_says() -> None:
    header = replay_header.read(HEADER.replace("# ///\nexit", SKIP + "\nexit"), "x", TODAY)
    assert (header.issue, header.timeout, header.needs, header.breaks) == ("2397", 30, "shared", {"tenant": ["open-peers"]})
    assert header.skip is not None
    assert (header.skip.kind, header.skip.expires) == ("missing", dt.date(2026, 12, 31))
    with pytest.raises(BrokenFileError):
        replay_header.read("", "x", TODAY)


def test_a_fault_without_its_heal_is_named(stack: Path) -> None:
    fault = "- id: fault.node\n  title: The node dies\n  ops: [{ engine: kill, container: monerod }]\n"
    (stack / "faults.yml").write_text(fault, encoding="utf-8")
    assert only(stack) == ("faults.yml", 1, "lacks [0].always")
    (stack / "faults.yml").write_text(f"{fault}  always: [{{ engine: start, container: monerod }}]\n", encoding="utf-8")
    assert mistakes(stack) == []


def test_files_that_nobody_reads_are_named(stack: Path) -> None:
    (stack / "checks" / "more.yaml").write_text("[]\n", encoding="utf-8")
    (stack / "planted" / "mine.diff").write_text("", encoding="utf-8")
    assert mistakes(stack) == [
        ("checks/more.yaml", 1, "is not read: checks are *.yml and *.py"),
        ("planted/mine.diff", 1, "is not read: planted bugs are *.patch"),
    ]


def test_odd_bytes_are_a_mistake_and_no_crash(stack: Path) -> None:
    (stack / "posture.yml").write_bytes(b"a: 1\nb: \xff\n")
    assert only(stack) == ("posture.yml", 2, "not UTF-8")
    (stack / "posture.yml").write_text("a: &a [*a]\n", encoding="utf-8")
    assert only(stack) == ("posture.yml", 1, "not YAML: an alias that contains itself")
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
    (stack / "posture.yml").write_text("\n".join(lines), encoding="utf-8")
    assert only(stack) == ("posture.yml", 1, "not YAML: too many aliases of aliases")
    (stack / "posture.yml").write_text("", encoding="utf-8")
    assert ("posture.yml", 1, "is empty") in mistakes(stack)


@pytest.mark.parametrize(
    "text", ["[]\n", "x\n", "{ hosts: [], driver: 1 }\n", "{ hosts: { bench: { probes: [1], fit: 3, snapshot: {} } } }\n"]
)
def test_a_file_of_a_wholly_other_shape_is_a_mistake_and_no_crash(stack: Path, text: str) -> None:
    for name in ("profile.yml", "exercise.yml", "posture.yml", "faults.yml", "checks/config.yml"):
        kept = (stack / name).read_text(encoding="utf-8") if (stack / name).is_file() else ""
        (stack / name).write_text(text, encoding="utf-8")
        found = mistakes(stack)
        assert all(line >= 1 for _file, line, _text in found)
        assert [one for one in found if one[0] == name] or (
            name in ("posture.yml", "faults.yml", "checks/config.yml") and text != "x\n"
        )
        (stack / name).write_text(kept or "[]\n", encoding="utf-8")


ODD: list[Any] = [None, 1, -1.5, True, "", "x", "{x}", "a..b", [], ["x"], {}, {"x": 1}, {1: [2]}, [[]], [{}], dt.date(2026, 1, 1)]


def places(data: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place, *(below for key, value in children for below in places(value, (*place, key)))]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_whatever_stands_in_a_file_is_a_mistake_and_no_crash(stack: Path, data: strategies.DataObject) -> None:
    name = data.draw(strategies.sampled_from(["profile.yml", "exercise.yml", "posture.yml", CHECKS, "embedded.yml"]))
    kept = (ROOT / "stacks" / "pithead" / name).read_text(encoding="utf-8")
    document = yaml.safe_load(kept)
    *above, key = data.draw(strategies.sampled_from(places(document)[1:]))
    node = document
    for step in above:
        node = node[step]
    node[key] = data.draw(strategies.sampled_from(ODD))
    (stack / name).write_text(yaml.safe_dump(document), encoding="utf-8")
    assert all(line >= 1 for _file, line, _text in mistakes(stack))
    (stack / name).write_text(kept, encoding="utf-8")


# The command.


def test_the_command_ends_with_2_and_names_every_mistake(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(stack.parents[1])
    assert stack_validate.run(paths, ["pithead"], as_json=False) == 0
    line = plant(stack, PLANTED[0])
    assert stack_validate.run(paths, ["pithead"], as_json=False) == 2
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f"stacks/pithead/profile.yml:{line}: unknown key build_lable", said[-1]]
    assert said[-1].startswith("pithead: 1 mistake (")


def test_the_output_for_scripts_is_stable(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = plant(stack, PLANTED[0])
    assert stack_validate.run(Paths(stack.parents[1]), ["pithead"], as_json=True) == 2
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"schema", "stacks"}
    (one,) = told["stacks"]
    assert {key: one[key] for key in ("stack", "valid", "mistakes")} == {
        "stack": "pithead",
        "valid": False,
        "mistakes": [{"file": "stacks/pithead/profile.yml", "line": line, "text": "unknown key build_lable"}],
    }


def test_nothing_to_validate_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "stacks" / "empty").mkdir(parents=True)
    with pytest.raises(UsageError, match="nothing to validate"):
        stack_validate.run(Paths(tmp_path), ["empty"], as_json=False)
    with pytest.raises(UsageError, match="there is no stack"):
        stack_validate.run(Paths(tmp_path), [], as_json=False)


def test_a_folder_without_data_is_left_out_unless_it_is_named(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stack.parent / "empty").mkdir()
    assert stack_validate.run(Paths(stack.parents[1]), [], as_json=False) == 0
    assert capsys.readouterr().out.startswith("pithead: no mistakes (")


@pytest.mark.parametrize("words", [["validate", "nope"], ["validate", "../pithead"], ["validate", "--schema", "nope"]])
def test_what_cannot_be_meant_ends_with_2(words: list[str]) -> None:
    assert cli.main(words) == 2


@pytest.mark.parametrize("name", stack_validate.MODELS)
def test_every_schema_can_be_given_to_an_editor(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--schema", name]) == 0
    assert json.loads(capsys.readouterr().out)
