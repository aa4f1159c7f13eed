"""What a recorded case needs beforehand, read from its note, its name and what was recorded: never from its number.

The recorder wrote down in words what it had arranged. Each rule below knows one of its sentences. A note that speaks of something
arranged and that no rule knows makes its case unplayable: the note is the reason. Any other note is a remark.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchkeeper.conform.recording import Case

CONTROL_PLANE, CANVAS, REDIS, POSTGRES = "control plane", "canvas", "redis", "postgres"
PROVISION = ("POST", "/cp/workspaces/provision")
NO_BUILD = ""  # a server that nobody stamped
STUB_CONFIG_STATUS = 501  # what the stub answers to the config request when nothing is scripted
NUMBERS = {word: number for number, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], 1)}
VALUE = re.compile(r"<((?:uuid|token):\d+)")  # a symbol for a value that some answer shows
PAGE = "<html></html>"  # an answer that is no JSON
# Words with which the recorder speaks of something that it arranged.
ARRANGED = re.compile(
    r"\bscripted\b|\binserted\b|\bby SQL\b|\bby the recorder\b|\b(?:is|are|was|were) (?:down|stopped|killed|paused|full)\b"
    r"|^\w+ down\b|\brefuses? connections\b|\blistens\b|\bclock\b|\bunreachable\b|\blinked with\b|\blies next to\b|\bbeforehand\b"
)


@dataclass(frozen=True)
class Script:
    """An answer of the control plane that is not the stub's own.

    Attributes:
        method: Of the requests it is for.
        path: Their path, with `:name` for any segment.
        status: Of the answer.
        headers: Of the answer.
        body: JSON, or a text that is sent as it is.
        fault: `hangup` closes the connection without an answer, `garbage` answers something that is no HTTP.
        cookie: What the Cookie header must contain.
    """

    method: str
    path: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: Any = None
    fault: str = ""
    cookie: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a workspace's activity that was inserted by SQL; `age` is in seconds."""

    id: str
    workspace_id: str
    summary: str
    age: float
    activity_type: str = "a2a_receive"
    method: str = "message/send"
    source_id: str | None = None


@dataclass(frozen=True)
class Needs:
    """What has to be arranged before a case, and stays so only for it.

    Attributes:
        down: What is away: `control plane`, `canvas`, `redis`, `postgres`.
        scripts: What the control plane answers; of several that fit the first counts.
        wait: Seconds to let pass.
        nowhere: Where nobody may be reached, and to which there may be no way: `host:port`; empty when that does not matter.
        unknown: Why the case cannot be played; empty when it can.
    """

    down: frozenset[str] = frozenset()
    scripts: tuple[Script, ...] = ()
    wait: float = 0.0
    nowhere: str = ""
    unknown: str = ""

    def and_(self, other: Needs) -> Needs:
        """Give both."""
        return Needs(
            self.down | other.down,
            (*self.scripts, *other.scripts),
            max(self.wait, other.wait),
            self.nowhere or other.nowhere,
            self.unknown or other.unknown,
        )


NOTHING = Needs()


