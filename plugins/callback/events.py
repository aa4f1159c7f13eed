# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible callback: writes down what happens in a run, as it happens, one JSON line an event."""

from __future__ import annotations

DOCUMENTATION = r"""
name: events
type: notification
short_description: Write down what happens in a run
description:
  - Writes C(events.jsonl) into the run's results directory; progress, timeline and verdict are drawn from it.
  - Results of tasks are never written. Of them only what is named here is taken, after redaction, the message of a failure, the id
    and outcome of checks, durations that the keeper measured.
  - When C(BENCHKEEPER_EVENTS) names a file, events go there; otherwise they are kept until the run context says where results go.
version_added: 0.1.0
author: Benchkeeper maintainers
"""

import datetime as dt
import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Mapping, Optional

from ansible.plugins.callback import CallbackBase
from ansible_collections.benchkeeper.core.plugins.module_utils._redact import Redactor

LONGEST = 1200  # characters of a message
_ENTRY_PHASE = "preflight"


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """What Ansible calls."""

    CALLBACK_VERSION: ClassVar[float] = 2.0
    CALLBACK_TYPE: ClassVar[str] = "notification"
    CALLBACK_NAME: ClassVar[str] = "benchkeeper.core.events"
    CALLBACK_NEEDS_ENABLED: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._begun = time.monotonic()
        self._path: Optional[Path] = Path(os.environ["BENCHKEEPER_EVENTS"]) if os.environ.get("BENCHKEEPER_EVENTS") else None
        self._waiting: List[str] = []
        self._phase = ""
        self._phase_begun = self._begun
        self._task = ""
        self._task_begun = self._begun
        self._redactor = Redactor(_known(os.environ.get("BENCHKEEPER_STATE", "")))

    # What Ansible tells

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """A playbook starts."""
        name = Path(getattr(playbook, "_file_name", "") or "playbook").name
        self._write({"event": "run.start", "playbook": name})

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task starts; with the first one of a role, a phase."""
        del is_conditional
        self._end_task()
        role = getattr(task, "_role", None)
        phase = role.get_name().rsplit(".", 1)[-1] if role else (self._phase or _ENTRY_PHASE)
        if phase != self._phase:
            self._end_phase()
            self._phase, self._phase_begun = phase, time.monotonic()
            self._write({"event": "phase.start"})
        # The name as it was written: a template in it is not evaluated here.
        self._task, self._task_begun = str(task.name or task.action), time.monotonic()
        self._write({"event": "task.start", "task": self._task})

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task came out well."""
        self._learn(result.result)
        if not result.task.loop:
            self._item(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed; what its items said is already written."""
        if ignore_errors:
            return
        self._failed(result, unreachable=False)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host was not reached."""
        if getattr(result.task, "ignore_unreachable", False):
            self._item(result, "unreachable")
        else:
            self._failed(result, unreachable=True)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """One item of a loop came out well."""
        self._item(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """One item of a loop failed."""
        self._item(result, "unreachable" if result.result.get("unreachable") else "failed")

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """One item of a loop was skipped."""
        self._item(result, "skipped")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The playbook ends."""
        del stats
        self._end_task()
        self._end_phase()
        self._write({"event": "run.end"})

    # How it is written

    def _failed(self, result: Any, *, unreachable: bool) -> None:
        said = result.result
        event: Dict[str, Any] = {"event": "failed", "task": self._task, "msg": self._reason(said), "unreachable": unreachable}
        for one in [said, *said.get("results", [])]:
            if isinstance(one, Mapping) and one.get("usage"):
                event["usage"] = True
            if isinstance(one, Mapping) and one.get("busy"):
                event["busy"] = self._redactor.data(one["busy"])
            if isinstance(one, Mapping) and one.get("unreachable"):
                event["unreachable"] = True
            if isinstance(one, Mapping) and _fenced(one):
                event["fenced"] = True
        self._write(event)

    def _item(self, result: Any, status: str) -> None:
        said = result.result
        event: Dict[str, Any] = {"event": "item", "task": self._task, "status": status, "item": self._label(said)}
        host = (said.get("_ansible_delegated_vars") or {}).get("ansible_delegated_host")
        if host:
            event["host"] = str(host)
        if status in ("failed", "unreachable"):
            event["msg"] = self._message(said)
        if said.get("busy"):
            event["busy"] = True
        if _fenced(said):
            event["fenced"] = True
        if isinstance(said.get("keeper_wall"), (int, float)):
            event["keeper_seconds"] = said["keeper_wall"]
        waited = _waited(said)
        if waited:
            event["waited_seconds"] = round(waited, 3)
        self._write(event)
        for signal in said.get("signals") or []:
            if isinstance(signal, Mapping):
                self._check(f"{self._label(said)}: {signal.get('name')}", signal)
        step = said.get("step")
        if isinstance(step, Mapping) and "id" in step:
            self._check(str(step["id"]), step)

    def _check(self, name: str, said: Mapping[str, Any]) -> None:
        why = "" if said.get("ok") else self._redactor.text(str(said.get("why", "")))[:LONGEST]
        self._write(
            {"event": "check", "id": self._redactor.text(name), "ok": said.get("ok"), "why": why, "seconds": said.get("seconds", 0)}
        )

    def _label(self, said: Mapping[str, Any]) -> str:
        item = said.get("_ansible_item_label", said.get("item", ""))
        if isinstance(item, Mapping):
            item = item.get("title") or item.get("name") or item.get("id") or ""
        return self._redactor.text(str(item))[:120]

    def _reason(self, said: Mapping[str, Any]) -> str:
        """Return what a failed task says, of a loop what its first failed item says."""
        for one in said.get("results", []):
            if isinstance(one, Mapping) and (one.get("failed") or one.get("unreachable")):
                return f"{self._label(one)}: {self._message(one)}"
        return self._message(said)

    def _message(self, said: Mapping[str, Any]) -> str:
        if said.get("_ansible_no_log") or said.get("censored"):
            return "not shown"
        return self._redactor.text(str(said.get("msg") or "no message"))[:LONGEST]

    def _learn(self, said: Mapping[str, Any]) -> None:
        """Take from the run context where results go, and what must never be written."""
        run = said.get("run")
        if not isinstance(run, Mapping) or "results" not in run:
            return
        known = _known(str(run.get("state_file", "")))
        if known:
            self._redactor = Redactor(known)
        if self._path is None:
            self._path = Path(str(run["results"])) / "events.jsonl"

    def _end_task(self) -> None:
        if self._task:
            self._write({"event": "task.end", "task": self._task, "seconds": round(time.monotonic() - self._task_begun, 3)})
            self._task = ""

    def _end_phase(self) -> None:
        if self._phase:
            self._write({"event": "phase.end", "seconds": round(time.monotonic() - self._phase_begun, 3)})
            self._phase = ""

    def _write(self, event: Dict[str, Any]) -> None:
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")
        line = {"at": now, "s": round(time.monotonic() - self._begun, 3), "phase": self._phase, **event}
        self._waiting.append(json.dumps(line, sort_keys=True, default=str))
        if self._path is None:
            return
        text = "".join(f"{one}\n" for one in self._waiting)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            # A run is not given up because its log cannot be written; Ansible shows this as a warning.
            self._display.warning(f"events cannot be written: {error.strerror}")
        self._waiting.clear()


def _waited(said: Mapping[str, Any]) -> float:
    """Return how long a task waited for signs of life: signals are waited for together, the waits of a step one after the other."""
    signals = [one for one in said.get("signals") or [] if isinstance(one, Mapping)]
    step = said.get("step")
    ops = [one for one in step.get("ops") or [] if isinstance(one, Mapping)] if isinstance(step, Mapping) else []
    together = max((float(one.get("seconds") or 0.0) for one in signals), default=0.0)
    return together + sum(float(one.get("seconds") or 0.0) for one in ops if str(one.get("op", "")).startswith("wait "))


def _fenced(said: Mapping[str, Any]) -> bool:
    """Return whether a keeper refused because the lease is not this run's any more."""
    error = said.get("error")
    return isinstance(error, Mapping) and error.get("kind") == "fence"


def _known(state_file: str) -> List[str]:
    """Return the values of a run's state file that must never be written."""
    try:
        state = json.loads(Path(state_file).read_text(encoding="utf-8")) if state_file else {}
    except (OSError, ValueError):
        return []
    return [str(state[name]) for name in ("nonce", "canary") if state.get(name)]
