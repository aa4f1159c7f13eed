"""The shapes of a stack's files, as pydantic models: which keys there are and of what type.

What the programs that read these files refuse themselves is not said again here: such fields are `Any`, and `stack_references` asks
the readers. Attributes are explained in docs/reference/profile.md, exercise.md and checks.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from benchkeeper.schema import Seconds, Strict, Text

Texts = list[Text]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Steps = str | list[str | int]


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def _with_path(text: str) -> str:
    if "path" not in re.compile(_regex(text)).groupindex:
        raise ValueError("has no group named path")
    return text


class Predicate(Strict):
    """What must hold of a probe; probe, op and part are judged by `_predicate.validate`."""

    probe: Any = None
    op: Any = None
    part: Any = None
    path: Steps = ""
    value: Any = None
    where: dict[str, Any] = Field(default_factory=dict)
    pick: str | None = None


class Expectation(Predicate):
    """A predicate of a step, which may also compare with a mark."""

    includes: Texts = Field(default_factory=list)


class Hint(Strict):
    """What a person can do."""

    probe: Text
    text: Text
    otherwise: str = ""


class _Waited(Strict):
    deadline: Seconds = 60.0
    watch: Texts = Field(default_factory=list)
    settle: Count = 1
    reason: str = ""
    hint: Hint | None = None


class Signal(_Waited):
    """A signal of a profile."""

    name: Text
    all: Annotated[list[Predicate], Field(min_length=1)]


Signals = list[Signal]


class FitSignal(Signal):
    """A signal that must come before anything is changed."""

    busy: bool = False
    own: bool = False


class NamedSignal(_Waited):
    """A signal of an exercise: its name is its key."""

    all: Annotated[list[Predicate], Field(min_length=1)]
    needs: Literal["workers"] | None = None


class Proof(Strict):
    """What must hold again."""

    deadline: Seconds = 120.0
    settle: Count = 1
    predicates: list[Predicate] = Field(default_factory=list)


class Probe(BaseModel):
    """What can be looked at; options are those that the docstring of the probe names."""

    model_config = ConfigDict(extra="allow", strict=True)
    kind: Text


class Marked(Strict):
    """How an entry of ours, or of somebody else, is marked."""

    key: Text
    value: Any


class Host(Strict):
    """A host of one kind."""

    probes: Annotated[dict[Text, Probe], Field(min_length=1)]
    snapshot: Annotated[Texts, Field(min_length=1)]
    ignore: Texts = Field(default_factory=list)
    fit: list[FitSignal] = Field(default_factory=list)
    proof: Proof = Proof()


class Miner(Host):
    """A miner, with what is borrowed of it."""

    config: str = ""
    unit: str = ""
    leftovers: str = ""
    tag: Marked | None = None
    foreign_tag: Marked | None = None


class Hosts(Strict):
    """Hosts by kind."""

    bench: Host
    miner: Miner | None = None


class Timeouts(BaseModel):
    """Seconds by verb; `verb` is for the others."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Seconds] = Field(init=False)
    up: Seconds


class Driver(Strict):
    """How the stack is driven."""

    program: Text
    verbs: dict[Text, Texts]
    env: dict[Text, str] = Field(default_factory=dict)
    timeouts: Timeouts
    busy_exit: Annotated[int, Field(ge=1, le=255)] | None = None
    backup_written: Annotated[str, AfterValidator(_with_path)] | None = None
    backup_dir: str = ""
    backup_pattern: str = ""
    backup_members: Texts = Field(default_factory=list)


class Where(Strict):
    """Where the stack lives."""

    live: Text
    checkout: Text
    owner: Text
    lock: str = ""


class LiveLabel(Strict):
    """The running container's label that names the live directory."""

    service: Text
    label: Text


class Canary(Strict):
    """Where a value of the run's own is planted."""

    file: Text
    path: Texts


class Secrets(Strict):
    """What must never leave the host."""

    dotenv: Texts = Field(default_factory=list)
    categories: dict[Text, Texts] = Field(default_factory=dict)
    canary: Canary | None = None


