"""From nothing to a bench that is up: engine, images, machines, baseline. Each step knows when it has nothing to do."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkeeper import engine as engines
from benchkeeper import images, inventory, keeper_program, labels, leases, machines, repo, spec, sshfiles
from benchkeeper.console import phase, say
from benchkeeper.engine_packages import ensure_programs
from benchkeeper.errors import UnfitError
from benchkeeper.paths import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import docker

    from benchkeeper.paths import Paths

LOCK_HELD = "BENCHKEEPER_SETUP_LOCK"


@contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Hold the checkout's set-up lock; whoever comes second waits and then finds everything done."""
    paths.make_work()
    if os.environ.get(LOCK_HELD) == str(paths.root):
        # We were started by the command that holds it.
        yield
        return
    with (paths.work / "up.lock").open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("setup", "another command is setting this bench up; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(paths: Paths, stack: str, *, install: bool) -> tuple[engines.Engine, dict[str, str]]:
    """Make engine and images ready; return them (images by short name)."""
    with only_one(paths):
        return _prepare(paths, stack, install=install)


def prepare_images(paths: Paths, stack: str, *, install: bool) -> tuple[engines.Engine, dict[str, str]]:
    """Make the engine and a stack's own images ready, for what needs no machine; return them (images by short name)."""
    with only_one(paths):
        engine = engines.ensure(install=install)
        wanted = {name: one for name, one in images.recipes(paths, stack, []).items() if one.stack == stack}
        return engine, images.ensure(engine, paths, wanted, install=install)


def _prepare(paths: Paths, stack: str, *, install: bool) -> tuple[engines.Engine, dict[str, str]]:
    keeper_program.ensure(paths)
    engine = engines.ensure(install=install)
    ensure_programs(install=install)
    wanted = images.recipes(paths, stack, list(spec.needs(paths, stack).packages))
    return engine, images.ensure(engine, paths, wanted, install=install)


def _bench(paths: Paths, client: docker.DockerClient, stack: str, machine_image: str) -> machines.Bench:
    network = machines.ensure_network(client, paths.checkout_id)
    names = inventory.read(paths.inventory, plain=True).machines
    planned = spec.plan(names, machines.subnet_of(network), machine_image, spec.needs(paths, stack), stack)
    return machines.Bench(paths, client, network, planned)


def _provision_key(paths: Paths, stack: str, seen: Mapping[str, machines.Seen], tags: Mapping[str, str]) -> str:
    """Return a hash of everything the baseline is made from, and of the machines it was put on."""
    parts = [f"{name} {machine.container_id}" for name, machine in sorted(seen.items())]
    parts += [f"{name} {tag}" for name, tag in sorted(tags.items())]
    folders = [paths.root / "roles" / "baseline", paths.root / "roles" / "machine", paths.stacks / stack / "reference"]
    modules = [paths.root / "plugins" / "modules" / f"{name}.py" for name in ("baseline_assets", "provision")]
    files = [paths.root / "playbooks" / "up.yml", *modules, *sorted((paths.stacks / stack).glob("embedded*"))]
    folders += [path for path in files if path.is_dir()]
    parts += [images.tree_hash(folder) for folder in folders if folder.is_dir()]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _stamp(paths: Paths, stack: str) -> Path:
    return paths.work / f"provisioned-{stack}"


def _tags_there(paths: Paths, client: docker.DockerClient | None, stack: str) -> dict[str, str] | None:
    """Return the images' tags by short name when all of them are there, else None; builds nothing."""
    wanted = images.recipes(paths, stack, list(spec.needs(paths, stack).packages))
    return images.wanted_tags(client, wanted) if client else None


def is_up(paths: Paths, stack: str) -> bool:
    """Tell within half a second whether everything is there, runs and carries the baseline; changes nothing."""
    client = engines.connect(2)
    stamp = _stamp(paths, stack)
    if client is None or not stamp.is_file() or not paths.ssh_config.is_file():
        return False
    tags = _tags_there(paths, client, stack)
    if tags is None or machines.find_network(client, paths.checkout_id) is None:
        return False
    seen = machines.look(client, paths.checkout_id)
    if not _bench(paths, client, stack, tags["machine"]).ready(seen):
        return False
    return stamp.read_text(encoding="ascii") == _provision_key(paths, stack, seen, tags)


def ensure_up(paths: Paths, stack: str, *, install: bool, verbose: int) -> None:
    """Bring the bench up unless a quick look says that it is."""
    if not is_up(paths, stack):
        up(paths, stack, install=install, verbose=verbose)


def make_machines(paths: Paths, stack: str, *, install: bool) -> dict[str, machines.Seen]:
    """Make engine, images and machines what they shall be; return the machines. Never replaces a leased one."""
    with only_one(paths):
        return _make_machines(paths, stack, install=install)[0]


def _make_machines(paths: Paths, stack: str, *, install: bool) -> tuple[dict[str, machines.Seen], dict[str, str]]:
    engine, tags = _prepare(paths, stack, install=install)
    bench = _bench(paths, engine.client, stack, tags["machine"])
    seen = machines.look(engine.client, paths.checkout_id)
    changed = [name for name in bench.changed(seen) if seen[name].state == "running"]
    if changed and paths.ssh_config.is_file():
        leases.refuse_when_held(paths, changed, "the machine must be replaced or removed, but it is in use")
    # The baseline is a checkout of it, and runs resolve branches in it.
    repo.ensure(paths, stack)
    with phase("machines", f"{', '.join(machine.name for machine in bench.machines)}"):
        return bench.ensure(), tags


def up(paths: Paths, stack: str, *, install: bool, verbose: int) -> None:
    """Bring the embedded bench up with the stack's baseline; an up bench is left as it is."""
    with only_one(paths):
        seen, tags = _make_machines(paths, stack, install=install)
        stamp, key = _stamp(paths, stack), _provision_key(paths, stack, seen, tags)
        if stamp.is_file() and stamp.read_text(encoding="ascii") == key:
            say("up", "the bench is up; nothing to do")
            return
        leases.refuse_when_held(paths, seen, "the baseline must be renewed, but the bench is in use")
        stamp.unlink(missing_ok=True)
        with phase("baseline", f"putting the baseline of {stack} on the machines", every=30):
            _provision(paths, stack, verbose)
        sshfiles.replace(stamp, key)


def _provision(paths: Paths, stack: str, verbose: int) -> None:
    variables = json.dumps({"stack": stack})
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(paths.inventory), "-e", variables]
    command += [f"-{'v' * verbose}"] if verbose else []
    log = paths.work / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "ANSIBLE_CONFIG": str(paths.root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    environment[LOCK_HELD] = str(paths.root)
    lines: list[str] = []
    with log.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            [*command, str(paths.root / "playbooks" / "up.yml")],
            cwd=paths.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        for line in process.stdout or ():
            sink.write(line)
            lines.append(line.rstrip())
            if verbose:
                print(line, end="", file=sys.stderr)
            elif line.startswith("TASK ["):
                say("baseline", line[len("TASK [") :].partition("]")[0])
        code = process.wait()
    if code != 0:
        failures = [line for line in lines if line.startswith(("fatal:", "ERROR", "[ERROR]", "failed:"))] or lines[-20:]
        raise UnfitError(f"the baseline could not be put on the machines (all of it: {log}):\n" + "\n".join(failures[:10]))


def apply_state(*, state: str, stack: str, install: bool, force: bool, dry_run: bool) -> dict[str, Any]:
    """Make the machines present or absent, for Ansible: return `changed`, `machines` and, when present, `images`."""
    paths = checkout()
    client = engines.connect()
    before = machines.look(client, paths.checkout_id) if client else {}
    answer: dict[str, Any] = {}
    if state == "absent":
        if before and not dry_run:
            down(paths, images=False, force=force)
        return {"changed": bool(before), "machines": {}}
    if dry_run:
        now, tags = before, _tags_there(paths, client, stack) or {}
        # Without a network there is nothing to judge, and a dry run makes none.
        there = client is not None and bool(tags) and machines.find_network(client, paths.checkout_id) is not None
        answer["changed"] = not (client and there and _bench(paths, client, stack, tags["machine"]).ready(before))
    else:
        with only_one(paths):
            now, tags = _make_machines(paths, stack, install=install)
        answer["changed"] = now != before
    shown = {name: {"container": seen.container, "address": seen.address, "state": seen.state} for name, seen in now.items()}
    return {**answer, "machines": shown, "images": tags}


def down(paths: Paths, *, images: bool, force: bool) -> None:
    """Remove what this checkout made on the engine; refuse while something is leased unless forced."""
    client = engines.connect()
    if client is None:
        raise UnfitError("the container engine does not answer: nothing was removed")
    paths.make_work()
    with only_one(paths):
        running = [name for name, seen in machines.look(client, paths.checkout_id).items() if seen.state == "running"]
        if not force and paths.ssh_config.is_file():
            leases.refuse_when_held(paths, running, "not removed")
        for name in running:
            sshfiles.forget_connection(paths, name)
        gone = machines.remove_all(client, paths.checkout_id)
        for stamp in paths.work.glob("provisioned-*"):
            stamp.unlink()
        paths.machines.unlink(missing_ok=True)
        if images:
            gone += _remove_images(client, paths.checkout_id)
        say("down", f"removed {', '.join(gone)}" if gone else "nothing to remove")


def _remove_images(client: docker.DockerClient, checkout_id: str) -> list[str]:
    gone = []
    # Newest first: an image that others are built from goes last.
    found = sorted(client.images.list(filters=labels.filters(checkout_id)), key=lambda image: image.attrs["Created"])
    for image in reversed(found):
        if labels.ours(image.labels, checkout_id):
            for tag in image.tags:
                if tag.startswith("benchkeeper/"):
                    client.images.remove(tag)
                    gone.append(tag)
    return gone
