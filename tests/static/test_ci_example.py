"""The workflow that users copy can be a required check: it always reports, hides no failure, and takes away what it left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchkeeper import located

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "ci" / "harness-replays.yml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
ACTIONS = ("actions/checkout@", "actions/upload-artifact@")
HIDES = ("continue-on-error", "|| true", "|| :", "set +e")


def triggers(document: dict[Any, Any]) -> Any:
    """What starts a workflow. YAML 1.1 reads the key ``on`` as true, and so does the parser here; quoted, it is a text."""
    return document.get("on", document.get(True))


def keys(value: Any) -> set[str]:
    """All keys of a document, at whatever depth."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*(keys(one) for one in value.values()))
    return set().union(*(keys(one) for one in value)) if isinstance(value, list) else set()


def problems(text: str) -> list[str]:
    """Why a workflow cannot be a required check; what cannot be read is a problem, never a pass."""
    try:
        document = located.parse(text, "workflow").data
    except located.BrokenFileError as error:
        return [str(error)]
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), dict):
        return ["it has no jobs"]
    starts = triggers(document)
    found = [] if isinstance(starts, dict) and "pull_request" in starts else ["a pull request does not start it"]
    filters = sorted({"paths", "paths-ignore"} & keys(starts))
    found += [f"`{one}` at the top: when it does not start, nobody reports" for one in filters]
    found += [f"`{word}` hides a failure" for word in HIDES if word in text]
    if len(document["jobs"]) != 1:
        return [*found, f"{len(document['jobs'])} jobs: which of them is required?"]
    queue = document.get("concurrency")
    if not isinstance(queue, dict) or queue.get("cancel-in-progress") is not False or "github.ref" not in str(queue.get("group")):
        found.append("a run is cut off by the next one, or waits for another ref's")
    return found + job_problems(next(iter(document["jobs"].values())))


def job_problems(job: dict[str, Any]) -> list[str]:
    """Why the one job would not report, or not fail."""
    found = [f"the job has `{one}`" for one in ("if", "needs", "strategy") if one in job]
    found += [] if job.get("timeout-minutes") else ["the job may last for ever"]
    steps = job["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    found += [f"a foreign action: {one}" for one in used if not one.startswith(ACTIONS)]
    runs = {str(step.get("run", "")).strip(): str(step.get("if", "")) for step in steps}
    if "./bench replays" not in runs:
        found.append("the replays are not played")
    if not runs.get("./bench reap", "").startswith("always()") or "reap" not in str(steps[-1]):
        found.append("what is left is not taken away at the end, whatever happened")
    return found


def test_the_example_can_be_a_required_check() -> None:
    assert problems(TEXT) == []


BROKEN = {
    "not YAML": ("jobs:", "jobs: ["),
    "a key twice": ("permissions:", "name: again\npermissions:"),
    "no jobs": ("jobs:", "job:"),
    "nothing starts it": ("on:", "off:"),
    "no pull request": ("  pull_request:\n", ""),
    "paths": ("  pull_request:\n", "  pull_request:\n    paths: [stacks/**]\n"),
    "paths that do not count": ("    branches: [main]\n", "    branches: [main]\n    paths-ignore: [docs/**]\n"),
    "a second job": ("jobs:\n", "jobs:\n  other: {runs-on: x, steps: []}\n"),
    "a failure that does not count": ("    timeout-minutes: 30\n", "    timeout-minutes: 30\n    continue-on-error: true\n"),
    "a step's failure that does not count": ("run: ./bench replays", "run: ./bench replays\n        continue-on-error: true"),
    "a shell that forgives": ("run: ./bench replays", "run: ./bench replays || true"),
    "a job that is skipped": ("    timeout-minutes: 30\n", "    timeout-minutes: 30\n    if: github.actor != 'x'\n"),
    "no limit": ("    timeout-minutes: 30\n", ""),
    "no queue": ("concurrency:", "env:"),
    "cut off": ("cancel-in-progress: false", "cancel-in-progress: true"),
    "one after the other for all": ("-${{ github.ref }}", ""),
    "a stranger's action": ("actions/upload-artifact@v4", "somebody/upload@v1"),
    "nothing is played": ("./bench replays", "./bench help"),
    "no sweep": ("./bench reap", "./bench status"),
    "a sweep for good days": ("if: always()", "if: success()"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_law_can_be_broken(name: str) -> None:
    good, bad = BROKEN[name]
    assert good in TEXT
    assert problems(TEXT.replace(good, bad, 1))


def test_the_key_on_is_found_however_it_is_written() -> None:
    assert problems(TEXT.replace("\non:", '\n"on":')) == []


def git(place: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(argv, cwd=place, capture_output=True, text=True, check=True).stdout.strip()


def wanted(place: Path, base: str) -> str:
    """What the comparing step says, run as a runner runs it."""
    job = next(iter(located.parse(TEXT, "workflow").data["jobs"].values()))
    script = next(step["run"] for step in job["steps"] if step.get("id") == "changes")
    said = place.parent / "output"
    said.write_text("", encoding="ascii")
    env = {"PATH": os.environ["PATH"], "BASE": base, "GITHUB_OUTPUT": str(said)}
    subprocess.run(["bash", "-e", "-c", script], cwd=place, env=env, capture_output=True, check=True)
    return said.read_text(encoding="ascii").strip()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["docs/page.md", "README.md", "changelogs/fragments/x.yml", "roles/reap/README.md"], "wanted=false"),
        (["docs/page.md", "benchkeeper/new.py"], "wanted=true"),
        (["stacks/tenant/replays/test_docs.py"], "wanted=true"),
        (["bench"], "wanted=true"),
        ([".github/workflows/harness-replays.yml"], "wanted=true"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else value,
)
def test_only_pages_make_it_stop_early(changed: list[str], says: str, tmp_path: Path) -> None:
    place = tmp_path / "tree"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    git(place, "commit", "-q", "--allow-empty", "-m", "base")
    base = git(place, "rev-parse", "HEAD")
    for name in changed:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x", encoding="ascii")
    git(place, "add", "--all")
    git(place, "commit", "-q", "-m", "change")
    assert wanted(place, base) == says
    for unknown in ("", "0" * 40, "f" * 40):
        assert wanted(place, unknown) == "wanted=true", "what cannot be compared counts as changed"
