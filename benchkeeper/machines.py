"""Machines in containers on this computer: made, taken up again, rebooted, cut off, removed.

Everything is found by its labels, never by a remembered id: what a killed engine or an older version of us left is taken up
again when it is what it should be, and replaced when it is not.
"""

from __future__ import annotations

import io
import ipaddress
import json
import random
import socket
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker

from benchkeeper import labels, spec, sshfiles, subnets
from benchkeeper.console import say
from benchkeeper.errors import UnfitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docker.models.containers import Container
    from docker.models.networks import Network

    from benchkeeper.paths import Paths

READY_DEADLINE = 90.0
STOP_PATIENCE = 20


@dataclass(frozen=True)
class Seen:
    """A machine as it is.

    Attributes:
        name: Machine name.
        container: Name of its container.
        container_id: Full id.
        state: running, cut, exited, created, paused, dead ...
        address: Its address; empty when it has none.
        image: Image reference it was made from.
        config: Hash of what it was made from.
        attached: Whether its cable is plugged in.
    """

    name: str
    container: str
    container_id: str
    state: str
    address: str
    image: str
    config: str
    attached: bool


def look(client: docker.DockerClient, checkout_id: str) -> dict[str, Seen]:
    """Return this checkout's machines by name, from one listing."""
    found = {}
    for entry in client.api.containers(all=True, filters=labels.filters(checkout_id)):
        marks = entry["Labels"]
        if not labels.ours(marks, checkout_id, labels.BENCH) or labels.MACHINE not in marks:
            continue
        networks = entry["NetworkSettings"]["Networks"].values()
        attached = [network for network in networks if network.get("NetworkID")]
        settings = [(network.get("IPAMConfig") or {}).get("IPv4Address") for network in attached]
        address = next((network.get("IPAddress") for network in attached if network.get("IPAddress")), None)
        state = entry["State"]
        found[marks[labels.MACHINE]] = Seen(
            name=marks[labels.MACHINE],
            container=entry["Names"][0].lstrip("/"),
            container_id=entry["Id"],
            state="cut" if state == "running" and not attached else state,
            address=address or next(iter(filter(None, settings)), ""),
            image=entry["Image"],
            config=marks.get(labels.CONFIG, ""),
            attached=bool(attached),
        )
    return found


def used_networks(client: docker.DockerClient) -> list[ipaddress.IPv4Network]:
    """Return every subnet that this computer routes or its engine gave out."""
    used = subnets.parse_routes(Path("/proc/net/route").read_text(encoding="ascii"))
    for network in client.api.networks():
        for config in (network.get("IPAM") or {}).get("Config") or []:
            if config.get("Subnet") and ":" not in config["Subnet"]:
                used.append(ipaddress.IPv4Network(config["Subnet"]))
    return used


def find_network(client: docker.DockerClient, checkout_id: str) -> Network | None:
    """Return this checkout's network, if it is there."""
    for network in client.networks.list(filters=labels.filters(checkout_id)):
        if labels.ours(network.attrs.get("Labels"), checkout_id, labels.BENCH):
            return network
    return None


def subnet_of(network: Network) -> str:
    """Return a network's subnet."""
    return str(network.attrs["IPAM"]["Config"][0]["Subnet"])


def ensure_network(client: docker.DockerClient, checkout_id: str) -> Network:
    """Return this checkout's network, made on a free subnet and under a free name when it is missing."""
    present = find_network(client, checkout_id)
    if present and ipaddress.IPv4Network(subnet_of(present)).subnet_of(subnets.POOL):
        return present
    if present:
        # Made by a version that chose elsewhere: its machines would meet what inner engines use.
        say("machines", f"replacing the network {present.name} ({subnet_of(present)}) of an older version, and its machines")
        remove_all(client, checkout_id)
    taken = {network.name for network in client.networks.list()}
    name = next((name for name in (f"bk-{checkout_id[:6]}", f"bk-{checkout_id}") if name not in taken), None)
    if name is None:
        raise UnfitError(f"networks bk-{checkout_id[:6]} and bk-{checkout_id} exist and are not ours")
    for subnet in subnets.free_subnets(checkout_id, used_networks(client), subnets.host_nameservers()):
        made = _make_network(client, name, str(subnet), checkout_id)
        if made:
            return made
    raise UnfitError(f"no free subnet is left in {subnets.POOL}")


def _make_network(client: docker.DockerClient, name: str, subnet: str, checkout_id: str) -> Network | None:
    """Make the network; None when somebody, perhaps another checkout, has taken this very subnet since we looked."""
    try:
        return client.networks.create(
            name,
            driver="bridge",
            labels=labels.triple(checkout_id),
            ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]),
        )
    except docker.errors.APIError as error:
        if "overlap" in str(error.explanation).lower():
            return None
        raise UnfitError(f"no network could be made: {error.explanation}") from error


