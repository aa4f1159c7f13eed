"""Play the recorded starts of the program: does it get ready, what does it say, what answers does it give, how does it end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Protocol

from benchkeeper.conform import compare, recording, wire
from benchkeeper.conform.player import Outcome
from benchkeeper.conform.symbols import Symbols, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchkeeper.conform.listeners import Place
    from benchkeeper.conform.recording import Case


class Started(Protocol):
    """A program that was just started."""

    @property
    def place(self) -> Place:
        """Where it listens, once it does."""

    async def ready(self) -> bool:
        """Wait until it answers; False when it ended before."""

    async def stop(self) -> int | None:
        """Ask it to end as SIGTERM does and give its exit code, of one that has ended as well; None when it does not end."""

    def events(self) -> list[str]:
        """Give what it said, in the recording's words."""


async def play(
    case: Case,
    started: Started,
    saw: Callable[[], list[compare.Saw]],
    symbols: Symbols,
    hosts: Mapping[str, str] | None = None,
) -> Outcome:
    """Look at one start, and end it."""
    ready = await started.ready()
    found = compare.upstreams(case, saw(), symbols, hosts=hosts)
    for number, probe in enumerate(case.response.get("probes", []) if ready else []):
        found += await _probe(probe, started.place, symbols, f"probe[{number}]")
    code = await started.stop()
    wanted = {"became_ready": True, **case.response}
    got = {"became_ready": ready, "exit_code": code}
    found += [f"{name}: {wanted[name]} is {got[name]}" for name in got if wanted[name] != got[name]]
    said = sorted(started.events())
    if sorted(wanted["events"]) != said:
        found.append(f"events: {sorted(wanted['events'])} are {said}")
    return Outcome(case, found)


async def listens(place: Place) -> bool:
    """Say whether somebody listens there. A request would be counted by a rate limit that the recording counts, too."""
    try:
        _reader, writer = await asyncio.open_connection(*place)
    except OSError:
        return False
    writer.close()
    return True


async def _probe(probe: dict[str, Any], place: Place, symbols: Symbols, where: str) -> list[str]:
    headers = (("Host", f"127.0.0.1:{place[1]}"), *probe["headers"].items())
    request = recording.Request(probe["method"], probe["path"], headers, None, "1.1", {})
    answer = await wire.exchange(place[1], probe["method"], wire.encode(request, symbols), host=place[0])
    found = [] if answer.status == probe["status"] else [f"{where}.status: {probe['status']} is {answer.status}"]
    if "body" not in probe:
        return found
    text = answer.body.decode("utf-8", "replace")
    try:
        got = text if isinstance(probe["body"], str) else json.loads(text)
    except ValueError:
        return [*found, f"{where}.body: no JSON: {shown(answer.body)}"]
    return found + symbols.differences(probe["body"], got, f"{where}.body")
