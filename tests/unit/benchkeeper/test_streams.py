"""Where output goes changes nothing about how a command ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keeper.build import build

ROOT = Path(__file__).parents[3]
NOWHERE = (">&- 2>&-", ">/dev/full 2>/dev/full", ">&-", "2>/dev/full", "<&- >&- 2>&-", "| true")


def ended(words: str, where: str, **more: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    # The code of the first program of a pipe.
    command = ["bash", "-c", f"{words} {where}; exit ${{PIPESTATUS[0]}}"]
    return subprocess.run(command, check=False, timeout=60, env=environment, capture_output=True).returncode


@pytest.mark.parametrize("where", NOWHERE)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_a_command_ends_with_does_not_depend_on_where_it_prints(where: str, unbuffered: str) -> None:
    assert ended(f"{sys.executable} -m benchkeeper e2e 'x y'", where, PYTHONUNBUFFERED=unbuffered) == 2


@pytest.mark.parametrize("where", NOWHERE)
def test_a_keeper_has_done_what_it_did(tmp_path: Path, where: str) -> None:
    build(tmp_path / "keeper")
    state = {"BENCHKEEPER_STATE_DIR": str(tmp_path / "state"), "PYTHONUNBUFFERED": ""}
    assert ended(f"{sys.executable} {tmp_path}/keeper version", where, **state) == 0


def test_a_file_that_is_opened_later_is_not_printed_into(tmp_path: Path) -> None:
    script = tmp_path / "later.py"
    script.write_text(
        "import os\nfrom benchkeeper.__main__ import open_what_is_closed\nopen_what_is_closed()\n"
        f"later = os.open({str(tmp_path / 'later')!r}, os.O_WRONLY | os.O_CREAT)\nprint('said', flush=True)\n"
        "os.system('echo said by a child')\nraise SystemExit(later)\n",
        encoding="utf-8",
    )
    assert ended(f"{sys.executable} {script}", ">&- 2>&-") > 2
    assert (tmp_path / "later").read_bytes() == b""


@pytest.mark.parametrize(
    "words", ["LC_ALL=C", "LC_ALL=POSIX LANG=C", "LANG=xx_YY.UTF-8", "LANG=C.UTF-8 LC_TIME=xx_YY", "LANG=C.UTF-8", ""]
)
def test_what_is_started_finds_a_locale_in_utf8(tmp_path: Path, words: str) -> None:
    script = tmp_path / "tongue.py"
    ask = "import locale; locale.setlocale(locale.LC_ALL, ''); print(locale.getlocale()[1])"
    script.write_text(
        "import subprocess, sys\nfrom benchkeeper.__main__ import speak_utf8\nspeak_utf8()\nprint('\\u2713')\n"
        f"sys.stdout.flush()\nsubprocess.run([sys.executable, '-c', {ask!r}], check=True)\n",
        encoding="utf-8",
    )
    clean = f"env -i PATH=$PATH PYTHONPATH={ROOT} PYTHONIOENCODING=ascii {words}"
    done = subprocess.run(["bash", "-c", f"{clean} {sys.executable} {script}"], check=True, capture_output=True, text=True)
    assert done.stdout == "\\u2713\nUTF-8\n"
