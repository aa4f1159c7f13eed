# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of module lease: waits in the host's queue, knows dead holders, and holds what it was given."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import time
from typing import Any, ClassVar, Dict, Mapping, Optional

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder
from ansible_collections.benchkeeper.core.plugins.plugin_utils import own_connection

MODULE = "benchkeeper.core.lease"
TURN = 10.0  # seconds of one call that waits: who is killed between two of them loses the place soon


def waiting(resource: str, busy: Mapping[str, Any]) -> str:
    """Return where somebody stands who waits, in a sentence; nothing without a place in the queue."""
    if not busy.get("position"):
        return ""
    who = busy.get("holder") or {}
    expected = busy.get("expected_seconds")
    about = "" if expected is None else f", about {expected:.0f} s"
    by = f"{who.get('user', '?')}@{who.get('host', '?')} (run {busy.get('run_id') or '?'})"
    return f"{resource}: position {busy['position']} in the queue{about}; {busy.get('state', 'held')} for {by}"


def tell(resource: str, busy: Mapping[str, Any]) -> None:
    """Write an event for whoever draws the progress of a run: while a task waits, Ansible's callbacks hear nothing of it.

    The line is whole and appended by one write, so that it does not mix with those of the callback.
    """
    event: Dict[str, Any] = {"event": "waiting", "item": resource, "msg": waiting(resource, busy)}
    event.update({key: busy.get(key) for key in ("position", "expected_seconds", "run_id")})
    line = json.dumps({"at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds"), **event}, sort_keys=True)
    with contextlib.suppress(OSError):  # nobody draws it
        descriptor = os.open(os.environ.get("BENCHKEEPER_EVENTS", ""), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


class ActionModule(ActionBase):  # type: ignore[misc] # ansible-core has no types
    """Asks once without waiting; only a refusal makes it look who the holder is."""

    _requires_connection = True
    # Seconds that a run waited so far: `wait` is for all its hosts together, and all items of a loop run in one process.
    _waited: ClassVar[Dict[str, float]] = {}

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the result of the module, and in ``hold`` the number of the connection that holds the lease."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if args.get("state", "acquired") != "acquired":
            return self._module(task_vars, args)
        args["holder"] = args.get("holder") or _keeper_holder.playbook()
        holding = self._connected(task_vars, args)  # meanwhile the lease is asked for
        result = self._module(task_vars, args, wait=0, queue=self._left(args) > 0)
        if result.get("busy") and holding is not None:  # who knows how long it takes
            holding.drop()
            holding = None
        result = self._acquired(task_vars, args, result)
        if result.get("token") and not result.get("failed"):
            return self._held(task_vars, args, result, holding or self._connected(task_vars, args))
        if holding is not None:
            holding.drop()
        return result

    def _left(self, args: Mapping[str, Any]) -> float:
        """Return how many seconds of the run's time to wait are left."""
        return max(0.0, float(args.get("wait") or 0) - self._waited.get(str(args.get("run_id")), 0.0))

    def _connected(self, task_vars: Optional[Dict[str, Any]], args: Mapping[str, Any]) -> Optional[own_connection.Holding]:
        """Begin the connection that holds, if the holder is a process of this computer and the host can be reached so."""
        here = args["holder"].get("controller_id") == _keeper_holder.controller_id()
        if not here or not boolean(args.get("hold", True)):
            return None
        argv = own_connection.keeper_words(self._connection, "hold", own_connection.interpreter(self._task, task_vars))
        return None if argv is None else own_connection.Holding(argv)

    def _module(self, task_vars: Optional[Dict[str, Any]], args: Dict[str, Any], **more: Any) -> Dict[str, Any]:
        return dict(self._execute_module(module_name=MODULE, module_args={**args, **more}, task_vars=task_vars))

    def _acquired(self, task_vars: Optional[Dict[str, Any]], args: Dict[str, Any], result: Dict[str, Any]) -> Dict[str, Any]:
        """Ask again until the lease is given or the run's time to wait is over; the host keeps the place between two calls."""
        run_id = str(args.get("run_id"))
        left = self._left(args)
        told = False  # that the holder is dead; once is enough
        shown = ("", 0)
        while result.get("busy"):
            busy = result["busy"]
            if left > 0 and busy.get("position"):
                tell(str(args.get("resource")), busy)
                place = (str(busy.get("run_id")), int(busy["position"]))
                if place != shown:  # without a supervisor, a person looks at what Ansible prints
                    self._display.display(waiting(str(args.get("resource")), busy))
                shown = place
            begun = time.monotonic()
            if not told and not busy.get("keep") and _keeper_holder.is_gone(busy.get("holder") or {}):
                told = True
                result = self._module(task_vars, args, wait=0, queue=left > 0, gone=busy["holder"])
            elif left <= 0:
                return result
            else:
                # The last call gives the place up when its time is over, too.
                result = self._module(task_vars, args, wait=min(left, TURN), queue=left > TURN)
            spent = time.monotonic() - begun
            left -= spent
            self._waited[run_id] = self._waited.get(run_id, 0.0) + spent
        return result

    def _held(
        self,
        task_vars: Optional[Dict[str, Any]],
        args: Dict[str, Any],
        result: Dict[str, Any],
        holding: Optional[own_connection.Holding],
    ) -> Dict[str, Any]:
        """Hold a lease for its holder over a connection, where there can be one."""
        if holding is None:
            return {**result, "hold": None}
        fence = {"resource": args["resource"], "run_id": args["run_id"], "nonce": args["nonce"], "token": result["token"]}
        begun = time.monotonic()
        said = holding.hold(fence, args["holder"], float(result["ttl"]))
        if said.get("held"):
            wall = float(result.get("keeper_wall") or 0.0) + time.monotonic() - begun
            return {**result, "hold": said["held"], "keeper_wall": round(wall, 3)}
        released = self._module(task_vars, {**args, "state": "released", "token": result["token"]})
        why = (said.get("error") or {}).get("message") or said.get("msg")
        told = "" if not released.get("failed") else f"; nor could it be given back: {released.get('msg')}"
        return {**result, "failed": True, "msg": f"the lease of {args['resource']} could not be held: {why}{told}"}
