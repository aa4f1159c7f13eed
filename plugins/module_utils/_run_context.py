"""The run context: one mapping that says what a run is about, made once and handed down to every role.

Pure functions over the stack's data, the inventory's names and what the caller asked for. Everything that comes from outside is
checked here, before the first change; a message names the value and what would be accepted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODES = ("check", "targeted", "journal")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}\Z")
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\Z")
TTL_LIMITS = (30, 86400)
WAIT_LIMITS = (0, 86400)
WORKER_LIMIT = 64
DEFAULT_MINER = "miner-0"  # borrowed when nobody says what, where the stack borrows any
DEFAULT_TTL = 120  # seconds of silence that a lease outlives; its holder renews it every quarter of that
VERB_LIMIT = 300  # seconds for a verb of the driver whose profile says none
STACK_PROBE = "stack"  # the probe of a bench that says which directory drives it
NO_SECRETS: dict[str, Any] = {"dotenv": [], "categories": {}, "canary": {"file": "", "path": []}}
# A bench that scales the product's timings waits less long for them, too; but what the machine itself needs does not shrink.
SHORTEST_WAIT = 30.0  # seconds
LEAST_PATIENCE = 0.25
PLACE = re.compile(r"\{([a-z_]+)\}")
# What `build` fills in; a signal's own places come with `with`, a scenario's own with `places`.
PLACES = (
    *("run_id", "bench", "time_scale", "checkout", "live", "pool_url", "miners", "worker_names", "workers", "secret_keys"),
    *("dir", "host", "miner", "worker", "overrides"),
)


class UsageError(ValueError):
    """What the caller asked for cannot be meant; nothing was touched (exit code 2)."""


class UnfitError(RuntimeError):
    """Something that the run needs does not answer; nothing was touched (exit code 3)."""


@dataclass(frozen=True)
class Request:
    """What the caller asked for, as it came in.

    ``miners`` is a list of inventory names, the text ``none`` or a comma separated text, None meaning the default; ``lends`` says
    whether miners can be borrowed for the stack at all; ``workers`` counts distinct workers, -1 meaning as many as are borrowed;
    ``ttl`` and ``wait`` are seconds, ttl 0 meaning the default; ``worker_names`` says under which name the bench shows a miner,
    where that is not its inventory name.
    """

    branch: str
    stack: str = "pithead"
    mode: str = "targeted"
    miners: Any = None
    lends: bool = True
    workers: int = -1
    keep: bool = False
    ttl: int = 0
    wait: int = 0
    bench: str = ""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    worker_names: Mapping[str, Any] = field(default_factory=dict)


def check_branch(branch: str) -> str:
    """Return the branch name if git and a shell would both take it for one plain name.

    Raises:
        UsageError: empty, over 200 characters, or anything a shell, git option parser or template engine could read otherwise.
    """
    if not branch:
        raise UsageError("a branch is needed: -e branch=NAME")
    bad = ("..", "//", "@{", "/.", ".lock/")
    if not BRANCH.match(branch) or any(part in branch for part in bad) or branch.endswith((".lock", "/", ".")):
        shown = ascii(branch[:60])
        raise UsageError(f"not a branch name: {shown}. Letters, digits and . _ / + - are accepted, at most 200 of them")
    return branch


def _whole(name: str, value: Any, low: int, high: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise UsageError(f"{name} is a whole number, not {str(value)[:40]!a}") from None
    if not low <= number <= high:
        raise UsageError(f"{name} must be between {low} and {high}, not {number}")
    return number


def check_miners(asked: Any, known: Sequence[str], *, lends: bool = True) -> list[str]:
    """Return the names of the miners to borrow, in the order in which their leases are taken.

    Args:
        asked: as in `Request`.
        known: the inventory's group ``miners``.
        lends: whether the stack's profile says how a miner is lent.

    Raises:
        UsageError: a name that is no host name, is not known, or stands there twice; any name where the stack borrows none.
    """
    if asked is None:
        asked = DEFAULT_MINER if lends else "none"
    names = [part.strip() for part in asked.split(",")] if isinstance(asked, str) else [str(part) for part in asked]
    if names in (["none"], [""], []):
        return []
    if not lends:
        raise UsageError("this stack borrows no miners, its profile.yml has no borrow: leave them out, or ask for none")
    for name in names:
        if not NAME.match(name):
            raise UsageError(f"not a host name: {name[:60]!a}")
        if name not in known:
            raise UsageError(f"unknown miner {name}; the inventory has: {', '.join(known) or 'none'}")
    if len(set(names)) != len(names):
        raise UsageError(f"the same miner twice: {', '.join(names)}")
    return sorted(names)


def check_worker_names(given: Mapping[str, Any], miners: Sequence[str]) -> dict[str, str]:
    """Return the worker name of each borrowed miner, its inventory name where none is given.

    Raises:
        UsageError: something that is no name, or one name for two miners.
    """
    names = {miner: str(given.get(miner) or miner) for miner in miners}
    for miner, name in names.items():
        if not NAME.match(name):
            raise UsageError(f"not a worker name, of {miner}: {name[:60]!a}")
    if len(set(names.values())) != len(names):
        raise UsageError(f"two miners with one worker name: {', '.join(sorted(names.values()))}")
    return names


def fill(data: Any, places: Mapping[str, Any]) -> Any:
    """Return ``data`` with every ``{place}`` that is known put in; a text that is only a place takes the value's own type."""
    if isinstance(data, str):
        whole = PLACE.fullmatch(data)
        if whole and whole.group(1) in places:
            return places[whole.group(1)]
        return PLACE.sub(lambda match: str(places.get(match.group(1), match.group(0))), data)
    if isinstance(data, dict):
        return {key: fill(value, places) for key, value in data.items()}
    if isinstance(data, list):
        return [fill(value, places) for value in data]
    return data


