from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client
from ansible_collections.benchkeeper.core.plugins.modules import guarded_command

LEASE = {"resource": "b", "run_id": "r", "nonce": "n" * 16, "token": 1}


@pytest.mark.parametrize("rc", [0, 1, 75])
def test_an_exit_code_is_told_and_not_taken_for_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rc: int
) -> None:
    def guarded(_module: object, _verb: str, _request: object) -> dict[str, Any]:
        return {"rc": rc, "stdout_tail": "", "stderr_tail": "said"}

    monkeypatch.setattr(_keeper_client, "guarded", guarded)
    args = {"lease": LEASE, "item": "deploy", "argv": ["true"], "undo": {"argv": ["true"]}}
    with patch_module_args(args), pytest.raises(SystemExit):
        guarded_command.main()
    result = json.loads(capsys.readouterr().out)
    # Ansible itself fails a task with such a code, unless the module says that it did not fail.
    assert (result["rc"], result["failed"]) == (rc, False)
