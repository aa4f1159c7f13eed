"""The smallest stack's own parts: its checks can fail, its driver does what the verbs say, its service greets."""

from __future__ import annotations

import copy
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchkeeper.verdicts import Look, judge_look, load_checks

STACK = Path(__file__).parents[4] / "stacks" / "hello"
CONTEXT = {"commit": "4f" * 20, "overrides": {"greeting": "Good day"}}
GOOD: dict[str, Any] = {
    "observed": {"stack": {"services": {"web": {"image_revision": "4f" * 20}}}, "web": {"json": {"greeting": "Good day"}}},
    "invariant": {},
    "errors": {},
}


def red(document: dict[str, Any], phase: str = "scenario", step: str = "applied") -> set[str]:
    look = Look(phase, step, "bench-0", "bench", document)
    found = list(judge_look(load_checks(STACK / "checks"), look, CONTEXT, None))
    assert found, "the look is judged"
    return {one.verdict.id for one in found if one.verdict.verdict != "pass"}


@pytest.mark.parametrize(("phase", "step"), [("scenario", "applied"), ("lifecycle", "healed"), ("deploy", "deployed")])
def test_the_checks_are_green_on_a_good_bench(phase: str, step: str) -> None:
    assert red(GOOD, phase, step) == set()


def test_each_check_can_fail() -> None:
    document = copy.deepcopy(GOOD)
    document["observed"]["stack"]["services"]["web"]["image_revision"] = "00" * 20
    assert red(document) == {"web.commit"}
    document = copy.deepcopy(GOOD)
    document["observed"]["web"]["json"]["greeting"] = "Hello"
    assert red(document) == {"web.greeting"}
    nothing: dict[str, Any] = {"observed": {}, "invariant": {}, "errors": {}}
    assert red(nothing) == {"web.commit", "web.greeting"}


# The driver, with an engine that only writes down what it was asked.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout of the reference; `docker` and `git` beside it write their arguments to a log."""
    folder = tmp_path / "checkout"
    shutil.copytree(STACK / "reference", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "config.json").write_text('{"greeting": "Hello"}', encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = (
        f'#!/bin/sh\necho "$* $HELLO_REVISION ${{HELLO_CONFIG%${{HELLO_CONFIG#????}}}}" >> {tmp_path}/log\ncat {tmp_path}/says\n'
    )
    for name, text in {"docker": docker, "git": "#!/bin/sh\necho 4f4f\n"}.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    (tmp_path / "says").touch()
    return folder


def drive(checkout: Path, *words: str) -> tuple[int, str, list[str]]:
    log = checkout.parent / "log"
    log.unlink(missing_ok=True)
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run([checkout / "hello", *words], capture_output=True, text=True, check=False, env={"PATH": path}, cwd="/")
    return done.returncode, done.stdout.strip(), log.read_text(encoding="utf-8").splitlines() if log.is_file() else []


def test_only_an_upgrade_builds(checkout: Path) -> None:
    mark = "4f4f " + subprocess.run(["sha256sum", checkout / "config.json"], capture_output=True, text=True, check=True).stdout[:4]
    start = f"compose up --detach --no-build {mark}"
    assert drive(checkout, "upgrade") == (0, "", [f"compose build --quiet {mark}", start])
    assert drive(checkout, "up") == drive(checkout, "apply") == (0, "", [start])


def test_another_configuration_makes_another_container(checkout: Path) -> None:
    before = drive(checkout, "up")
    (checkout / "config.json").write_text('{"greeting": "Good day"}', encoding="utf-8")
    assert drive(checkout, "up") != before


@pytest.mark.parametrize(
    ("says", "code", "told"),
    [
        ("running healthy", 0, "web is running healthy"),
        ("running starting", 1, "web is running starting"),
        ("exited", 1, "web is exited"),
        ("", 1, "web is not there"),
    ],
)
def test_status_is_good_only_when_the_service_is(checkout: Path, says: str, code: int, told: str) -> None:
    (checkout.parent / "says").write_text(says, encoding="utf-8")
    assert drive(checkout, "status")[:2] == (code, told)


def test_a_verb_that_there_is_not_changes_nothing(checkout: Path) -> None:
    assert drive(checkout, "explode") == drive(checkout) == (2, "", [])


def test_the_service_greets_as_it_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("hello_web", STACK / "reference" / "web.py")
    assert spec is not None
    assert spec.loader is not None
    web = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(web)
    monkeypatch.setattr(web, "CONFIG", tmp_path / "config.json")
    monkeypatch.setattr(web.Greeter, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), web.Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(web, "PORT", server.server_port)
        for greeting in ("Hello", "Good day"):
            web.CONFIG.write_text(json.dumps({"greeting": greeting}), encoding="utf-8")
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=5) as answer:
                assert json.load(answer) == {"greeting": greeting}
        assert web.healthy()
        server.shutdown()
    with pytest.raises(OSError, match="refused"):
        web.healthy()
