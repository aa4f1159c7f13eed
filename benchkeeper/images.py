"""Images of the embedded bench: pulled where a registry answers, else built from distribution packages; cached by content."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from benchkeeper import debian, labels, processes
from benchkeeper.console import phase, say
from benchkeeper.engine_packages import apt
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchkeeper.engine import Engine
    from benchkeeper.paths import Paths

RELEASE = "trixie"
UPSTREAM = "debian:trixie-slim"
REGISTRY_PATIENCE = 3.0
# Grows when the way of building the base changes.
BASE_RECIPE = "1"
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True)
class Recipe:
    """One image to build.

    Attributes:
        name: Name below `benchkeeper/`.
        folder: Build context with a Dockerfile.
        stack: Value of the stack label.
        arguments: Build arguments besides BASE.
    """

    name: str
    folder: Path
    stack: str
    arguments: Mapping[str, str]

    def needs_trust(self) -> bool:
        """Tell whether the Dockerfile mounts the host's trust store (secret id `ca`)."""
        return "id=ca" in (self.folder / "Dockerfile").read_text(encoding="utf-8")


def tree_hash(folder: Path) -> str:
    """Return a hash over names, executable bits and bytes of every file below a folder; byte code is left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".pyc" or path.name == "__pycache__":
            continue
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            entry = f"l {name} {path.readlink()}\0".encode()
        elif path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            content = path.read_bytes()
            entry = f"f{executable} {name} {len(content)}\0".encode() + content
        else:
            continue
        digest.update(entry)
    return digest.hexdigest()


def tag_of(recipe: Recipe, base_id: str) -> str:
    """Return the content-addressed tag of a recipe on a base."""
    parts = [tree_hash(recipe.folder), base_id, *(f"{key}={value}" for key, value in sorted(recipe.arguments.items()))]
    return f"benchkeeper/{recipe.name}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def recipes(paths: Paths, stack: str, machine_packages: list[str]) -> dict[str, Recipe]:
    """Return the recipes of the machine image and of every image the stack asks for, by short name."""
    found = {
        "machine": Recipe(
            name="machine",
            folder=paths.root / "roles" / "machine" / "files",
            stack=labels.BENCH,
            arguments={"PACKAGES": " ".join(sorted(machine_packages))},
        ),
    }
    for dockerfile in sorted((paths.stacks / stack / "images").glob("*/Dockerfile")):
        name = dockerfile.parent.name
        found[name] = Recipe(name=f"{stack}-{name}", folder=dockerfile.parent, stack=stack, arguments={})
    return found


def find(client: docker.DockerClient, tag: str) -> str | None:
    """Return the id of a tagged image, or None."""
    try:
        return str(client.images.get(tag).id)
    except docker.errors.ImageNotFound:
        return None


def registry_digest(client: docker.DockerClient, patience: float = REGISTRY_PATIENCE) -> str | None:
    """Ask through the engine (its mirrors, its proxies) for the base's digest; None when no registry answers in time."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.append(str(client.images.get_registry_data(UPSTREAM).id))
        except (docker.errors.DockerException, OSError):
            return

    # The engine may spend a minute on names that do not resolve; the question is left behind, not waited for.
    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(patience)
    return found[0] if found else None


def base_tag() -> str:
    """Return the tag of the base; every other image is built from it."""
    return f"benchkeeper/base:{RELEASE}-{BASE_RECIPE}"


def ensure_base(engine: Engine, checkout_id: str, *, install: bool) -> str:
    """Return the id of the base image, made when it is missing."""
    tag = base_tag()
    present = find(engine.client, tag)
    if present:
        return present
    with phase("images", "asking whether an image registry answers", every=60):
        digest = registry_digest(engine.client)
    if digest:
        name = UPSTREAM.partition(":")[0]
        with phase("images", f"pulling {UPSTREAM} ({digest[:19]})"):
            _feed(engine, checkout_id, tag, f"FROM {name}@{digest}\n")
    else:
        with phase("images", "no registry answers; making the base from distribution packages"):
            suite = Suite(RELEASE, ("ca-certificates",), mirror_lines())
            bootstrap(engine, tag, labels.triple(checkout_id), suite, install=install)
    made = find(engine.client, tag)
    if not made:
        raise UnfitError(f"the base image {tag} was made but is not there")
    return made


def _feed(engine: Engine, checkout_id: str, tag: str, dockerfile: str) -> None:
    command = [str(engine.program), "build", "--quiet", "--tag", tag, *_label_options(checkout_id, labels.BENCH), "-"]
    checked(command, dockerfile.encode(), f"the base image {tag}")


@dataclass(frozen=True)
class Suite:
    """What to make from distribution packages: release name, packages besides the minimal set, source lines."""

    codename: str
    packages: tuple[str, ...]
    sources: list[str]


def mirror_lines(codename: str = RELEASE) -> list[str]:
    """Return sources of a Debian release at this computer's own mirror."""
    own = debian.this_release()
    override = os.environ.get("BENCHKEEPER_DEBIAN_MIRROR")
    if override:
        return [f"deb {override} {codename} main"]
    if own.get("ID") != "debian":
        raise UnfitError(
            "no image registry answers and this is not Debian: set BENCHKEEPER_DEBIAN_MIRROR to the address of a Debian mirror",
        )
    known, here = debian.sources(), own.get("VERSION_CODENAME", RELEASE)
    lines = [f"deb {debian.main_mirror(known, here).uri} {codename} main"]
    security = debian.security_mirror(known, here)
    return [*lines, f"deb {security.uri} {codename}-security main"] if security else lines


