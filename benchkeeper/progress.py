"""What a person sees while a run goes on: phase, what is waited for, elapsed time, checks so far.

On a terminal a few lines that renew themselves; without one a plain line for each phase, task and item, and a sign of life
every ten seconds. Both are drawn from the events that the callback writes, and change nothing.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

HEARTBEAT = 10.0  # seconds without a line after which one is printed
REFRESH = 4  # times a second
_RECENT = 6
_INNER = "Validating arguments against arg spec"  # Ansible's own task in front of every role
_MARKS = {"ok": "✓", "changed": "✓", "failed": "✗", "unreachable": "✗", "skipped": "-"}


class Tail:
    """Reads whole lines of a growing file; what is not written yet comes the next time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events that came since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                raw = file.read()
        except OSError:
            return
        self._offset += len(raw)
        *lines, self._rest = (self._rest + raw).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


class View:
    """What is going on, as text. It knows nothing of terminals."""

    def __init__(self, now: float) -> None:
        self.started = now
        self.phase = "start"
        self.phase_started = now
        self.task = ""
        self.checks: Counter[str] = Counter()
        self.steps: dict[str, list[str]] = {}
        self._walked: Counter[str] = Counter()
        self._failed = False

    def know_steps(self, context: Mapping[str, Any]) -> None:
        """Take the titles of the steps that a run will go through, so that the running one has a name."""
        for phase in ("scenario", "lifecycle"):
            steps = sorted(context.get(phase) or [], key=lambda step: not step.get("gate"))
            self.steps[phase] = [str(step.get("title", step.get("id"))) for step in steps]

    @property
    def waiting_for(self) -> str:
        """What the run is doing now: the step it walks through, else the task."""
        titles = self.steps.get(self.phase, [])
        return titles[self._walked[self.phase]] if self._walked[self.phase] < len(titles) else self.task

    def feed(self, event: Mapping[str, Any], now: float) -> str | None:
        """Take an event; return a line for people, or None when it says nothing new to them."""
        kind = event.get("event")
        if kind == "phase.start":
            self.phase, self.phase_started, self.task = str(event.get("phase", "")), now, ""
            return f"── {self.phase}"
        takers = {
            "task.start": self._task,
            "check": self._check,
            "failed": self._failure,
            "item": self._item,
            "waiting": self._waiting,
        }
        return takers[kind](event) if kind in takers else None

    def _task(self, event: Mapping[str, Any]) -> str | None:
        self.task = str(event.get("task", ""))
        return None if self.task.startswith(_INNER) else f"   {self.task}"

    def _waiting(self, event: Mapping[str, Any]) -> str:
        self.task = str(event.get("msg", ""))
        return f"   … {self.task}"

    def _failure(self, event: Mapping[str, Any]) -> str | None:
        if self._failed:
            return None  # the echo of the first one: what asserts and raises again because of it
        self._failed = True
        return f" ✗ {event.get('task')}: {event.get('msg')}"

    @staticmethod
    def _item(event: Mapping[str, Any]) -> str | None:
        if not event.get("item"):
            return None
        host = event.get("host")
        where = f"{event['item']} on {host}" if host and host != event["item"] else str(event["item"])
        said = f": {event['msg']}" if event.get("msg") else ""
        return f" {_MARKS.get(str(event.get('status')), ' ')} {where}{said}"

    def _check(self, event: Mapping[str, Any]) -> str:
        good = event.get("ok")
        word = "not run" if good is None else ("pass" if good else "fail")
        self.checks[word] += 1
        if self.phase in self.steps:
            self._walked[self.phase] += 1
        took = f" ({event['seconds']:.1f} s)" if isinstance(event.get("seconds"), (int, float)) else ""
        mark = {"pass": "✓", "fail": "✗"}.get(word, "-")
        return f" {mark} {event.get('id')}{took}{': ' + str(event['why']) if event.get('why') else ''}"

    def counts(self) -> str:
        """Return the outcomes of deploying, waiting and walking so far; the looks are judged at the end."""
        return ", ".join(f"{number} {word}" for word, number in sorted(self.checks.items(), reverse=True)) or "no check yet"


class Progress:
    """Shows a run on a stream; a context manager.

    Args:
        events: The file that the callback writes.
        context: The run context, which appears after a while.
        stream: Where to show it.
    """

    def __init__(self, events: Path, context: Path | None = None, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._tail = Tail(events)
        self._context = context
        self.view = View(time.monotonic())
        self._last_line = time.monotonic()
        self._recent: list[str] = []
        self._live: Live | None = None
        if self._stream.isatty():
            self._live = Live(console=Console(file=self._stream), refresh_per_second=REFRESH, transient=True)

    def __enter__(self) -> Self:
        """Start to show."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop to show; the lines stay."""
        if self._live:
            self._live.stop()

    def beat(self) -> None:
        """Show what is new; call it several times a second."""
        now = time.monotonic()
        if self._context and self._context.is_file():
            try:
                self.view.know_steps(json.loads(self._context.read_text(encoding="utf-8")))
                self._context = None
            except (OSError, ValueError):
                pass  # half written; the next beat sees it whole
        for event in self._tail.events():
            line = self.view.feed(event, now)
            if line:
                self.line(line)
        if self._live:
            with contextlib.suppress(OSError):
                self._live.update(self._drawn(now))
        elif now - self._last_line >= HEARTBEAT:
            self.line(
                f"   … {self.view.waiting_for} ({now - self.view.phase_started:.0f} s in {self.view.phase}; {self.view.counts()})"
            )

    def follow(self, events: Path) -> None:
        """Go on with the events of another playbook."""
        self._tail = Tail(events)
        self.view.steps = {}

    def line(self, text: str) -> None:
        """Show one line; a terminal that is gone does not stop a run."""
        with contextlib.suppress(OSError):
            self._line(text)

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        stamped = f"{self._last_line - self.view.started:5.0f}s {text}"
        if self._live:
            loud = text.startswith((" ✗", "!!"))
            self._recent = [*self._recent, stamped][-_RECENT:]
            if loud or text.startswith("──"):
                self._live.console.print(Text(stamped, style="bold red" if loud else "bold"))
            return
        print(stamped, file=self._stream, flush=True)

    def _drawn(self, now: float) -> Group:
        head = Table.grid(padding=(0, 2))
        elapsed, inside = now - self.view.started, now - self.view.phase_started
        head.add_row(
            Text(f"{elapsed:.0f} s", style="bold"),
            Text(f"{self.view.phase} ({inside:.0f} s)", style="bold cyan"),
            self.view.counts(),
        )
        return Group(head, Text(f"waiting for: {self.view.waiting_for}"), *(Text(line, style="dim") for line in self._recent))
