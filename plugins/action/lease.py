# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of module lease: knows whether a holder that lived on this computer is dead."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Dict, Optional

from ansible.plugins.action import ActionBase
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder

MODULE = "benchkeeper.core.lease"


class ActionModule(ActionBase):  # type: ignore[misc] # ansible-core has no types
    """Asks once without waiting; only a refusal makes it look who the holder is."""

    _requires_connection = True
    # Seconds that a run waited so far: `wait` is for all its hosts together, and all items of a loop run in one process.
    _waited: ClassVar[Dict[str, float]] = {}

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the result of the module."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)

        def module(**more: Any) -> Dict[str, Any]:
            given = {**args, **more}
            return dict(self._execute_module(module_name=MODULE, module_args=given, task_vars=task_vars))

        result = module(wait=0)
        busy = result.get("busy") or {}
        if not busy:
            return result
        dead = not busy.get("keep") and _keeper_holder.is_gone(busy.get("holder") or {})
        run_id = str(args.get("run_id"))
        left = max(0.0, float(args.get("wait") or 0) - self._waited.get(run_id, 0.0))
        if not dead and left <= 0:
            return result
        begun = time.monotonic()
        result = module(wait=left, **({"gone": busy["holder"]} if dead else {}))
        self._waited[run_id] = self._waited.get(run_id, 0.0) + time.monotonic() - begun
        return result
