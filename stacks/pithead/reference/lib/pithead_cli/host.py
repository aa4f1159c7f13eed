"""What the command line touches on the host: its own directory, product defaults, programs, root for root's data."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pithead_cli import envfile
from pithead_cli.rendering import HostFacts
from pithead_cli.say import Refusal, warning

PRODUCT_DEFAULTS = Path("/etc/default/pithead")
BUSY = 75
OWNERS = {
    "MONERO_DATA_DIR": "1000:1000",
    "TARI_DATA_DIR": "1000:1000",
    "P2POOL_DATA_DIR": "1000:1000",
    "DASHBOARD_DATA_DIR": "1000:1000",
    "TOR_DATA_DIR": "100:101",
}


class Place:
    """One installation: the directory of the script and the files in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = Path(os.environ.get("PITHEAD_CONFIG_FILE") or directory / "config.json")
        self.env = Path(os.environ.get("PITHEAD_ENV_FILE") or directory / ".env")
        self.caddyfile = directory / "Caddyfile"
        self.incomplete = directory / ".env.apply-incomplete"
        self.reference = directory / "config.reference.json"
        self.backups = directory / "backups"
        versioned = directory.name.startswith("pithead-v")
        default_lock = (directory.parent if versioned else directory) / ".pithead.lock"
        self.lock = Path(os.environ.get("PITHEAD_LOCK_FILE") or default_lock)

    @property
    def source_checkout(self) -> bool:
        """Whether images are built here."""
        return (self.directory / "dashboard" / "Dockerfile").exists()

    @property
    def version(self) -> str:
        """The version this directory holds."""
        return (self.directory / "VERSION").read_text().strip()

    def stack_version(self) -> str:
        """Give the tag of the images."""
        return "dev" if self.source_checkout else f"v{self.version}"

    def revision(self) -> str:
        """Give the commit of the checkout, `unknown` where it is none."""
        done = subprocess.run(
            ["git", "-C", str(self.directory), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, env=_plain_env()
        )
        return done.stdout.strip() or "unknown"

    def facts(self, onions: dict[str, str] | None = None) -> HostFacts:
        """Collect what rendering needs."""
        product = envfile.read(PRODUCT_DEFAULTS)
        return HostFacts(
            directory=self.directory,
            hostname=socket.gethostname(),
            time_scale=float(product.get("PITHEAD_TIME_SCALE", "1")),
            offline=product.get("PITHEAD_OFFLINE", "0") == "1",
            difficulty=int(product.get("PITHEAD_REGTEST_DIFFICULTY", "100")),
            onions=onions or {},
        )


def _plain_env() -> dict[str, str]:
    """Give children a small environment: a stray variable would override .env in compose."""
    kept = ("PATH", "HOME", "LANG", "TERM", "DOCKER_HOST", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "PITHEAD_RUNTIME")
    return {name: os.environ[name] for name in kept if name in os.environ}


def run(argv: list[str], *, extra: dict[str, str] | None = None, quiet: bool = False, cwd: Path | None = None) -> int:
    """Run a program with our output; gives its exit code."""
    sink = subprocess.DEVNULL if quiet else None
    done = subprocess.run(argv, env=_plain_env() | (extra or {}), stdin=subprocess.DEVNULL, stdout=sink, check=False, cwd=cwd)
    return done.returncode


def ask(argv: list[str], *, extra: dict[str, str] | None = None, cwd: Path | None = None, stdin: str = "") -> str:
    """Run a program for its output; Refusal with its last words when it fails."""
    done = subprocess.run(argv, env=_plain_env() | (extra or {}), input=stdin, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        message = f"{argv[0]} failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
        raise Refusal(message)
    return done.stdout


def as_root(argv: list[str]) -> list[str]:
    """Prefix a command so that it runs as root without asking."""
    return argv if os.geteuid() == 0 else ["sudo", "-n", *argv]


def make_data_dirs(values: dict[str, str]) -> None:
    """Create the data directories and give what is in them back to the services that own them."""
    # Arguments come in threes: owner, directory, mode.
    give_back = 'find "$2" ! \\( -uid "${1%:*}" -gid "${1#*:}" \\) -exec chown -h "$1" {} +'
    script = f'set -e; while [ "$#" -gt 0 ]; do install -d -m "$3" -o "${{1%:*}}" -g "${{1#*:}}" "$2"; {give_back}; shift 3; done'
    wanted: list[str] = []
    for key, owner in OWNERS.items():
        wanted += [owner, values[key], "0700" if key == "TOR_DATA_DIR" else "0755"]
    wanted += [OWNERS["P2POOL_DATA_DIR"], f"{values['P2POOL_DATA_DIR']}/stats", "0755"]
    if run(as_root(["sh", "-c", script, "sh", *wanted])):
        message = "the data directories could not be prepared"
        raise Refusal(message)


def read_as_root(paths: list[str]) -> list[str]:
    """Read small files of root or of a service; '' for each that is not there."""
    script = 'for f in "$@"; do if [ -f "$f" ]; then head -c 4096 "$f" | tr -d "\\n"; fi; echo; done'
    done = subprocess.run(
        as_root(["sh", "-c", script, "sh", *paths]), capture_output=True, text=True, check=False, env=_plain_env()
    )
    lines = done.stdout.split("\n")
    return (lines + [""] * len(paths))[: len(paths)]


@contextmanager
def mutation_lock(place: Place, verb: str) -> Iterator[None]:
    """Hold the installation's lock while something is changed; the file itself is never removed or replaced.

    A process that we were started by may hold it already (PITHEAD_LOCK_HELD). Waiting ends after PITHEAD_LOCK_TIMEOUT seconds with
    exit code 75, before anything was changed.
    """
    if os.environ.get("PITHEAD_LOCK_HELD") == str(place.lock):
        yield
        return
    try:
        handle = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        warning(f"{place.lock} cannot be opened ({error.strerror}); going on without the lock")
        yield
        return
    try:
        _take(handle, float(os.environ.get("PITHEAD_LOCK_TIMEOUT", "300")))
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid={os.getpid()} verb={verb} since={since}\n".encode(), 0)
        os.environ["PITHEAD_LOCK_HELD"] = str(place.lock)
        try:
            yield
        finally:
            del os.environ["PITHEAD_LOCK_HELD"]
    finally:
        os.close(handle)


def _take(handle: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                message = f"another pithead command is changing the stack ({_holder(handle)}); nothing was changed"
                raise Refusal(message, BUSY) from None
            time.sleep(random.uniform(0.1, 0.4))
        else:
            return


def _holder(handle: int) -> str:
    text = os.pread(handle, 256, 0).decode(errors="replace").strip()
    pid = text.partition("pid=")[2].partition(" ")[0]
    return text if pid.isdigit() and Path(f"/proc/{pid}").exists() else "holder unrecorded"


def missing_programs() -> list[str]:
    """Name the programs that are needed and not there."""
    return [name for name in ("docker", "git", "tar") if shutil.which(name) is None]
