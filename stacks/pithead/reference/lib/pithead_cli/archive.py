"""backup and restore: configuration, secrets, onion keys and the dashboard's data; chains on request."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pithead_cli import envfile, host, settings
from pithead_cli.change import derive, write_derived
from pithead_cli.engine import Compose, containers
from pithead_cli.host import Place, as_root, mutation_lock
from pithead_cli.say import Refusal, confirmed, info, warning

DIRECTORIES = ("TOR_DATA_DIR", "DASHBOARD_DATA_DIR")
CHAINS = ("MONERO_DATA_DIR", "TARI_DATA_DIR")
CIPHER = ["openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-iter", "600000", "-salt", "-pass", "env:PITHEAD_BACKUP_PASSPHRASE"]
SALTED = b"Salted__"


def backup(place: Place, *, yes: bool, encrypt: bool, chains: bool) -> None:
    """Stop the stack for a moment, archive, start it again. The archive is valid even when the start fails."""
    values = envfile.read(place.env)
    passphrase = os.environ.get("PITHEAD_BACKUP_PASSPHRASE", "")
    for path in (place.config, place.env):
        if not path.exists():
            message = f"{path} does not exist: nothing to back up"
            raise Refusal(message)
    if encrypt and not passphrase:
        message = "no passphrase: set PITHEAD_BACKUP_PASSPHRASE or use --no-encrypt"
        raise Refusal(message)
    if not yes and not confirmed("The stack is stopped for the time of the backup. Go on? [y/N]"):
        info("Backup cancelled. No changes were made.")
        return
    members = [
        place.config,
        place.env,
        place.caddyfile,
        *(Path(values[key]) for key in (*DIRECTORIES, *(CHAINS if chains else ()))),
    ]
    present = [
        str(path.resolve().relative_to("/")) for path in members if host.run(as_root(["test", "-e", str(path)]), quiet=True) == 0
    ]
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    target = place.backups / f"pithead-backup-{stamp}.tar.gz{'.enc' if encrypt else ''}"
    compose = Compose(place)
    with mutation_lock(place, "backup"):
        place.backups.mkdir(mode=0o700, exist_ok=True)
        stopped = [name for name, found in containers().items() if found.state == "running" and name != "caddy"]
        if stopped:
            compose.do("stop", *sorted(stopped), quiet=True)
        try:
            _write_archive(target, present, passphrase if encrypt else "")
        finally:
            if stopped:
                compose.up()
    info(f"Backup written to: {target}")


def _write_archive(target: Path, members: list[str], passphrase: str) -> None:
    partial = target.with_name(f".{target.name}.partial")
    tar = as_root(["tar", "-C", "/", "-czf", "-", "--", *members])
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            packed = subprocess.Popen(tar, stdout=subprocess.PIPE if passphrase else out)
            sealed = 0
            if passphrase:
                environment = {"PATH": os.environ.get("PATH", ""), "PITHEAD_BACKUP_PASSPHRASE": passphrase}
                sealed = subprocess.run(CIPHER, stdin=packed.stdout, stdout=out, env=environment, check=False).returncode
            if packed.wait() or sealed:
                message = "the archive could not be written"
                raise Refusal(message)
            os.fsync(out.fileno())
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def restore(place: Place, archive: Path, *, yes: bool) -> None:
    """Put an archive back over this installation. The stack must be down; everything is checked before anything is written."""
    if any(found.state == "running" for found in containers().values()):
        message = "the stack is running: run ./pithead down first"
        raise Refusal(message)
    if not archive.is_file():
        message = f"{archive} does not exist"
        raise Refusal(message)
    if not yes and not confirmed("Replace configuration, secrets and keys by those of the archive? [y/N]"):
        info("Restore cancelled. No changes were made.")
        return
    old = envfile.read(place.env)
    with mutation_lock(place, "restore"), tempfile.TemporaryDirectory(prefix="pithead-restore-") as staging:
        plain = _opened(archive, Path(staging))
        _audit(place, plain, old)
        _check_staged(place, plain, Path(staging))
        if host.run(as_root(["tar", "-C", "/", "-xzpf", str(plain), "--numeric-owner"])):
            message = "the archive could not be unpacked completely"
            raise Refusal(message)
        values = derive(place, envfile.read(place.env))
        write_derived(place, values)
        host.make_data_dirs(values)
    info(f"Restored from {archive}. Run ./pithead up.")


def _opened(archive: Path, staging: Path) -> Path:
    with archive.open("rb") as file:
        encrypted = file.read(8) == SALTED
    if not encrypted:
        return archive
    passphrase = os.environ.get("PITHEAD_BACKUP_PASSPHRASE", "")
    if not passphrase:
        message = "the archive is encrypted: set PITHEAD_BACKUP_PASSPHRASE"
        raise Refusal(message)
    plain = staging / "archive.tar.gz"
    environment = {"PATH": os.environ.get("PATH", ""), "PITHEAD_BACKUP_PASSPHRASE": passphrase}
    with plain.open("wb") as out:
        code = subprocess.run([*CIPHER, "-d", "-in", str(archive)], stdout=out, env=environment, check=False).returncode
    if code:
        message = "the archive cannot be decrypted with this passphrase"
        raise Refusal(message)
    return plain


def _audit(place: Place, plain: Path, old: dict[str, str]) -> None:
    """Refuse members that would land anywhere but in this installation and its data directories."""
    homes = [place.directory, *(Path(old[key]) for key in (*DIRECTORIES, *CHAINS) if old.get(key))]
    names = set()
    try:
        with tarfile.open(plain, "r:gz") as tar:
            for member in tar:
                path = Path("/") / member.name
                inside = any(path == home or home in path.parents for home in homes)
                if ".." in path.parts or not inside or not (member.isfile() or member.isdir()):
                    message = f"the archive holds {member.name!r}, which does not belong to this installation"
                    raise Refusal(message)
                names.add(path)
    except (tarfile.TarError, OSError, EOFError) as error:
        message = f"the archive cannot be read: {error}"
        raise Refusal(message) from None
    missing = [path.name for path in (place.config, place.env) if path.resolve() not in names]
    if missing:
        message = f"the archive holds no {' and no '.join(missing)}"
        raise Refusal(message)


def _check_staged(place: Place, plain: Path, staging: Path) -> None:
    """Read the archived configuration as if it were ours, before it is."""
    with tarfile.open(plain, "r:gz") as tar:
        packed = tar.extractfile(str(place.config.resolve().relative_to("/")))
        if packed is None:
            message = "the archive's config.json is not a file"
            raise Refusal(message)
        staged = staging / "config.json"
        staged.write_bytes(packed.read())
    settings.load(staged, place.reference)
    if not place.source_checkout:
        warning("restored images are not checked here; run ./pithead up to see them verified")