def machine_files(paths: Paths, name: str) -> dict[str, tuple[str, int, int]]:
    """Return what is put into a machine before its first boot: path -> (text, mode, uid)."""
    private, public = sshfiles.host_key(paths, name)
    return {
        "etc/ssh/ssh_host_ed25519_key": (private, 0o600, 0),
        "etc/ssh/ssh_host_ed25519_key.pub": (f"{public}\n", 0o644, 0),
        "home/ops/.ssh/authorized_keys": (f"{sshfiles.user_key(paths)}\n", 0o600, 1000),
        "etc/docker/daemon.json": (spec.engine_settings(subnets.host_nameservers()), 0o644, 0),
    }


def pack(files: Mapping[str, tuple[bytes, int, int]]) -> bytes:
    """Pack files (path -> content, mode, owner) for the engine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (content, mode, owner) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
            entry.mtime = int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Bench:
    """The embedded bench of one checkout, as it shall be, on one engine."""

    def __init__(
        self,
        paths: Paths,
        client: docker.DockerClient,
        network: Network,
        machines: Sequence[spec.Machine],
    ) -> None:
        self.paths = paths
        self.client = client
        self.network = network
        self.machines = list(machines)
        self.owner = paths.checkout_id
        self.hosts = {machine.name: machine.address for machine in machines}
        self._image_ids: dict[str, str] = {}

    def wanted_config(self, machine: spec.Machine) -> str:
        """Return the hash that a machine's container must carry."""
        if machine.image not in self._image_ids:
            self._image_ids[machine.image] = str(self.client.images.get(machine.image).id)
        texts = {path: text for path, (text, _, _) in machine_files(self.paths, machine.name).items()}
        return spec.config_hash(machine, self._image_ids[machine.image], texts, self.hosts | {"": str(self.network.id)})

    def changed(self, seen: Mapping[str, Seen]) -> list[str]:
        """Return the names of machines that exist and must be replaced, or removed: what is wanted has no such machine."""
        wanted = {machine.name: self.wanted_config(machine) for machine in self.machines}
        return [name for name, machine in seen.items() if machine.config != wanted.get(name)]

    def ready(self, seen: Mapping[str, Seen]) -> bool:
        """Tell whether every machine exists as it shall be, and runs (a cut one counts: that may be the test)."""
        return not self.changed(seen) and all(
            machine.name in seen and seen[machine.name].state in ("running", "cut") for machine in self.machines
        )

    def ensure(self) -> dict[str, Seen]:
        """Make every machine what it shall be, all at the same time; return what is there then."""
        seen = look(self.client, self.owner)
        for name in sorted(set(seen) - set(self.hosts)):
            say("machines", f"{name}: removing it, it was made for another stack")
            sshfiles.forget_connection(self.paths, name)
            self._remove(seen[name])
        sshfiles.write(self.paths, self.hosts)
        with ThreadPoolExecutor(max_workers=max(len(self.machines), 1)) as pool:
            jobs = [pool.submit(self._ensure_one, machine, seen.get(machine.name)) for machine in self.machines]
            for job in jobs:
                job.result()
        now = look(self.client, self.owner)
        self._record(now)
        return now

    def _ensure_one(self, machine: spec.Machine, seen: Seen | None) -> None:
        if seen and (seen.config != self.wanted_config(machine) or seen.state in ("created", "dead", "removing")):
            say("machines", f"{machine.name}: replacing what another stack, an older version or an interrupted start left")
            self._remove(seen)
            seen = None
        if seen is None:
            container = self._create(machine)
            container.start()
            word = "made"
        else:
            container = self.client.containers.get(seen.container_id)
            if seen.state == "running" and seen.attached:
                return
            if seen.state == "paused":
                container.unpause()
            if not seen.attached:
                self.network.connect(container, ipv4_address=machine.address, aliases=[machine.name])
            if seen.state == "exited":
                container.start()
            word = f"taken up again ({seen.state})"
        sshfiles.forget_connection(self.paths, machine.name)
        seconds = wait_ready(self.paths, container, machine.name, machine.address)
        say("machines", f"{machine.name}: {word}, answers at {machine.address} after {seconds:.1f} s")

    def _remove(self, seen: Seen) -> None:
        remove_container(self.client, self.owner, seen.container_id)
        remove_volume(self.client, self.owner, self._volume(seen.name))

    def _prefix(self) -> str:
        return str(self.network.name)

    def _volume(self, name: str) -> str:
        return f"{self._prefix()}-{name}-engine"

    def _create(self, machine: spec.Machine) -> Container:
        api = self.client.api
        name = f"{self._prefix()}-{machine.name}"
        with suppress(docker.errors.NotFound):
            foreign = self.client.containers.get(name)
            raise UnfitError(f"a container {name} ({foreign.short_id}) exists and is not ours; please remove it")
        with suppress(docker.errors.NotFound):
            volume = self.client.volumes.get(self._volume(machine.name))
            if not labels.ours(volume.attrs.get("Labels"), self.owner, labels.BENCH):
                raise UnfitError(f"a volume {volume.name} exists and is not ours; please remove it")
            # Without its container it is of no use to anybody; a fresh machine starts with an empty engine.
            volume.remove()
        marks = labels.triple(self.owner) | {labels.MACHINE: machine.name}
        # Labelled before its first use: the engine makes unlabelled ones of its own.
        self.client.volumes.create(self._volume(machine.name), labels=marks)
        host = api.create_host_config(
            privileged=True,
            cgroupns="private",
            tmpfs={"/run": "rw,nosuid,nodev,mode=755", "/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108
            mounts=[docker.types.Mount("/var/lib/docker", self._volume(machine.name), type="volume")],
            extra_hosts=self.hosts,
            nano_cpus=int(machine.cpus * 1_000_000_000) if machine.cpus else None,
            cpu_shares=machine.cpu_shares,
            mem_limit=machine.memory,
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
        )
        # Typed loosely: the published types of the SDK know only one endpoint where it takes a mapping.
        endpoints: Any = {str(self.network.name): api.create_endpoint_config(ipv4_address=machine.address, aliases=[machine.name])}
        files = machine_files(self.paths, machine.name)
        made = api.create_container(
            machine.image,
            name=name,
            hostname=machine.name,
            host_config=host,
            networking_config=docker.types.NetworkingConfig(endpoints),
            labels=marks | {labels.CONFIG: self.wanted_config(machine)},
            stop_signal="SIGRTMIN+3",
        )
        api.put_archive(made["Id"], "/", pack({path: (text.encode(), mode, uid) for path, (text, mode, uid) in files.items()}))
        return self.client.containers.get(made["Id"])

    def _record(self, seen: Mapping[str, Seen]) -> None:
        document = {
            "schema": 1,
            "checkout": self.owner,
            "network": {"name": self.network.name, "subnet": subnet_of(self.network)},
            "machines": {
                machine.name: {
                    "container": seen[machine.name].container,
                    "address": machine.address,
                    "image": machine.image,
                }
                for machine in self.machines
            },
        }
        sshfiles.replace(self.paths.machines, json.dumps(document, indent=2, sort_keys=True) + "\n")


def wait_ready(paths: Paths, container: Container, name: str, address: str, deadline: float = READY_DEADLINE) -> float:
    """Wait until a machine takes a session and its engine answers; return seconds. A machine that ended fails at once."""
    begun = time.monotonic()

    def left() -> float:
        return deadline - (time.monotonic() - begun)

    while not _greets(address):
        container.reload()
        if container.status not in ("running", "created"):
            tail = container.logs(tail=15).decode(errors="replace")
            raise UnfitError(f"{name} ended while it was waited for ({container.status}):\n{tail}")
        if left() < 0:
            raise UnfitError(f"{name} did not answer at {address} port 22 within {deadline:.0f} s")
        time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 -- jitter, not a secret
    # Returns when the start that is under way has ended: no polling needed.
    words = (
        "sudo",
        "systemctl",
        "start",
        "docker.service",
        "&&",
        "docker",
        "version",
        "--format",
        "{{.Server.Version}}",
    )
    while True:
        answer = subprocess.run(
            sshfiles.command(paths, name, *words),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=max(left(), 1) + 10,
        )
        if answer.returncode == 0:
            return time.monotonic() - begun
        # While it boots, sshd refuses users for a moment (nologin), and dbus may not answer yet.
        if left() < 0:
            raise UnfitError(f"{name}: its engine does not answer: {answer.stderr.strip()[-500:]}")
        time.sleep(random.uniform(0.1, 0.3))  # noqa: S311 -- jitter, not a secret


def _greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def remove_container(client: docker.DockerClient, checkout_id: str, container_id: str) -> None:
    """Remove a container of ours; its labels are looked at again just before."""
    with suppress(docker.errors.NotFound):
        container = client.containers.get(container_id)
        if labels.ours(container.labels, checkout_id):
            container.remove(force=True, v=True)


def remove_volume(client: docker.DockerClient, checkout_id: str, name: str) -> None:
    """Remove a volume of ours; its labels are looked at again just before."""
    with suppress(docker.errors.NotFound):
        volume = client.volumes.get(name)
        if labels.ours(volume.attrs.get("Labels"), checkout_id):
            volume.remove()


def remove_all(client: docker.DockerClient, checkout_id: str) -> list[str]:
    """Remove every machine, volume and network of this checkout; return their names."""
    gone = []
    containers = client.api.containers(all=True, filters=labels.filters(checkout_id))
    # A container that somebody runs from one of our images inherits its labels; only machines carry a name besides.
    ours = [
        entry
        for entry in containers
        if labels.ours(entry["Labels"], checkout_id, labels.BENCH) and labels.MACHINE in entry["Labels"]
    ]
    with ThreadPoolExecutor(max_workers=8) as pool:
        for job in [pool.submit(remove_container, client, checkout_id, entry["Id"]) for entry in ours]:
            job.result()
    gone += [entry["Names"][0].lstrip("/") for entry in ours]
    for volume in client.volumes.list(filters=labels.filters(checkout_id)):
        if labels.ours(volume.attrs.get("Labels"), checkout_id, labels.BENCH):
            remove_volume(client, checkout_id, volume.name)
            gone.append(volume.name)
    network = find_network(client, checkout_id)
    if network:
        network.remove()
        gone.append(str(network.name))
    return gone
