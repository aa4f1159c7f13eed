"""Running a module of ours on its host from memory: no directory, no file, nothing is written there."""

from __future__ import annotations

import secrets
from typing import Any, Dict, Mapping, Optional, Set

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.vars.clean import remove_internal_keys
from ansible_collections.benchkeeper.core.plugins.module_utils._stdin_program import NoAnswerError, build_stdin_program, read_answer

_LAST_WORDS = 400


def hidden_values(spec: Mapping[str, Any], params: Mapping[str, Any]) -> Set[str]:
    """Return the values of the options that an argument spec calls ``no_log``, those of suboptions of mappings as well."""
    found: Set[str] = set()
    for name, option in spec.items():
        value = params.get(name)
        if value and option.get("no_log"):
            found.add(str(value))
        elif isinstance(value, Mapping):
            found |= hidden_values(option.get("options") or {}, value)
    return found


class LookingAction(ActionBase):  # type: ignore[misc] # ansible-core has no types
    """The action of a module that only looks; its result is that of the module run the ordinary way.

    Ansible unpacks an ordinary module below the host's temporary directory, with pipelining as well. This one is checked here, by
    its own ``SPEC``, and travels with its options on standard input of the host's Python: nothing of them is in an argument list.
    """

    module: Any = None  # the Python module, with SPEC and main

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the result of the module."""
        result = super().run(tmp, task_vars)
        spec = self.module.SPEC
        checked = ArgumentSpecValidator(**spec).validate(self._task.args)
        params = checked.validated_parameters
        if checked.error_messages:  # ActionBase's own way to say it shows the options in full
            of_whom = f"Unsupported parameters for ({self._task.action}) module: "
            prefix = of_whom if isinstance(checked.errors[0], UnsupportedError) else ""
            answer = {"failed": True, "msg": prefix + checked.errors.msg}
        else:
            answer = self._ask(params, task_vars or {})
        answer["invocation"] = {"module_args": params}
        return {**result, **remove_values(answer, hidden_values(spec["argument_spec"], params))}

    def _ask(self, params: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Dict[str, Any]:
        mark = secrets.token_hex(16)  # unknown to whatever a login or sudo may print
        program = build_stdin_program(self.module.__name__.rpartition(".")[2], params, mark)
        # Isolated: neither the environment nor the directory that we happen to be in decides what is imported.
        command = f"{self._compute_environment_string()} {self._python(task_vars)} -I -B -".strip()
        done = self._low_level_execute_command(command, in_data=program.encode("utf-8"))
        try:
            answer = read_answer(done["stdout"], mark)
        except NoAnswerError:
            said = (done["stderr"].strip() or done["stdout"].strip()).rpartition("\n")[2][-_LAST_WORDS:]
            return {"failed": True, "msg": f"the program on the host ended with {done['rc']} and without an answer: {said}"}
        remove_internal_keys(answer)
        return answer

    def _python(self, task_vars: Mapping[str, Any]) -> str:
        """Return the Python that was chosen for the host; where finding it is left to Ansible, the one in the host's PATH."""
        target = self._task.delegate_to
        host = task_vars["ansible_delegated_vars"][target] if target else task_vars
        chosen = str(self._templar.template(constants.config.get_config_value("INTERPRETER_PYTHON", variables=host)) or "auto")
        return "python3" if chosen.startswith("auto") else chosen
