"""Engine items: a compose project comes back by its image ids and its own ``up``, never by building anew."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Optional, Set

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_wire import EngineError

from keeper import baseline
from keeper.baseline import KEEP, Difference, World
from keeper.commands import as_bytes, program_of
from keeper.core import GuardedRun, text
from keeper.errors import UNFIT, KeeperError
from keeper.kinds import FAILED, PUT_BACK, UNDONE, Undo, Verdict
from keeper.ports import poll
from keeper.units import STOP_GRACE

if TYPE_CHECKING:
    from ansible_collections.benchkeeper.core.plugins.module_utils import _journal
    from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine

ATTEMPTS = 3
BOUND = STOP_GRACE + 2.0  # seconds that a call to the engine may go on after its client died
_RUNNING_WAIT = 30.0
_STOPPING = 8  # containers that are stopped at the same time
_EVENTS = ("create", "start", "restart", "stop", "die", "destroy", "kill")


def prepare(guarded: GuardedRun, spec: Mapping[str, Any], number: int) -> Dict[str, Any]:
    """Write down what the engine looks like before a command, and return what its INTENT says about it.

    Args:
        guarded: The run.
        spec: ``{kind: engine, project, live_dir, argv, user, timeout}``.
        number: Number of the INTENT to come.
    """
    text(spec, "project")
    program_of(spec)
    world = _look(guarded)
    name = f"engine-{number}.json"
    raw = as_bytes(world.document())
    guarded.dir.write(name, raw)
    return {
        "undo": dict(spec),
        "baseline": name,
        "digest": hashlib.sha256(raw).hexdigest(),
        "bound": BOUND,
    }


def window(guarded: GuardedRun, covered_by: Any, number: int) -> Dict[str, Any]:
    """Write down which objects there are before a command that an engine item covers."""
    cover = guarded.find(str(covered_by)) if covered_by is not None else None
    if cover is None or cover.kind != "engine":
        return {}
    name = f"window-{number}.json"
    guarded.dir.write(name, _look(guarded).names())
    return {"window": name, "bound": BOUND}


def _look(guarded: GuardedRun) -> World:
    try:
        return baseline.look(guarded.keeper.engine())
    except EngineError as error:
        raise KeeperError(UNFIT, f"nothing was changed: {error}") from error


def made_since(guarded: GuardedRun, item: _journal.Item) -> Optional[Dict[str, List[str]]]:
    """Return the objects that appeared since an item's INTENT, None when they are not watched."""
    before = _names_before(guarded, item)
    if before is None:
        return None
    with contextlib.suppress(EngineError):
        return baseline.made(before, baseline.look(guarded.keeper.engine()))
    return None


def _names_before(guarded: GuardedRun, item: _journal.Item) -> Optional[Mapping[str, List[str]]]:
    if item.kind == "engine":
        world = _baseline(guarded, item)
        return None if world is None else world.names()
    name = item.intent.get("window")
    return None if name is None else guarded.dir.load(name)


def _baseline(guarded: GuardedRun, item: _journal.Item) -> Optional[World]:
    raw = guarded.dir.read(item.intent["baseline"])
    if raw is None or hashlib.sha256(raw).hexdigest() != item.intent["digest"]:
        return None
    return baseline.world_of(json.loads(raw))


def keep(guarded: GuardedRun, item: _journal.Item) -> None:
    """Give the images of the baseline a tag of ours, so that no clean-up of the branch can remove them."""
    world = _baseline(guarded, item)
    engine = guarded.keeper.engine()
    images = sorted({one.image for one in world.named(item.intent["undo"]["project"]).values()}) if world else []
    try:
        for number, image in enumerate(images):
            engine.tag(image, f"{KEEP}:{guarded.dir.run_id}-{item.seq}-{number}")
    except EngineError as error:
        raise KeeperError(UNFIT, f"the images of the baseline could not be kept: {error}") from error


def _owned(ask: Undo, now: World) -> Dict[str, Set[str]]:
    """Return what the commands made that this item undoes: recorded when they ended, else everything new since."""
    owned: Dict[str, Set[str]] = {kind: set() for kind in ("containers", "networks", "volumes", "images", "tags")}
    for item in ask.run.dir.items():
        if item.seq != ask.item.seq and item.intent.get("covered_by") != ask.item.name:
            continue
        recorded = (item.done or {}).get("made")
        if recorded is None and item.done is None:
            before = _names_before(ask.run, item)
            recorded = None if before is None else baseline.made(before, now)
        for kind, names in (recorded or {}).items():
            owned[kind].update(names)
    return owned