@dataclass
class Instance:
    """The cases of one recorded server in order, and what their notes say of it as a whole.

    Attributes:
        cases: The cases.
        build: The build id that the server was stamped with, empty without one.
        rows: Lines that were inserted by SQL, by the workspace whose they are.
    """

    cases: Sequence[Case]
    build: str = NO_BUILD
    rows: dict[str, list[Row]] = field(default_factory=dict)
    _always: tuple[Script, ...] = ()
    _shown: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Read what holds for the whole life of the server."""
        for case in self.cases:
            self._shown |= set(VALUE.findall(json.dumps([case.response, case.upstream_saw])))
            if found := re.search(r"linked with GIT_SHA=(\S+)", case.note):
                self.build = found.group(1)
            if (found := re.search(r"tenant-member is scripted: (.*)", case.note)) and not self._always:
                self._always = _members(found.group(1))
            if "inserted by SQL" in case.note and (owner := activity_of(case)) and owner not in self.rows:
                self.rows[owner] = _rows(case.note, owner)

    def needs(self, case: Case) -> Needs:
        """Say what a case needs."""
        request = case.request
        if missing := sorted(set(VALUE.findall(json.dumps([request.target, request.headers, request.body]))) - self._shown):
            return Needs(unknown=f"it sends <{'>, <'.join(missing)}>, and no case of this recording shows what that is")
        found = replace(NOTHING, scripts=self._always)
        known = False
        for pattern, rule in NOTES:
            if match := re.search(pattern, case.note):
                found, known = found.and_(rule(self, case, match)), True
        for pattern, rule in NAMES:
            if match := re.search(pattern, case.case):
                found = found.and_(rule(self, case, match))
        if not known and ARRANGED.search(case.note):
            return replace(found, unknown=f"nobody knows how to arrange: {case.note}")
        if not known and case.group == "cp-client" and _starts(case):
            # Without a note of its own a start is answered as the recorder's script did last: it gives an instance.
            return found.and_(Needs(scripts=(self.start(case, 201, _instance(self.instance_of(case))),)))
        return found

    def start(self, _case: Case, status: int, body: Any = None, fault: str = "") -> Script:
        """Give the scripted answer to a start."""
        return Script(*PROVISION, status=status, body=body, fault=fault)

    def instance_of(self, case: Case) -> str:
        """Give the id of the instance that a start gave: the one that later calls to the control plane name for the workspace."""
        symbol = workspace_of(case)
        for later in self.cases:
            for saw in later.upstream_saw if later.seq > case.seq and symbol else ():
                if found := re.search(rf"/{re.escape(symbol)}(?:/[^?]*)?\?.*instance_id=([\w-]+)", str(saw.get("path", ""))):
                    return found.group(1)
        return "mol-ws-unseen"


def workspace_of(case: Case) -> str:
    """Give the symbol or the id of the workspace that a case is about, empty when it is about none."""
    found = re.search(r"/workspaces/(<uuid:\d+>|[0-9a-f-]{36})", case.request.target)
    body = case.response.get("body")
    created = str(body.get("id", "")) if isinstance(body, dict) else ""
    return found.group(1) if found else created


def activity_of(case: Case) -> str:
    """Give the workspace whose activity is asked for, empty when none is."""
    found = re.match(r"/workspaces/([^/]+)/activity(?:\?|$)", case.request.target)
    return found.group(1) if found else ""


def _starts(case: Case) -> bool:
    return any((saw.get("method"), saw.get("path")) == PROVISION for saw in case.upstream_saw)


def _instance(name: str) -> dict[str, str]:
    return {"instance_id": name, "state": "running"}


def _members(text: str) -> tuple[Script, ...]:
    """Read `session=good -> member; nouser -> empty user_id; notmember; notjson; else 401`."""
    found: list[Script] = []
    for part in (one.strip() for one in text.split(";")):
        name, _, meaning = (one.strip() for one in part.removeprefix("session=").partition("->"))
        script = Script("GET", "/cp/auth/tenant-member", cookie=f"session={name}")
        if match := re.fullmatch(r"else (\d{3})", name):
            found.append(replace(script, status=int(match.group(1)), body={"error": "no session"}, cookie=""))
        elif meaning == "member":
            found.append(replace(script, body={"member": True, "user_id": "u1"}))
        elif meaning == "empty user_id":
            found.append(replace(script, body={"member": True, "user_id": ""}))
        elif name == "notmember":
            found.append(replace(script, body={"member": False, "user_id": "u2"}))
        elif name == "notjson":
            found.append(replace(script, body=PAGE))
    return tuple(found)


def _rows(note: str, owner: str) -> list[Row]:
    """Read `four rows row 1..row 4, one minute apart, inserted by SQL; row 2 has type T, row 3 has a source_id`, or `620 rows`."""
    count = re.search(r"(\w+) rows\b", note)
    number = 0 if not count else NUMBERS.get(count.group(1), 0) or int(count.group(1) if count.group(1).isdigit() else 0)
    apart, first = (60.0, 1) if "one minute apart" in note else (1.0, 1001)
    newest = 360.0 if apart > 1 else 3600.0  # seconds; nothing that was asked for looks at younger ones
    made = []
    for n in range(1, number + 1):
        row = f"a0000000-0000-4000-8000-{first + n - 1:012d}"  # as the recorder numbered them
        made.append(Row(row, owner, f"row {n}", newest + (number - n) * apart))
    for n, kind in re.findall(r"row (\d+) has type (\w+)", note):
        made[int(n) - 1] = replace(made[int(n) - 1], activity_type=kind)
    for n in re.findall(r"row (\d+) has a source_id", note):
        made[int(n) - 1] = replace(made[int(n) - 1], source_id="33333333-3333-4333-8333-333333333333")
    return made


# The rules. Each gets the instance, the case and the match.


def _nothing(_instance: Instance, _case: Case, _match: re.Match[str]) -> Needs:
    return NOTHING


def _away(*names: str) -> Callable[[Instance, Case, re.Match[str]], Needs]:
    return lambda _instance, _case, _match: Needs(down=frozenset(names))


def _named_away(_instance: Instance, _case: Case, match: re.Match[str]) -> Needs:
    return Needs(down=frozenset({match.group(1)}))


def _this_path(_instance: Instance, case: Case, match: re.Match[str]) -> Needs:
    """The control plane's answer passes through a proxy, so what it was is what was recorded."""
    script = Script(case.request.method, case.request.target.partition("?")[0])
    what, response = match.group(1), case.response
    if "connection closed" in what:
        return Needs(scripts=(replace(script, fault="hangup"),))
    if "not HTTP" in what:
        return Needs(scripts=(replace(script, fault="garbage"),))
    if "ACAO" in what:
        allowed = response["headers"].get("Access-Control-Allow-Origin", [])
        foreign = allowed[-1] if isinstance(allowed, list) and allowed else "https://app.example"
        headers = (("Access-Control-Allow-Origin", str(foreign)),)
        return Needs(scripts=(replace(script, status=response["status"], body=response["body"], headers=headers),))
    if re.match(r"\d{3}\b", what):
        return Needs(scripts=(replace(script, status=int(what[:3]), body=response["body"]),))
    return Needs(unknown=f"nobody knows how to arrange: {case.note}")