class Binding(Strict):
    """A file of the branch that must be found inside a container."""

    service: Text
    path: Text
    file: Text


class Borrow(Strict):
    """How a miner is lent."""

    list: Text
    url_key: Text
    port: Port
    set: dict[Text, Any]
    on_conflict: Literal["rearm", "end"] = "end"
    arrived: Signals
    seen: Signals


class Profile(Strict):
    """profile.yml."""

    name: Text
    title: str = ""
    project: Text
    driver: Driver
    paths: Where
    live_label: LiveLabel
    seed: Texts = Field(default_factory=list)
    secrets: Secrets | None = None
    binding: dict[Text, Binding] = Field(default_factory=dict)
    build_label: str = ""
    hosts: Hosts
    borrow: Borrow | None = None


class Reference(Strict):
    """A signal with places of its own."""

    signal: Text
    with_: dict[Text, Any] = Field(alias="with", default_factory=dict)


def _form(one: Any) -> str:
    return "<reference>" if isinstance(one, dict) else "<name>"


Awaited = Annotated[Annotated[Text, Tag("<name>")] | Annotated[Reference, Tag("<reference>")], Discriminator(_form)]


class _Command(Strict):
    rc: int | None = None
    rc_not: int | None = None
    contains: Text | None = None
    not_contains: Text | None = None
    timeout: Seconds | None = None


class Argv(_Command):
    """A command in the checkout."""

    argv: Annotated[list[str], Field(min_length=1)]


class Verb(_Command):
    """A verb of the driver."""

    verb: Text


class Edit(Strict):
    """Values of a JSON file of the checkout; `set` may be a place that gives them."""

    edit: Text
    set: dict[Text, Any] | Text


class EngineOp(Strict):
    """A container is stopped, started ..."""

    engine: Literal["stop", "start", "restart", "kill", "pause", "unpause", "rm"]
    container: Text
    timeout: Seconds = 30.0


class Expect(Strict):
    """Predicates that must hold now."""

    expect: Annotated[list[Expectation], Field(min_length=1)]


class Look(Strict):
    """A look under a name."""

    look: Text
    probes: Texts | None = None


class Mark(Strict):
    """How everything is, remembered."""

    mark: Literal[True]
    probes: Texts | None = None


class Wait(Strict):
    """Signals, waited for all at once."""

    wait: Annotated[list[Awaited], Field(min_length=1)]


_OPS = ("argv", "verb", "edit", "engine", "expect", "look", "mark", "wait")


def _kind(op: Any) -> str | None:
    """Return which op this is; None when it is none or two: `_step.validate` says so."""
    kinds = [kind for kind in _OPS if isinstance(op, dict) and kind in op]
    return f"<{kinds[0]}>" if len(kinds) == 1 else None


# Tags are no possible keys, so that a place through them is unambiguous.
Op = Annotated[
    Annotated[Argv, Tag("<argv>")]
    | Annotated[Verb, Tag("<verb>")]
    | Annotated[Edit, Tag("<edit>")]
    | Annotated[EngineOp, Tag("<engine>")]
    | Annotated[Expect, Tag("<expect>")]
    | Annotated[Look, Tag("<look>")]
    | Annotated[Mark, Tag("<mark>")]
    | Annotated[Wait, Tag("<wait>")],
    Discriminator(_kind),
]
OP_ERRORS = ("union_tag_invalid", "union_tag_not_found")
"""Errors of an op that is none; the reader of steps has better words."""


class Step(Strict):
    """A step of an exercise."""

    id: Text
    title: Text
    phase: Text | None = None
    gate: bool = False
    ops: Annotated[list[Op], Field(min_length=1)]
    always: list[Op] = Field(default_factory=list)


class Fault(Step):
    """A step that breaks something: its heal stands in `always`."""

    always: Annotated[list[Op], Field(min_length=1)]


class Scenario(Strict):
    """A row of a configuration."""

    overrides: dict[Text, Any] = Field(default_factory=dict)
    places: dict[Text, Any] = Field(default_factory=dict)