def pending_until(ask: Undo) -> float:
    """Return until when (CLOCK_BOOTTIME) the engine may still act on calls whose clients were lost."""
    until = 0.0
    for item in ask.run.dir.items():
        mine = item.seq == ask.item.seq or item.intent.get("covered_by") == ask.item.name
        if mine and item.done is None:
            # A number from another boot may lie in the future: nothing of that boot goes on.
            until = max(until, min(item.intent["boottime"], ask.run.keeper.clock.boottime()) + float(BOUND))
    return until


def undo(ask: Undo) -> Verdict:
    """Bring a project back: tags, strangers out, its own ``up``, and again until it is as it was and stays so."""
    world = _baseline(ask.run, ask.item)
    if world is None:
        return Verdict(FAILED, "the record of the engine before the run is gone or damaged")
    try:
        return _undo(ask, world)
    except EngineError as error:
        return Verdict(FAILED, str(error))


def _undo(ask: Undo, world: World) -> Verdict:
    clock = ask.run.keeper.clock
    engine = ask.run.keeper.engine()
    project = ask.intent["undo"]["project"]
    acted = False
    notes: List[str] = []
    quiet_from = pending_until(ask)

    def differences() -> Difference:
        now = baseline.look(engine)
        return baseline.compare(project, world, now, _owned(ask, now))

    _finish_stops(ask, engine, project)
    difference = differences()
    for attempt in range(ATTEMPTS):
        if difference.lost_images or (difference.clean and clock.boottime() >= quiet_from):
            break
        if not difference.clean:
            acted = True
            notes = _bring_back(ask, engine, difference, attempt)
        notes += _quiet(ask, engine, project, quiet_from)
        difference = differences()
        if acted and difference.stale and not difference.reasons:
            break  # `up` is content with a container whose configuration it rendered differently: the proof judges
    if difference.reasons:
        return Verdict(FAILED, "; ".join(difference.reasons[:4] + notes))
    if difference.lost_volumes:
        return Verdict(FAILED, f"the data of volumes is gone: {', '.join(difference.lost_volumes)}")
    return Verdict(PUT_BACK if acted else UNDONE)


def again(ask: Undo) -> None:
    """Bring a project back once more if it is not as it was: something that went on behind the undo took it away again."""
    world = _baseline(ask.run, ask.item)
    if world is None:
        return
    engine = ask.run.keeper.engine()
    with contextlib.suppress(EngineError):
        now = baseline.look(engine)
        if not baseline.compare(ask.intent["undo"]["project"], world, now, _owned(ask, now)).clean:
            _undo(ask, world)


def _finish_stops(ask: Undo, engine: Engine, project: str) -> None:
    """End the stops that still wait for their grace.

    The engine goes on with a stop whose client was lost, for as long as the container's own grace, a minute for some. It would
    take down what the undo brings up. A second stop with our own, short grace ends the first one.
    """
    lost = [
        float(item.intent.get("at", 0.0))
        for item in ask.run.dir.items()
        if item.done is None and (item.seq == ask.item.seq or item.intent.get("covered_by") == ask.item.name)
    ]
    if not lost:
        return
    stopping: Set[str] = set()
    for event in _events(engine, project, min(lost), ask.run.keeper.clock.wall()):
        container = str((event.get("Actor") or {}).get("ID") or "")
        if event.get("Action") == "kill":
            stopping.add(container)
        elif event.get("Action") in ("die", "destroy", "start"):
            stopping.discard(container)

    def end(container: str) -> None:
        with contextlib.suppress(EngineError):  # gone in between
            engine.stop(container, int(STOP_GRACE))

    if stopping:
        _at_once(end, sorted(stopping))