def lacks(path: str, file: str = "profile.yml") -> str:
    """Return how it is told that one of the stack's files lacks something."""
    return f"the stack's {file} lacks {path}"


def _need(data: Mapping[str, Any], path: str, file: str = "profile.yml") -> Any:
    value: Any = data
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UsageError(lacks(path, file))
        value = value[part]
    return value


def _exercise(data: Mapping[str, Any], path: str) -> Any:
    return _need(data, path, "exercise.yml")


def check_snapshot(look: Sequence[str], probes: Mapping[str, Any]) -> None:
    """Refuse a look at probes that there are not.

    Raises:
        UsageError: names them.
    """
    unknown = [probe for probe in look if probe not in probes]
    if unknown:
        raise UsageError(f"the stack's profile.yml snapshots probes it does not define: {', '.join(unknown)}")


def check_request(request: Request, stacks: Sequence[str]) -> dict[str, Any]:
    """Return the checked values of a request.

    Raises:
        UsageError: any value that cannot be meant.
    """
    if not NAME.match(request.stack) or request.stack not in stacks:
        raise UsageError(f"unknown stack {request.stack[:60]!a}; there are: {', '.join(stacks)}")
    if request.mode not in MODES:
        raise UsageError(f"unknown mode {request.mode[:60]!a}; choose from: {', '.join(MODES)}")
    benches = list(request.groups.get("benches", ()))
    bench = request.bench or (benches[0] if benches else "")
    if not NAME.match(bench) or bench not in benches:
        raise UsageError(f"unknown bench {bench[:60]!a}; the inventory's group benches has: {', '.join(benches) or 'none'}")
    known = list(request.groups.get("miners", ()))
    miners = [] if request.mode == "check" else check_miners(request.miners, known, lends=request.lends)
    ttl = _whole("ttl", request.ttl or DEFAULT_TTL, *TTL_LIMITS)
    if request.keep and not request.ttl:
        raise UsageError("keep needs a ttl: how many seconds may the host stay leased?")
    if request.keep and request.mode == "check":
        raise UsageError("keep has no meaning in mode check: it deploys nothing")
    workers = _whole("workers", request.workers, -1, WORKER_LIMIT)
    return {
        "branch": check_branch(request.branch),
        "stack": request.stack,
        "mode": request.mode,
        "bench": bench,
        "miners": miners,
        "worker_names": check_worker_names(request.worker_names, miners),
        "workers": len(miners) if workers < 0 else workers,
        "keep": bool(request.keep),
        "ttl": ttl,
        "wait": _whole("wait", request.wait, *WAIT_LIMITS),
    }