class Exercise(Strict):
    """exercise.yml."""

    signals: dict[Text, NamedSignal]
    deployed: list[Awaited]
    scenarios: Annotated[dict[Text, Scenario], Field(min_length=1)]
    canonical: Text
    scenario_steps: list[Step]
    targeted: list[Step]
    journal: list[Step] = Field(default_factory=list)


class DataCheck(BaseModel):
    """One check of checks/*.yml: types only; keys, op and severity are judged by `verdicts.mistakes`."""

    model_config = ConfigDict(extra="allow", strict=True)
    id: Text = "?"
    title: Text = "?"
    phases: Annotated[Texts, Field(min_length=1)] = Field(default_factory=list)
    kind: Literal["bench", "miner"] = "bench"
    value: Text = "?"
    expected_from: str = ""
    when: str = ""
    skip_reason: str = ""
    for_each: list[Any] | str | None = None


class Posture(BaseModel):
    """posture.yml: what the stack's own checks ask for; of what most of them have in common the shape is known."""

    model_config = ConfigDict(extra="allow", strict=True)
    services: dict[Text, dict[str, Any]] = Field(default_factory=dict)
    networks: dict[Text, dict[str, Any]] = Field(default_factory=dict)
    volumes: Texts = Field(default_factory=list)
    always: Texts = Field(default_factory=list)
    profiles: dict[Text, Text] = Field(default_factory=dict)
    published: dict[Text, dict[int, dict[str, Any]]] = Field(default_factory=dict)
    listening: dict[Text, dict[int, Texts]] = Field(default_factory=dict)


class Limits(Strict):
    """How much of the computer a machine may have."""

    cpus: float | None = None
    cpu_shares: Annotated[int, Field(ge=2, le=262_144)] | None = None
    memory: Text | None = None


class SentImage(Strict):
    """An image of the stack's images/, and its name on the machine."""

    image: Text
    as_: Text = Field(alias="as")


class Repository(Strict):
    """A checkout on a machine."""

    dest: Text
    owner: Text
    branch: Text = "main"


class _Owned(Strict):
    owner: Text = "root"
    group: Text = "root"
    mode: Annotated[str, Field(pattern=r"^0[0-7]{3,4}$")] = "0644"


class BaselineDir(_Owned):
    """A directory."""

    path: Text


class BaselineFile(_Owned):
    """A file, or each file of a tree; `src` is relative to embedded/."""

    src: Text
    dest: Text
    once: bool = False


class BaselineLink(Strict):
    """A symbolic link."""

    path: Text
    target: Text


class BaselineUnit(Strict):
    """A unit of systemd."""

    name: Text
    enabled: bool = False
    state: Literal["started", "stopped"] | None = None
    restart_for: Texts = Field(default_factory=list)


class _Baseline(Strict):
    argv: Annotated[list[str], Field(min_length=1)]
    cwd: Text = "/"
    user: Text | None = None
    timeout: Seconds = 60.0


class BaselineCommand(_Baseline):
    """A command that must end well."""

    creates: Text | None = None


class BaselineWait(_Baseline):
    """A command that must end well in time, saying something."""

    contains: str = ""


class BaselineStep(Strict):
    """One step of a machine's baseline: exactly one of the kinds."""

    dir: BaselineDir | None = None
    tree: BaselineFile | None = None
    file: BaselineFile | None = None
    link: BaselineLink | None = None
    unit: BaselineUnit | None = None
    command: BaselineCommand | None = None
    wait: BaselineWait | None = None

    @model_validator(mode="after")
    def _one(self) -> BaselineStep:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a step is one of {', '.join(type(self).model_fields)}")
        return self


class Share(Strict):
    """What the machines of one group carry."""

    images: list[SentImage] = Field(default_factory=list)
    repository: Repository | None = None
    steps: list[BaselineStep] = Field(default_factory=list)


class Embedded(Strict):
    """embedded.yml."""

    machine_packages: Texts = Field(default_factory=list)
    machines: dict[Text, Limits] = Field(default_factory=dict)
    groups: dict[Text, Share] = Field(default_factory=dict)


Faults = list[Fault]
Checks = list[DataCheck]