def _at_once(act: Callable[[str], None], containers: Iterable[str]) -> None:
    """Do something to several containers at the same time: each may take its whole grace."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most calls have no use for it, and it takes a while to load

    with ThreadPoolExecutor(max_workers=_STOPPING) as pool:
        list(pool.map(act, containers))


def _quiet(ask: Undo, engine: Engine, project: str, until: float) -> List[str]:
    """Wait until the engine cannot act any more on calls whose clients were lost; say whether it did."""
    clock = ask.run.keeper.clock
    since = clock.wall()
    if clock.boottime() >= until:
        return []
    poll(clock, until, lambda: False)
    return ["the engine still acted after the undo"] if _events_since(engine, project, since, clock.wall()) else []


def _bring_back(ask: Undo, engine: Engine, difference: Difference, attempt: int) -> List[str]:
    """Do one round of repairs; return what did not work."""
    from keeper.item_command import follow  # noqa: PLC0415 - the two kinds of undo use each other

    notes: List[str] = []
    for tag, image in difference.lost_tags.items():
        engine.tag(image, tag)
    # A container that `up` took for its own although it is the branch's has to go before the next try.
    _remove_all(engine, [one.id for one in [*difference.extra_containers, *(difference.wrong if attempt else [])]])
    for network in difference.reshaped:
        _remove_all(engine, list(engine.network(network.id).get("Containers") or {}))
        with contextlib.suppress(EngineError):
            engine.remove_network(network.id)
    for network in difference.extra_networks:
        with contextlib.suppress(EngineError):  # still used: again after `up`
            engine.remove_network(network.id)
    spec = ask.intent["undo"]
    ended = follow(ask, program_of({"cwd": spec.get("live_dir"), **spec}), attempt)
    if ended.rc != 0:
        last = ask.run.keeper.looker.redact(ended.err or ended.out, [])[-300:].strip()
        notes.append(f"{' '.join(spec['argv'][:3])} ended with {ended.rc}: {last}")
    _states(ask, engine)
    _leftovers(ask, engine)
    return notes


def _remove_all(engine: Engine, containers: List[str]) -> None:
    """Stop and remove containers."""
    if containers:
        _at_once(lambda container: _remove(engine, container), containers)


def _remove(engine: Engine, container: str) -> None:
    with contextlib.suppress(EngineError):
        engine.stop(container, int(STOP_GRACE))
    try:
        engine.remove(container, force=True)
    except EngineError as error:
        if error.status != 404:
            raise


def _states(ask: Undo, engine: Engine) -> None:
    """Stop or pause again what was so before, and give the rest a moment to be up."""
    world = _baseline(ask.run, ask.item) or World()
    project = ask.intent["undo"]["project"]
    then = world.named(project)
    for name, now in baseline.look(engine).named(project).items():
        was = then.get(name)
        if was is None or was.up == now.up:
            continue
        if was.up == "down":
            engine.stop(now.id, int(STOP_GRACE))
        elif was.up == "paused" and now.up == "up":
            engine.pause(now.id)
        elif was.up == "up" and now.up == "paused":
            engine.unpause(now.id)

    def all_up() -> bool:
        here = baseline.look(engine).named(project)
        return all(name in here and here[name].up == was.up for name, was in then.items())

    clock = ask.run.keeper.clock
    poll(clock, clock.boottime() + _RUNNING_WAIT, all_up)


def _leftovers(ask: Undo, engine: Engine) -> None:
    """Remove networks, volumes, tags and images that came with the run, once nothing uses them."""
    world = _baseline(ask.run, ask.item) or World()
    now = baseline.look(engine)
    difference = baseline.compare(ask.intent["undo"]["project"], world, now, _owned(ask, now))
    for network in difference.extra_networks:
        with contextlib.suppress(EngineError):
            engine.remove_network(network.id)
    for volume in difference.extra_volumes:
        with contextlib.suppress(EngineError):
            engine.remove_volume(volume)
    for tag in difference.extra_tags:
        with contextlib.suppress(EngineError):
            engine.remove_image(tag)
    left = set(difference.extra_images)
    while left:  # children first: an image goes when no other stands on it
        gone = {image for image in left if _remove_image(engine, image)}
        if not gone:
            break
        left -= gone


def _remove_image(engine: Engine, image: str) -> bool:
    try:
        engine.remove_image(image, noprune=True)
    except EngineError as error:
        return error.status == 404
    return True


def _events_since(engine: Engine, project: str, since: float, until: float) -> bool:
    return bool(_events(engine, project, since, until))


def _events(engine: Engine, project: str, since: float, until: float) -> List[Dict[str, Any]]:
    """Return what happened to the containers of a project between two wall times, oldest first."""
    filters = {"label": [f"{baseline.PROJECT}={project}"], "type": ["container"], "event": list(_EVENTS)}
    query = {"since": f"{since:.6f}", "until": f"{until:.6f}", "filters": json.dumps(filters)}
    with engine.request("GET", "/events", query, timeout=STOP_GRACE) as response:
        return [json.loads(line) for line in response.read().splitlines() if line.strip()]


def clean(run: GuardedRun, item: _journal.Item) -> None:
    """Take the tags of ours off again, after the proof."""
    engine = run.keeper.engine()
    prefix = f"{KEEP}:{run.dir.run_id}-{item.seq}-"
    for image in engine.images():
        for tag in image.get("RepoTags") or []:
            if tag.startswith(prefix):
                _untag(engine, tag)


def _untag(engine: Engine, tag: str) -> None:
    """Take one tag off. Where it is the only one of an image that runs, the engine wants to be forced."""
    try:
        engine.remove_image(tag, noprune=True)
    except EngineError as error:
        if error.status == 404:
            return
        image = engine.image(tag).get("Id")
        states = [row.get("State") for row in engine.containers() if row.get("ImageID") == image]
        if "running" in states:  # forced, it takes only the name off such an image; of a stopped one it deletes it
            engine.remove_image(tag, force=True, noprune=True)
        else:
            raise
