# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of module keeper_recover: finds a run's nonce in the user's state, and knows dead holders."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible.plugins.action import ActionBase
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_holder

MODULE = "benchkeeper.core.keeper_recover"


class ActionModule(ActionBase):  # type: ignore[misc] # ansible-core has no types
    """Asks with what it was given; only a refusal makes it look for more."""

    _requires_connection = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the result of the module."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        states = str(args.pop("states_file", "") or "")

        def module(**more: Any) -> Dict[str, Any]:
            given = {**args, **more}
            return dict(self._execute_module(module_name=MODULE, module_args=given, task_vars=task_vars))

        result = module()
        busy = result.get("busy") or {}
        if not busy:
            return result
        nonce = _keeper_holder.nonce_of(str(busy.get("run_id") or ""), states)
        if nonce and nonce != args.get("nonce"):
            return module(nonce=nonce)
        if _keeper_holder.is_gone(busy.get("holder") or {}):
            return module(gone=busy["holder"])
        return result