def _provision(instance: Instance, case: Case, match: re.Match[str]) -> Needs:
    what = match.group(1)
    if "nothing listens" in what:
        return Needs(down=frozenset({CONTROL_PLANE}))
    if "connection closed" in what:
        return Needs(scripts=(instance.start(case, 200, fault="hangup"),))
    if "not HTTP" in what:
        return Needs(scripts=(instance.start(case, 200, fault="garbage"),))
    found = re.match(r"(\d{3})\b ?(.*)", what)
    bodies: tuple[tuple[str, Any], ...] = (
        ("with instance_id and state", _instance(instance.instance_of(case))),
        ("instead of 201", _instance("mol-ws-x")),
        ("{}", {}),
        ("HTML", PAGE),
        ("{error}", {"error": "no capacity"}),
    )
    for text, body in bodies if found else ():
        if found and found.group(2).startswith(text):
            return Needs(scripts=(instance.start(case, int(found.group(1)), body),))
    return Needs(unknown=f"nobody knows how to arrange: {case.note}")


def _asked(case: Case) -> Script | None:
    """Give a script for the one thing that the control plane was asked."""
    saw = case.upstream_saw[-1:]
    return Script(saw[0]["method"], re.sub(r"<uuid:\d+>", ":id", str(saw[0]["path"]).partition("?")[0])) if saw else None


def _passed_on(_instance: Instance, case: Case, match: re.Match[str]) -> Needs:
    script = _asked(case)
    if script is None or not isinstance(case.response["body"], dict):
        return Needs(unknown=f"nobody knows how to arrange: {case.note}")
    value = {match.group(2): case.response["body"].get(match.group(2))}
    return Needs(scripts=(replace(script, status=int(match.group(1)), body=value),))


def _state(instance: Instance, case: Case, match: re.Match[str]) -> Needs:
    scripts = [Script("GET", "/cp/workspaces/:id/status", body={"state": match.group(1)})]
    if _starts(case):
        scripts.append(instance.start(case, 201, _instance(instance.instance_of(case))))
    return Needs(scripts=tuple(scripts))


def _dead_agent(instance: Instance, case: Case, _match: re.Match[str]) -> Needs:
    """The agent is where the workspace last said."""
    about = workspace_of(case)
    for known in reversed([one for one in instance.cases if one.seq < case.seq]):
        body = known.request.body or ""
        if known.request.target == "/registry/register" and about in body and (found := re.search(r'"https?://([^/"]+)', body)):
            return Needs(nowhere=found.group(1))
    return NOTHING


