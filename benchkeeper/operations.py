"""What a person or a test does to a machine: reboot, power cut and start, pulled and healed cable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchkeeper import sshfiles
from benchkeeper.console import phase
from benchkeeper.engine import connect
from benchkeeper.errors import UnfitError
from benchkeeper.machines import find_network, look, wait_ready

if TYPE_CHECKING:
    from docker.models.containers import Container
    from docker.models.networks import Network

    from benchkeeper.machines import Seen
    from benchkeeper.paths import Paths

STOP_PATIENCE = 20
# In which states an operation makes sense.
STATES = {
    "reboot": ("running", "cut"),
    "kill": ("running", "cut"),
    "start": ("exited", "created"),
    "cut": ("running",),
    "heal": ("cut",),
}


def operate(paths: Paths, name: str, action: str) -> None:
    """Do one operation and wait until it has had its effect; raise UnfitError when it makes no sense now."""
    client = connect()
    if client is None:
        raise UnfitError("the container engine does not answer; start it with ./bench up")
    seen = look(client, paths.checkout_id).get(name)
    network = find_network(client, paths.checkout_id)
    if seen is None or network is None or not paths.machines.is_file():
        raise UnfitError(f"{name} does not exist; bring the bench up first: ./bench up")
    if seen.state not in STATES[action]:
        raise UnfitError(f"cannot {action} {name}: it is {seen.state}")
    with phase("machine", f"{action} {name}"):
        _act(paths, client.containers.get(seen.container_id), network, seen, action)


def _act(paths: Paths, container: Container, network: Network, seen: Seen, action: str) -> None:
    address = str(json.loads(paths.machines.read_text(encoding="utf-8"))["machines"][seen.name]["address"])
    attached = seen.attached
    if action == "reboot":
        # The image's stop signal makes systemd shut down cleanly.
        container.restart(timeout=STOP_PATIENCE)
    elif action == "kill":
        container.kill()
    elif action == "start":
        container.start()
    elif action == "cut":
        network.disconnect(container, force=True)
        attached = False
    elif action == "heal":
        # The same address: a healed cable does not move a machine.
        network.connect(container, ipv4_address=address, aliases=[seen.name])
        attached = True
    sshfiles.forget_connection(paths, seen.name)
    if attached and action != "kill":
        wait_ready(paths, container, seen.name, address)