def _host(kind: str, name: str, role: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """One borrowed or leased host: what is looked at, what must be fit, what proves that it is back."""
    filled = fill(dict(role), {**places, "host": name, "miner": name})
    probes = filled["probes"]
    look = list(filled["snapshot"])
    check_snapshot(look, probes)
    return {
        "name": name,
        "kind": kind,
        "probes": probes,
        "look": {probe: probes[probe] for probe in look},
        "fit": patient([without(without(signal, "busy"), "own") for signal in filled.get("fit", [])], float(places["time_scale"])),
        "busy": [signal["name"] for signal in filled.get("fit", []) if signal.get("busy")],
        # What says that the machine itself failed; asked once more, in one look, when a run went wrong.
        "own": [{**without(signal, "own"), "deadline": 0.0} for signal in filled.get("fit", []) if signal.get("own")],
        "proof": {**filled.get("proof", {}), "ignore": filled.get("ignore", [])},
    }


def _driver(profile: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """How the stack is driven, with what may be left out filled in; one without a verb for it is never backed up."""
    driver = fill(_need(profile, "driver"), places)
    limits = _need(profile, "driver.timeouts")
    usual = limits.get("verb", VERB_LIMIT)
    for key in ("backup_dir", "backup_pattern", "backup_written") if "backup" in _need(profile, "driver.verbs") else ():
        _need(profile, f"driver.{key}")
    return {"env": {}, "backup_members": [], **driver, "timeouts": {"deploy": usual, "backup": usual, **limits}}


def _borrow(asked: Mapping[str, Any], profile: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """How each miner is pointed at the bench, and what shows that it came."""
    borrow, miner = _need(profile, "borrow"), _need(profile, "hosts.miner")
    bare = asked["mode"] == "journal"
    url_key = _need(profile, "borrow.url_key")
    tag = fill(miner.get("tag", {}), places)
    first = {**_need(profile, "borrow.set"), url_key: places["pool_url"], **({tag["key"]: tag["value"]} if tag else {})}
    seen = _need(profile, "borrow.seen")
    return {
        "list": _need(profile, "borrow.list"),
        "pool_url": places["pool_url"],
        "path": miner.get("config", ""),
        "unit": miner.get("unit", ""),
        "on_conflict": borrow.get("on_conflict", "end"),
        # A copy of the first entry, ours by its tag, before all others: the owner's pools stay as its failover.
        "edit": {
            "json": [
                {
                    "op": "first_in_list",
                    "list": _need(profile, "borrow.list"),
                    "match": {url_key: places["pool_url"]},
                    "copy_first": True,
                    "set": first,
                }
            ]
        },
        "arrived": [] if bare else fill(_need(profile, "borrow.arrived"), places),
        "seen": {
            name: patient(fill(seen, {**places, "miner": name, "worker": worker}), places["time_scale"])
            for name, worker in ({} if bare else asked["worker_names"]).items()
        },
    }


def build(
    asked: Mapping[str, Any],
    profile: Mapping[str, Any],
    exercise: Mapping[str, Any],
    places: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the run context.

    Args:
        asked: what `check_request` returned, with ``run_id`` and ``commit``.
        profile: the stack's profile.yml.
        exercise: the stack's exercise.yml.
        places: ``live`` (directory, from the running container's label or the profile) and ``pool_host`` (how miners reach
            the bench).

    Returns:
        A mapping of plain data without a placeholder left, without a secret in it.

    Raises:
        UsageError: the stack's data lack something.
    """
    live = places.get("live") or _need(profile, "paths.live")
    secrets = {**NO_SECRETS, **profile.get("secrets", {})}
    checkout = _need(profile, "paths.checkout")
    lent = "borrow" in profile
    port = _need(profile, "borrow.port") if lent else 0
    # A run that is only there to be killed makes every kind of change; it waits for nothing and checks nothing.
    bare = asked["mode"] == "journal"
    base = {
        "run_id": asked["run_id"],
        "bench": asked["bench"],
        "time_scale": asked.get("time_scale", 1.0),
        "checkout": checkout,
        "live": live,
        "pool_url": f"{places.get('pool_host') or asked['bench']}:{port}" if lent else "",
        "miners": list(asked["miners"]),
        "worker_names": list(asked["worker_names"].values()),
        "workers": asked["workers"],
        "secret_keys": sorted({key for keys in secrets["categories"].values() for key in keys}),
    }
    hosts = _need(profile, "hosts")
    _need(profile, f"hosts.bench.probes.{STACK_PROBE}")
    at_rest = {**base, "dir": live}
    deployed = {**base, "dir": checkout}
    bench = _host("bench", asked["bench"], _need(hosts, "bench"), at_rest)
    branch = _host("bench", asked["bench"], _need(hosts, "bench"), deployed)
    project = _need(profile, "project")
    bound = {
        name: {"kind": "container_file", "project": project, "service": one["service"], "path": one["path"]}
        for name, one in profile.get("binding", {}).items()
    }
    bench["deployed"], bench["deployed_look"] = {**branch["probes"], **bound}, {} if bare else {**branch["look"], **bound}
    miners = [_host("miner", name, _need(hosts, "miner"), at_rest) for name in asked["miners"]]
    steps = plan(asked, exercise, base)
    driver = _driver(profile, at_rest)
    return {
        "schema": 1,
        **asked,
        "title": profile.get("title", asked["stack"]),
        "project": project,
        "owner": _need(profile, "paths.owner"),
        "lock": {"path": profile["paths"]["lock"]} if profile["paths"].get("lock") else {},
        "live": live,
        "live_label": _need(profile, "live_label"),
        "checkout": checkout,
        "driver": driver,
        "bring_back": {
            "kind": "engine",
            "project": project,
            "live_dir": live,
            "argv": [driver["program"], *driver["verbs"]["up"]],
            "env": driver["env"],
            "user": _need(profile, "paths.owner"),
            "timeout": driver["timeouts"]["up"],
        },
        "seed": list(profile.get("seed", [])),
        "secrets": fill(secrets, at_rest),
        "binding": profile.get("binding", {}),
        "build_label": profile.get("build_label", ""),
        "hosts": [*miners, bench],
        "borrow": _borrow(asked, profile, at_rest) if lent or "miner" in hosts else {},
        **steps,
    }


def plan(asked: Mapping[str, Any], exercise: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """Return the signals and steps of a run: ``deployed`` (signals), ``scenario`` and ``lifecycle`` (steps)."""
    signals = _exercise(exercise, "signals")
    name = _exercise(exercise, "canonical")
    row = _exercise(exercise, "scenarios")[name]
    overrides = dict(row.get("overrides", {}))
    filled = {**places, **row.get("places", {}), "overrides": overrides}
    context = {"workers": asked["workers"], "time_scale": asked.get("time_scale", 1.0)}
    if asked["mode"] == "journal":
        steps = [_step(step, "lifecycle", signals, filled, context) for step in _exercise(exercise, "journal")]
        return {"scenario_name": name, "overrides": overrides, "deployed": [], "scenario": [], "lifecycle": steps}
    return {
        "scenario_name": name,
        "overrides": overrides,
        "deployed": resolve_signals(_exercise(exercise, "deployed"), signals, filled, context),
        "scenario": [_step(step, "scenario", signals, filled, context) for step in _exercise(exercise, "scenario_steps")],
        "lifecycle": [_step(step, "lifecycle", signals, filled, context) for step in _exercise(exercise, "targeted")],
    }


def without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the mapping without a key."""
    return {name: value for name, value in mapping.items() if name != key}


def patient(signals: Sequence[Mapping[str, Any]], time_scale: float) -> list[dict[str, Any]]:
    """Return the signals with their deadlines (seconds) scaled as the bench scales the product's timings; 0 stays a single look."""
    factor = min(1.0, max(LEAST_PATIENCE, time_scale))

    def scaled(deadline: float) -> float:
        return min(deadline, max(SHORTEST_WAIT, deadline * factor))

    return [{**signal, "deadline": scaled(float(signal.get("deadline", 60)))} for signal in signals]


def resolve_signals(
    wanted: Sequence[Any],
    signals: Mapping[str, Any],
    places: Mapping[str, Any],
    context: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return full signal specs for names or ``{signal, with}`` references; those whose need is not there are left out."""
    specs = []
    for one in wanted:
        name = one if isinstance(one, str) else one["signal"]
        if name not in signals:
            raise UsageError(f"the stack's exercise.yml waits for a signal it does not define: {name}")
        spec = dict(signals[name])
        need = spec.pop("needs", None)
        if need and not context.get(need):
            continue
        extra = {} if isinstance(one, str) else fill(one.get("with", {}), places)
        specs.append({"name": name, **fill(spec, {**places, **extra})})
    return patient(specs, float(context.get("time_scale", 1.0)))


def _step(
    step: Mapping[str, Any],
    phase: str,
    signals: Mapping[str, Any],
    places: Mapping[str, Any],
    context: Mapping[str, Any],
) -> dict[str, Any]:
    def ops(many: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        done = []
        for raw in many:
            op = dict(raw)
            if "wait" in op:
                op["wait"] = resolve_signals(op["wait"], signals, places, context)
            done.append(fill(op, places))
        return done

    return {
        "id": step["id"],
        "title": step["title"],
        "phase": step.get("phase", phase),
        "gate": bool(step.get("gate", False)),
        "ops": ops(step["ops"]),
        "always": ops(step.get("always", [])),
    }
