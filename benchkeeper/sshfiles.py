"""Keys, known hosts and the SSH configuration of the embedded bench, all in `.bench/ssh`, made once per checkout."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchkeeper.paths import Paths

CONFIG = """\
# Written by `./bench up`. For a person: ssh -F {config} {first}
{hosts}
Host *
  User ops
  IdentityFile "{identity}"
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile "{known_hosts}"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  CheckHostIP no
  UpdateHostKeys no
  HostKeyAlgorithms ssh-ed25519
  PreferredAuthentications publickey
  BatchMode yes
  ForwardAgent no
  ForwardX11 no
  LogLevel ERROR
  ConnectTimeout 5
  # A pulled cable is noticed in seconds, on every connection made with this file.
  ServerAliveInterval 3
  ServerAliveCountMax 3
  ControlMaster auto
  ControlPath {control}/%C
  ControlPersist 60
"""


def key_pair(path: Path, comment: str) -> str:
    """Make an ed25519 pair if it is missing; return the public key's line without its comment."""
    public = path.with_name(f"{path.name}.pub")
    if not path.is_file() or not public.is_file():
        path.unlink(missing_ok=True)
        public.unlink(missing_ok=True)
        answer = subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if answer.returncode != 0:
            raise UnfitError(f"ssh-keygen failed: {answer.stderr.strip() or answer.stdout.strip()}")
    return " ".join(public.read_text(encoding="ascii").split()[:2])


def control_directory(checkout_id: str) -> Path:
    """Return a short, private directory for multiplexing sockets: their path may have 108 bytes, a checkout's any number."""
    path = Path(tempfile.gettempdir()) / f"benchkeeper-{os.getuid()}-{checkout_id}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UnfitError(f"{path} is not a private directory of this user: please remove it")
    return path


def user_key(paths: Paths) -> str:
    """Return the public key that machines accept; made when it is missing."""
    paths.ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
    return key_pair(paths.ssh / "id_ed25519", f"benchkeeper-{paths.checkout_id}")


def host_key(paths: Paths, machine: str) -> tuple[str, str]:
    """Return a machine's (private key text, public key line); made when it is missing."""
    folder = paths.ssh / "hosts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{machine}_ed25519"
    public = key_pair(path, machine)
    return path.read_text(encoding="ascii"), public


def config_text(paths: Paths, addresses: Mapping[str, str], control: Path) -> str:
    """Return the SSH configuration for machines by name."""
    hosts = "\n".join(f"Host {name}\n  HostName {address}\n  HostKeyAlias {name}\n" for name, address in sorted(addresses.items()))
    return CONFIG.format(
        config=paths.ssh_config,
        first=next(iter(sorted(addresses)), "NAME"),
        hosts=hosts,
        identity=paths.ssh / "id_ed25519",
        known_hosts=paths.ssh / "known_hosts",
        control=control,
    )


def write(paths: Paths, addresses: Mapping[str, str]) -> None:
    """Write known hosts and configuration for machines by name; keys that are missing are made."""
    user_key(paths)
    known = "".join(f"{name} {host_key(paths, name)[1]}\n" for name in sorted(addresses))
    replace(paths.ssh / "known_hosts", known)
    replace(paths.ssh_config, config_text(paths, addresses, control_directory(paths.checkout_id)))


def replace(path: Path, text: str) -> None:
    """Write a private file at once, so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def forget_connection(paths: Paths, machine: str) -> None:
    """Close the shared connection to a machine that went away; without it the next session would wait for it."""
    subprocess.run(
        ["ssh", "-F", str(paths.ssh_config), "-O", "exit", machine],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )


def command(paths: Paths, machine: str, *words: str) -> list[str]:
    """Return the argv that runs `words` (already quoted for a shell) on a machine as user ops."""
    return ["ssh", "-F", str(paths.ssh_config), "-T", machine, "--", *words]
