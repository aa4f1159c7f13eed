"""Bad input ends with 2 before anything is done: no engine is asked, no repository made, no playbook started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from benchkeeper import cli, engine, repo, setup
from benchkeeper.parser import build_parser
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = [
    ["e2e"],
    ["e2e", ""],
    ["e2e", "x; rm -rf /"],
    ["e2e", "--upload-pack=touch /tmp/p"],
    ["e2e", "--", "--upload-pack=touch /tmp/p"],
    ["e2e", "x';touch${IFS}/tmp/p;'"],
    ["e2e", "$(id)"],
    ["e2e", "{{lookup('pipe','id')}}"],
    ["e2e", "a\nb"],
    ["e2e", "main\u202e"],
    ["e2e", "x" * 4096],
    ["e2e", "main", "--mode", "matrix"],
    ["e2e", "main", "--mode", "{{x}}"],
    ["e2e", "main", "--stack", "nope"],
    ["e2e", "main", "--stack", "../pithead"],
    ["e2e", "main", "--miners", "miner-9"],
    ["e2e", "main", "--stack", "hello", "--miners", "miner-0"],
    ["e2e", "main", "--stack", "hello", "--miners", "miner-9"],
    ["crash", "--stack", "hello", "--random", "1"],
    ["e2e", "main", "--miners", "miner-0,miner-0"],
    ["e2e", "main", "--miners=-oProxyCommand=x"],
    ["e2e", "main", "--miners", ""],
    ["e2e", "main", "--workers", "-1"],
    ["e2e", "main", "--workers", "1e9"],
    ["e2e", "main", "--ttl", "0"],
    ["e2e", "main", "--ttl", "999999999999"],
    ["e2e", "main", "--wait", "-5"],
    ["e2e", "main", "--keep"],
    ["e2e", "main", "--keep", "--ttl", "60", "--mode", "check"],
    ["e2e", "main", "-e", "x"],
    ["e2e", "main", "-e", "ansible_connection=local"],
    ["e2e", "main", "-e", "a={{lookup('pipe','id')}}"],
    ["e2e", "main", "--inventory", "/does/not/exist"],
    ["e2e", "main", "--inventory", "host,"],
    ["e2e", "main", "other"],
    ["recover", "--host=-oProxyCommand=x"],
    ["recover", "--host", "nope"],
    ["recover", "--host", "miner-0", "--host", "miner-0"],
    ["recover", "--run", "latest"],
    ["recover", "--force"],
    ["reap", "--run", "bench"],
    ["reap", "--run", "*"],
    ["reap", "--run"],
    ["reap", "everything"],
    ["machine", "reboot", "nope"],
    ["machine", "explode", "miner-0"],
    ["machine", "reboot", "localhost"],
    ["bare", "11"],
    ["test", "all"],
    ["planted", "nope"],
    ["signals", "--count", "0"],
    ["logs", "--lines", "0"],
    ["logs", "--host", "nope"],
    ["up", "--stack", "nope"],
    ["fly"],
    [],
]


@pytest.fixture(autouse=True)
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object, **__: object) -> None:
        pytest.fail("something was done before the input was judged")

    monkeypatch.setattr(engine, "connect", touched)
    monkeypatch.setattr(repo, "ensure", touched)
    monkeypatch.setattr(setup, "ensure_up", touched)
    monkeypatch.setattr(setup, "up", touched)


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words)[:40] or "none")
def test_bad_input_ends_with_2(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    output = capfd.readouterr()
    assert code == 2
    text = output.out + output.err
    assert text.isascii()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert len(text) < 4000


def test_every_command_of_the_parser_is_wired() -> None:
    listed = build_parser().format_help()
    # argparse breaks the line behind a name that is as wide as its column.
    assert all(re.search(rf"\n    {name}\s", listed) for name in cli.COMMANDS)


@pytest.mark.parametrize("command", [["e2e", "main"], ["recover"]], ids=lambda words: words[0])
def test_an_unexpected_failure_ends_with_4(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise OSError("no space left")

    monkeypatch.setitem(cli.COMMANDS, command[0], broken)
    assert cli.main(command) == 4
    err = capsys.readouterr().err
    assert "no space left" in err
    assert err.count("\n") == 1


def test_help_is_good_news(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    assert "./bench e2e main" in capsys.readouterr().out


def test_the_checkout_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert (checkout().root / "bench").is_file()
