"""The first check of every run: what answers is what was just built, and nobody in it can call out. Fatal, always.

Runs were green because an image of yesterday answered them; a harness talked to its vendor's production for weeks. Both are seen
here, before anything else is.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from benchkeeper.errors import BenchError
from benchkeeper.harness import client

if TYPE_CHECKING:
    from docker.models.containers import Container

    from benchkeeper.harness.life import Harness
    from benchkeeper.harness.place import Place

PATIENCE = 10.0  # seconds: the edge looks again for the address of a tenant that was made anew
BETWEEN = 0.1
DEFAULT_ROUTE = "00000000"


class GateError(BenchError):
    """What answers is not what was built, or is not shut in."""


def answering(place: Place) -> list[str]:
    """Return which parts do not say that they are what was built; empty when all of them do, or when nobody knows what to say."""
    if not place.build_id:
        return []
    asked = {f"tenant {one.name} through the edge": client.visitor(place.edge, one) for one in place.everybody}
    asked |= {f"tenant {one.name}": client.visitor(one.direct, one) for one in place.everybody}
    paths = dict.fromkeys(asked, "/buildinfo")
    if place.edge_direct:
        asked["the edge"], paths["the edge"] = client.Client(place.edge), "/__edge/buildinfo"

    def look(name: str) -> str:
        try:
            said = asked[name].need("GET", paths[name])
        except client.AnswerError as error:
            return f"{name}: {error}"
        found = said.get("git_sha") if isinstance(said, dict) else said
        return "" if found == place.build_id else f"{name} was built of {found!r}, not of {place.build_id!r}"

    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        return [text for text in pool.map(look, asked) if text]


def wait_until_reachable(place: Place, patience: float = PATIENCE) -> None:
    """Wait until the edge reaches every tenant, and no other under its name: addresses change hands when tenants are made anew.

    Raises:
        GateError: It does not.
    """
    end = time.monotonic() + patience
    waiting = list(place.everybody)
    while waiting:
        one = waiting[0]
        try:
            # Only this tenant knows its administrator, or its organisation; everybody answers /health.
            client_ = client.administrator(place.edge, one) if one.admin_token else client.visitor(place.edge, one)
            answer = client_.ask("GET", "/workspaces").status
        except client.AnswerError:
            answer = 0
        if answer == 200 or (answer == 401 and not one.admin_token):
            waiting.pop(0)
        elif time.monotonic() > end:
            raise GateError(f"the edge does not reach tenant {one.name} within {patience:g} s (it answers {answer or 'nothing'})")
        else:
            time.sleep(BETWEEN)


def shut_in(harness: Harness) -> list[str]:
    """Return which services could call out, or do not run from the image that they should; empty when all is well."""
    services = harness.services
    wanted = harness.plan.document()["services"]

    def look(name: str) -> str:
        container = services.container(name)
        networks = set(container.attrs["NetworkSettings"]["Networks"])
        if wanted[name]["image"] != container.attrs["Config"]["Image"]:
            return f"{name} runs from {container.attrs['Config']['Image']}"
        allowed = {f"{harness.project}_{one}" for one in wanted[name]["networks"]}
        if networks != allowed:
            return f"{name} is attached to {', '.join(sorted(networks - allowed)) or 'too few networks'}"
        if "door" not in wanted[name]["networks"] and DEFAULT_ROUTE in destinations(container):
            return f"{name} has a way out"
        return ""

    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        return [text for text in pool.map(look, wanted) if text]


def destinations(container: Container) -> list[str]:
    """Return where a container's routes lead, as the kernel says it: hexadecimal, eight zeros for everywhere."""
    try:
        table = Path(f"/proc/{int(container.attrs['State']['Pid'])}/net/route").read_text(encoding="ascii")
    except (OSError, ValueError):
        # Somebody else's process, or an engine in a namespace of its own: it is asked from the inside.
        try:
            code, raw = container.exec_run(["cat", "/proc/net/route"])
        except docker.errors.DockerException:
            code, raw = 1, b""
        if code != 0:
            return [DEFAULT_ROUTE]  # what cannot be seen is not proven
        table = raw.decode("ascii", "replace") if isinstance(raw, bytes) else ""
    return [line.split()[1] for line in table.splitlines()[1:] if len(line.split()) > 1]


def check(harness: Harness) -> None:
    """Look at all of it. Raises GateError, which says all that is wrong."""
    wrong = [*answering(harness.place), *shut_in(harness)]
    if wrong:
        raise GateError("what answers is not what was built, or not shut in: " + "; ".join(wrong))