def _later(_instance: Instance, _case: Case, match: re.Match[str]) -> Needs:
    return Needs(wait=float(match.group(1)) + 1)


NOTES: tuple[tuple[str, Callable[[Instance, Case, re.Match[str]], Needs]], ...] = (
    (r"^upstream refuses connections", _away(CONTROL_PLANE)),
    (r"^UI process refuses connections", _away(CANVAS)),
    (r"^(redis|postgres) down\b", _named_away),
    (r"answer is scripted by the recorder for this path: (.*)", _this_path),
    (r"^provision answer scripted: (.*)", _provision),
    (r"^scripted (\d{3}) \{(\w+)\}", _passed_on),
    (r"^scripted state (\w+)", _state),
    # Read for the whole instance, or by those who start it.
    (r"tenant-member is scripted: ", _nothing),
    (r"rows\b.* inserted by SQL", _nothing),
    (r"linked with GIT_SHA=", _nothing),
    (r"^config answer scripted: ", _nothing),
    # True without our doing: the address, the port and the socket are nobody's.
    (r"nothing listens on the configured upstream", _nothing),
    (r"^docker daemon unreachable", _nothing),
    (r"^agent address is unreachable at once", _dead_agent),
)
NAMES: tuple[tuple[str, Callable[[Instance, Case, re.Match[str]], Needs]], ...] = (
    (r"\b(?:control plane|cp upstream) down\b", _away(CONTROL_PLANE)),
    (r"^canvas down\b", _away(CANVAS)),
    (r"^outage (redis|postgres) down\b", _named_away),
    (r"\bdead agent\b", _dead_agent),
    (r"\bafter \w+ ttl of (\d+) s\b", _later),
    (r"\bstatus (running|pending|stopped|stopping)$", _state),
)


# Starts of the program.


@dataclass(frozen=True)
class Start:
    """What a recorded start of the program needs.

    Attributes:
        needs: As for every case.
        migrations: Whether the program finds its migrations.
    """

    needs: Needs = NOTHING
    migrations: bool = True


def start(case: Case) -> Start:
    """Say what a start needs: the config answers are told by the events that they led to, and by the note."""
    events = [str(event) for event in case.response.get("events", [])]
    if "lies next to" in case.note or any(".env" in event for event in events):
        return Start(Needs(unknown=f"it reads a file that only the recorded program looks for: {case.note or case.case}"))
    migrations = not any("no migrations directory" in event for event in events)
    return Start(_config(case, events), migrations)


def _config(case: Case, events: list[str]) -> Needs:
    script = Script("GET", "/cp/tenants/config")
    for event in events:
        if found := re.fullmatch(r"config fetch answered (\d{3}), continued", event):
            status = int(found.group(1))
            return (
                NOTHING if status == STUB_CONFIG_STATUS else Needs(scripts=(replace(script, status=status, body={"error": "no"}),))
            )
        if event.startswith("config fetch failed"):
            return (
                Needs(scripts=(replace(script, fault="hangup"),)) if case.upstream_saw else Needs(down=frozenset({CONTROL_PLANE}))
            )
        if event.startswith("config fetch body could not be decoded"):
            nested = {"tenant_id": "x", "runtimes": [], "llm_endpoints": {}, "feature_flags": {}}
            return Needs(scripts=(replace(script, body=nested if "nested" in case.note + case.case else PAGE),))
        if event == "config values applied":
            values = _values(case)
            return (
                Needs(scripts=(replace(script, body=values),))
                if values
                else Needs(unknown=f"which values? {case.note or case.case}")
            )
    return Needs(unknown=f"nobody knows how to arrange: {case.note}") if "scripted" in case.note else NOTHING


def _values(case: Case) -> dict[str, str]:
    """Read the values that the control plane gave; the other organisation is the one that the probes know."""
    values = dict(re.findall(r"\b([A-Z][A-Z_]{3,})=([^\s,;]+)", case.note))
    if found := re.search(r"one value of (\d+) bytes", case.note):
        values["LONG"] = "x" * int(found.group(1))
    if "one empty key" in case.note:
        values[""] = "y"
    if "another org id" in case.note:
        known = [probe["headers"].get("X-Molecule-Org-Id") for probe in case.response.get("probes", []) if probe["status"] == 200]
        values["MOLECULE_ORG_ID"] = next((str(name) for name in known if name and name != "harness-org"), "renamed-org")
    return values
