"""`./bench bare`: a new user's fresh machine, played by a bare Debian container: clone, one command, times, nothing left.

The container holds git, curl, the host's trust store and a volume for its engine: everything else must come from `./bench`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from benchkeeper import engine as engines
from benchkeeper import images, labels, machines
from benchkeeper.console import phase, say
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docker.models.containers import Container

    from benchkeeper.paths import Paths

RELEASES = {"12": "bookworm", "13": "trixie"}
PACKAGES = ("ca-certificates", "curl", "git")
STACK = "bare"
HOME = "/root/benchkeeper"
# How a network's proxies and package indexes are usually told; values are handed on, never printed.
PASSED_ON = re.compile(r"(?i)(https?_proxy|no_proxy|all_proxy|PIP_(?:INDEX_URL|EXTRA_INDEX_URL)|UV_(?:DEFAULT_INDEX|INDEX))")
# A progress line: seconds, phase, text.
LINE = re.compile(r"\s*(\d+)s\s+([a-z][a-z0-9_-]*)\s+\S")


@dataclass
class Pass:
    """One `./bench e2e main` in the container.

    Attributes:
        name: Cold or warm.
        code: Exit code.
        seconds: How long it took.
        phases: Seconds by phase, in the order they were first seen.
    """

    name: str
    code: int = -1
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


def time_phases(lines: Iterable[tuple[float, str]], end: float) -> dict[str, float]:
    """Return seconds by phase from (seconds since start, line): a phase lasts until a line of another one comes."""
    spent: dict[str, float] = {}
    current, since = "start", 0.0
    for moment, line in lines:
        match = LINE.match(line)
        if match and match[2] != current:
            spent[current] = spent.get(current, 0.0) + moment - since
            current, since = match[2], moment
    spent[current] = spent.get(current, 0.0) + end - since
    return spent


def run(paths: Paths, releases: tuple[str, ...], *, install: bool, keep: bool) -> int:
    """Prove each release; return 0 when every run of every release ended with 0, else 1."""
    paths.make_work()
    engine = engines.ensure(install=install)
    _remove_leftovers(engine.client, paths.checkout_id)
    reports: dict[str, list[Pass]] = {}
    for release in releases:
        image = _image(engine, paths, release, install=install)
        container = _start(engine.client, paths, release, image)
        try:
            reports[release] = _prove(container, paths, release)
        finally:
            if keep:
                say("bare", f"kept: docker exec -it {container.name} bash; the next `./bench bare` removes it")
            else:
                _remove_leftovers(engine.client, paths.checkout_id)
    for release, passes in reports.items():
        for one in passes:
            words = ", ".join(f"{name} {seconds:.0f}" for name, seconds in one.phases.items() if seconds >= 0.5)
            print(f"Debian {release} {one.name}: exit {one.code} after {one.seconds:.0f} s ({words})")
    return 0 if all(one.code == 0 for passes in reports.values() for one in passes) else 1


def _image(engine: engines.Engine, paths: Paths, release: str, *, install: bool) -> str:
    tag = f"benchkeeper/bare:debian{release}-1"
    if images.find(engine.client, tag):
        return tag
    with phase("bare", f"making a bare Debian {release}"):
        images.bootstrap(
            engine,
            tag,
            labels.triple(paths.checkout_id, STACK),
            images.Suite(RELEASES[release], PACKAGES, images.mirror_lines(RELEASES[release])),
            install=install,
        )
    return tag


def _start(client: docker.DockerClient, paths: Paths, release: str, image: str) -> Container:
    name = f"bk-{paths.checkout_id[:6]}-bare{release}"
    marks = labels.triple(paths.checkout_id, STACK)
    client.volumes.create(f"{name}-engine", labels=marks)
    mounts = [docker.types.Mount("/var/lib/docker", f"{name}-engine", type="volume")]
    bundle = images.trust_bundle()
    if bundle:
        mounts.append(docker.types.Mount(images.BUNDLES[0], str(bundle.resolve()), type="bind", read_only=True))
    return client.containers.run(
        image,
        # As process 1 it reaps what daemons leave behind.
        ["bash", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        name=name,
        hostname=f"bare{release}",
        detach=True,
        privileged=True,
        labels=marks,
        mounts=mounts,
        environment={key: value for key, value in os.environ.items() if PASSED_ON.fullmatch(key)},
    )


def _prove(container: Container, paths: Paths, release: str) -> list[Pass]:
    with tempfile.TemporaryDirectory(prefix="benchkeeper-") as scratch:
        bundle = Path(scratch) / "checkout.bundle"
        made = subprocess.run(
            ["git", "-C", str(paths.root), "bundle", "create", "--quiet", str(bundle), "HEAD"],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if made.returncode != 0:
            raise UnfitError(f"this checkout cannot be cloned: {made.stderr.strip()}")
        container.put_archive("/root", machines.pack({"checkout.bundle": (bundle.read_bytes(), 0o600, 0)}))
    code, _, _ = _stream(container, f"git -c advice.detachedHead=false clone --quiet /root/checkout.bundle {HOME}", "clone")
    if code != 0:
        raise UnfitError(f"git clone failed in the bare Debian {release}")
    passes = []
    for name in ("cold", "warm"):
        say("bare", f"Debian {release}: ./bench e2e main ({name})")
        code, seconds, lines = _stream(container, f"cd /tmp && {HOME}/bench e2e main", f"bare{release}")
        passes.append(Pass(name, code, seconds, time_phases(lines, seconds)))
        log = paths.work / "logs" / f"bare-{release}-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("\n".join(line for _, line in lines) + "\n", encoding="utf-8")
        _run_phases(container, passes[-1])
        if code != 0:
            say("bare", f"ended with {code}; all of it: {log}")
            break
    return passes


def _run_phases(container: Container, one: Pass) -> None:
    """Add the run's own phases, which the result file knows better than the progress lines."""
    answer = container.exec_run(["cat", f"{HOME}/results/latest/result.json"])
    if answer.exit_code == 0 and isinstance(answer.output, bytes):
        try:
            found = json.loads(answer.output).get("phases") or []
            one.phases |= {f"run:{entry['name']}": float(entry["seconds"]) for entry in found}
        except (ValueError, KeyError, TypeError, AttributeError):
            say("bare", "the run's result.json has no readable phases")


def _stream(container: Container, script: str, word: str) -> tuple[int, float, list[tuple[float, str]]]:
    """Run a script, pass its lines on, and return (exit code, seconds, lines with their moments)."""
    begun = time.monotonic()
    command = ["docker", "exec", str(container.id), "bash", "-c", script]
    client = engines.packaged_client()
    command[0] = str(client or command[0])
    lines = []
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in process.stdout or ():
        lines.append((time.monotonic() - begun, line.rstrip()))
        say(word, line.rstrip())
    code = process.wait()
    if code != 0:
        say(word, f"{shlex.quote(script)} ended with {code}")
    return code, time.monotonic() - begun, lines


def _remove_leftovers(client: docker.DockerClient, checkout_id: str) -> None:
    """Remove bare containers and their volumes; the cached images stay for the next time (`./bench down --images`)."""
    for entry in client.api.containers(all=True, filters=labels.filters(checkout_id)):
        if labels.ours(entry["Labels"], checkout_id, STACK):
            machines.remove_container(client, checkout_id, entry["Id"])
    for volume in client.volumes.list(filters=labels.filters(checkout_id)):
        if labels.ours(volume.attrs.get("Labels"), checkout_id, STACK):
            machines.remove_volume(client, checkout_id, volume.name)
