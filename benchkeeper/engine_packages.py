"""Installs the container engine from distribution packages, as root, on Debian and Ubuntu."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper import debian
from benchkeeper.console import say
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = debian.APT / "sources.list.d" / "benchkeeper-trixie.sources"
PINS = debian.APT / "preferences.d" / "benchkeeper-trixie"
COMMON = ("iptables", "openssh-client", "git", "ca-certificates")

# runc and tini stay the distribution's own: trixie's builds want a newer libc than bookworm has.
PIN_TEXT = """\
# Written by benchkeeper: the container engine from trixie, everything else from this release.
Package: *
Pin: release n=trixie
Pin-Priority: 50

Package: docker.io docker-cli docker-compose docker-buildx containerd
Pin: release n=trixie
Pin-Priority: 700
"""


def engine_packages(release: dict[str, str]) -> tuple[str, ...]:
    """Return the engine's package names on a release, or raise UnfitError where we know none."""
    name, version = release.get("ID", ""), release.get("VERSION_ID", "")
    if name == "debian" and version in ("12", "13"):
        return ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd")
    if name == "ubuntu":
        return ("docker.io", "docker-compose-v2", "docker-buildx")
    shown = release.get("PRETTY_NAME") or "this system"
    raise UnfitError(
        f"cannot install a container engine on {shown} (only on Debian 12 and 13 and Ubuntu): "
        "please install Docker with Compose v2 and buildx"
    )


def source_text(own: debian.Source) -> str:
    """Return the trixie source, at the mirror of the computer's own release."""
    signed = own.signed_by or str(debian.KEYRING)
    return f"# Written by benchkeeper.\nTypes: deb\nURIs: {own.uri}\nSuites: trixie\nComponents: main\nSigned-By: {signed}\n"


def install_engine(*, with_systemd: bool) -> None:
    """Install engine, client, Compose and buildx; raise UnfitError with apt's last words when that fails."""
    release = debian.this_release()
    packages = engine_packages(release)
    backported = (release.get("ID"), release.get("VERSION_ID")) == ("debian", "12")
    if backported:
        own = debian.main_mirror(debian.sources(), release.get("VERSION_CODENAME", "bookworm"))
        SOURCE.write_text(source_text(own), encoding="utf-8")
        PINS.write_text(PIN_TEXT, encoding="utf-8")
    with _no_service_starts(active=not with_systemd):
        apt("update")
        try:
            apt("install", *packages, *COMMON)
        except UnfitError as error:
            if not backported:
                raise
            # Such rebuilds happen: the other release's packages may one day want a libc that this one lacks.
            say("engine", f"trixie's packages do not install here, taking this release's own: {error}")
            SOURCE.unlink()
            PINS.unlink()
            apt("update")
            apt("install", "docker.io", *COMMON)


def ensure_programs(*, install: bool) -> None:
    """Make sure that the programs we call are there, whatever engine this computer has."""
    wanted = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "git": "git"}
    missing = sorted({package for program, package in wanted.items() if shutil.which(program) is None})
    if not missing:
        return
    if not install or os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise UnfitError(f"missing: {', '.join(missing)}; please install, or run this once as root on Debian or Ubuntu")
    apt("update")
    apt("install", *missing)


def apt(*arguments: str) -> None:
    """Run apt-get without questions; raise UnfitError with its last lines when it fails."""
    options = ["-qq", "-o", "DPkg::Lock::Timeout=120"]
    if arguments[0] == "install":
        options += ["--yes", "--no-install-recommends"]
    answer = subprocess.run(
        ["apt-get", *options, *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if answer.returncode != 0:
        tail = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-8:])
        raise UnfitError(f"apt-get {' '.join(arguments[:4])} failed:\n{tail}")


@contextmanager
def _no_service_starts(*, active: bool) -> Iterator[None]:
    """Keep package scripts from starting services where nothing would supervise them."""
    policy = Path("/usr/sbin/policy-rc.d")
    if not active or policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