def bootstrap(engine: Engine, tag: str, marks: Mapping[str, str], suite: Suite, *, install: bool) -> None:
    """Make an image from distribution packages, without any registry; raise UnfitError with the last lines if it fails."""
    if shutil.which("mmdebstrap") is None:
        if not install or os.geteuid() != 0:
            raise UnfitError("mmdebstrap is missing: install it, or run this once as root without --no-install")
        with phase("images", "installing mmdebstrap"):
            apt("update")
            apt("install", "mmdebstrap", "debian-archive-keyring")
    changes = [f"--change=LABEL {key}={value}" for key, value in marks.items()]
    make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(suite.packages)}"]
    make += [f"--keyring={debian.KEYRING}", suite.codename, "-", *suite.sources]
    # Half an archive imports without complaint: only a complete one gets the real name.
    unproven = f"{tag}-unproven"
    # When nobody takes the archive any more it hangs its whole process group up: that must not be ours.
    with subprocess.Popen(
        make, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as producer:
        try:
            taker = subprocess.run(
                [str(engine.program), "import", *changes, '--change=CMD ["/bin/bash"]', "-", unproven],
                check=False,
                stdin=producer.stdout,
                capture_output=True,
            )
        except BaseException:
            # No signal for us reaches it there.
            processes.end({**processes.descendants(producer.pid), producer.pid: processes.start_time(producer.pid) or 0})
            raise
        if producer.stdout:
            # Else a producer whose taker died would wait for ever.
            producer.stdout.close()
        words = producer.stderr.read() if producer.stderr else b""
    if producer.returncode != 0 or taker.returncode != 0:
        tail = (words + taker.stderr).decode(errors="replace").strip().splitlines()[-8:]
        raise UnfitError(f"{tag} could not be made:\n" + "\n".join(tail))
    engine.client.images.get(unproven).tag(tag)
    engine.client.images.remove(unproven)


def _label_options(checkout_id: str, stack: str) -> list[str]:
    return [f"--label={key}={value}" for key, value in labels.triple(checkout_id, stack).items()]


def trust_bundle() -> Path | None:
    """Return the host's certificate bundle."""
    names = [os.environ.get("BENCHKEEPER_CA_BUNDLE", ""), os.environ.get("SSL_CERT_FILE", ""), *BUNDLES]
    return next((Path(name) for name in names if name and Path(name).is_file()), None)


def checked(command: list[str], text: bytes | None, what: str, log: Path | None = None) -> None:
    """Run a build; raise UnfitError with its last lines when it fails."""
    answer = subprocess.run(
        command,
        check=False,
        input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
    )
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(shlex.join(command).encode() + b"\n" + answer.stdout)
    if answer.returncode != 0:
        tail = "\n".join(answer.stdout.decode(errors="replace").strip().splitlines()[-15:])
        raise UnfitError(f"{what} could not be built{f' (all of it: {log})' if log else ''}:\n{tail}")


def build(engine: Engine, paths: Paths, recipe: Recipe, tag: str) -> None:
    """Build one image; raise UnfitError with the build's last lines when that fails."""
    command = [str(engine.program), "build", "--tag", tag, "--build-arg", f"BASE={base_tag()}"]
    # A Dockerfile may also name the upstream image itself: it gets our base under that name, with or without a registry.
    command += ["--build-context", f"{UPSTREAM}=docker-image://{base_tag()}"]
    command += _label_options(paths.checkout_id, recipe.stack)
    for key, value in recipe.arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    if recipe.needs_trust():
        bundle = trust_bundle()
        if bundle:
            command += ["--secret", f"id=ca,src={bundle}"]
    with phase("images", f"building {tag}"):
        checked([*command, str(recipe.folder)], None, tag, paths.work / "logs" / f"build-{recipe.name}.log")


def wanted_tags(client: docker.DockerClient, wanted: dict[str, Recipe]) -> dict[str, str] | None:
    """Return the tags of recipes by short name if all of them are there, else None; builds nothing."""
    base_id = find(client, base_tag())
    if base_id is None:
        return None
    tags = {name: tag_of(recipe, base_id) for name, recipe in wanted.items()}
    return tags if all(find(client, tag) for tag in tags.values()) else None


def ensure(engine: Engine, paths: Paths, wanted: dict[str, Recipe], *, install: bool) -> dict[str, str]:
    """Return the tags of all recipes by short name; build what is missing, independent ones at the same time."""
    base_id = ensure_base(engine, paths.checkout_id, install=install)
    tags = {name: tag_of(recipe, base_id) for name, recipe in wanted.items()}
    missing = [name for name, tag in tags.items() if not find(engine.client, tag)]
    if missing:
        with ThreadPoolExecutor(max_workers=4) as pool:
            for job in [pool.submit(build, engine, paths, wanted[name], tags[name]) for name in missing]:
                job.result()
    else:
        say("images", f"{len(tags) + 1} images are there")
    return tags
