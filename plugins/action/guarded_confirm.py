# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of module guarded_confirm: asks over a connection that is made now and shared with nobody."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ansible.plugins.action import ActionBase
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client
from ansible_collections.benchkeeper.core.plugins.plugin_utils import own_connection

MODULE = "benchkeeper.core.guarded_confirm"


class ActionModule(ActionBase):  # type: ignore[misc] # ansible-core has no types
    """Confirms over a new connection; where there is no way to make one, over the task's, which the keeper then judges."""

    _requires_connection = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the result of the module."""
        result: Dict[str, Any] = dict(super().run(tmp, task_vars))
        _checked, args = self.validate_argument_spec(argument_spec={"lease": _keeper_client.LEASE_OPTION})
        argv = own_connection.keeper_words(self._connection, "call confirm", own_connection.interpreter(self._task, task_vars))
        if self._task.check_mode or argv is None:
            given = dict(self._task.args)
            return {**result, **self._execute_module(module_name=MODULE, module_args=given, task_vars=task_vars)}
        answer = own_connection.call(argv, {"fence": dict(args["lease"])})
        if answer.get("confirmed"):
            return {**result, "changed": True, **answer}
        said = (answer.get("error") or {}).get("message") or answer.get("msg")
        return {**result, "failed": True, **answer, "msg": f"not confirmed: {said}"}
